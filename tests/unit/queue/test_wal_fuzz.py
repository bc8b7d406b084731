"""Readers of the log's files on any bytes: they answer, within bounds, and raise nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.queue import Counters, DeadLetter, Subject, SubjectKind
from gateway.queue.wal import meta, reader, record, segment
from gateway.queue.wal.cursor import CursorState, Place
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.queue.wal.index import Index, Share, read_index
from gateway.queue.wal.inspect import Inspector
from gateway.queue.wal.journal import LogEnd, Tick, restore
from gateway.queue.wal.recovery import recover
from tests.memory_files import MemoryFile, MemoryFiles

LOG_ID = bytes(range(16))
HEADER = segment.SegmentHeader(LOG_ID, 1, 0, 0, 0, 0, 0)
SEED = segment.seed_of(HEADER)
SEGMENT = f"log/{segment.file_name(0, 1)}"
JOURNAL = "cursors/0000000000000001.journal"
CONSUMER = "siem_a"
BYTES_READ_MAX = 1 << 20  # at once, by whatever length a file of a few KiB claims

T = TypeVar("T")
numbers = st.integers(0, (1 << 64) - 1)
small = st.integers(0, 10_000)


class WatchedFile(MemoryFile):
    """Fails the test when somebody asks for more than the bound, or reads for ever."""

    reads = 0

    def read_at(self, position: int, size: int) -> bytes:
        self.reads += 1
        assert size <= max(BYTES_READ_MAX, record.BODY_BYTES_MAX)
        assert self.reads < 10_000
        return super().read_at(position, size)


@st.composite
def frames(draw: st.DrawFn, bodies: st.SearchStrategy[bytes], kinds: st.SearchStrategy[Any], seed: int) -> bytes:
    """A frame that its writer wrote rightly, of what a bug made up."""
    body = draw(bodies)
    return b"".join(
        record.encode(
            seed=seed,
            kind=draw(kinds),
            subject=Subject(draw(st.sampled_from(SubjectKind)), draw(st.text(max_size=5))),
            payload=body,
            compressed=draw(st.booleans()),
            payload_bytes=draw(st.one_of(st.just(len(body)), st.integers(0, (1 << 32) - 1))),
            first_offset=draw(numbers) >> 1,
            sequence=draw(numbers) >> 1,
            stream_sequence=draw(numbers) >> 1,
            events=draw(st.one_of(small, st.integers(0, (1 << 32) - 1))),
            time_us=draw(numbers),
            synced_end=draw(st.integers(0, (1 << 32) - 1)),
        )
    )


@st.composite
def mutated(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes of it are others, some of it is cut off or doubled."""
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(0, 3))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(content)))
    return bytes(content[:cut] + draw(st.sampled_from([b"", bytes(content[cut:]), bytes(content), bytes(64)])))


def files_of(bodies: st.SearchStrategy[bytes], kinds: st.SearchStrategy[Any], header: segment.SegmentHeader) -> Any:
    whole = st.lists(frames(bodies, kinds, segment.seed_of(header)), max_size=4).map(
        lambda parts: segment.encode_header(header) + b"".join(parts)
    )
    return st.one_of(whole, mutated(whole), mutated(st.binary(max_size=300)))


ticks = st.builds(
    Tick,
    st.builds(
        LogEnd, small, small, numbers, numbers, st.lists(st.tuples(st.integers(-3, 5), st.text(max_size=3), numbers))
    ),
    st.lists(
        st.builds(
            CursorState,
            st.text(max_size=3),
            st.text(max_size=3),
            st.builds(Place, small, small, small, small),
            st.builds(Place, small, small, small, small),
            st.lists(st.tuples(small, small), max_size=3),
            st.builds(Counters, small, small, small, small),
        ),
        max_size=3,
    ),
).map(msgspec.msgpack.encode)
any_msgpack = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.binary(max_size=9), st.text(max_size=9)
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
).map(msgspec.msgpack.encode)
payloads = st.one_of(st.binary(max_size=120), any_msgpack, ticks)
any_kind = st.sampled_from([*record.Kind, 0, 9, 255])


@pytest.fixture
def many(soak: bool) -> Callable[[Callable[[], None]], None]:
    """Runs a property on more examples when there is time."""

    def run(property_: Callable[[], None]) -> None:
        settings(max_examples=5_000 if soak else 150, deadline=None)(property_)()

    return run


def test_walking_any_file_ends_and_yields_it_in_order(many: Callable[[Any], None]) -> None:
    """What is yielded lies one behind another within the file; the last of it is the end."""

    @given(files_of(payloads, any_kind, HEADER), st.integers(0, 1 << 33))
    def check(content: bytes, proven: int) -> None:
        file = WatchedFile(content)
        position = segment.HEADER_BYTES
        items = list(segment.walk(file.read_at, seed=SEED, limit=len(content), proven=proven))
        for item in items:
            assert item.position >= position
            position = item.position
            if isinstance(item, segment.Located):
                assert item.body is not None
                record.subject_of(item.header, item.body)
        assert [isinstance(item, segment.End) for item in items] == [False] * (len(items) - 1) + [True]

    many(check)


def test_any_segment_can_be_recovered_and_read(many: Callable[[Any], None]) -> None:
    """Frames with right checksums and nonsense in them stop neither a start nor a consumer."""

    @given(files_of(payloads, any_kind, HEADER), st.integers(0, 9000))
    def check(content: bytes, proven: int) -> None:
        with capture_logs():
            files = MemoryFiles({SEGMENT: content})
            recovered = recover(files, log_id=LOG_ID, proven={1: proven})
            bookmark = reader.Bookmark(0, 0, 0)
            for tenant in ("", "*"):
                for _ in range(10):
                    wanted = reader.Wanted(tenant, CONSUMER)
                    chunk = reader.read(files, recovered.segments, wanted, bookmark, bytes_max=1, end_offset=1 << 63)
                    assert all(frame.payload.count(b"\n") + 1 == frame.count for frame in chunk.frames)

    many(check)


def test_any_journal_can_be_restored(many: Callable[[Any], None]) -> None:
    """Ticks of any shape are taken or left, each whole."""
    header = segment.SegmentHeader(LOG_ID, 1, 0, 0, 0, 0, 0, sealed_end=6000)

    @given(files_of(payloads, st.just(record.Kind.CHECKPOINT), header))
    def check(content: bytes) -> None:
        with capture_logs():
            restored = restore(MemoryFiles({JOURNAL: content}), LOG_ID)
        for state in restored.states.values():
            assert isinstance(state, CursorState)
            restored.gaps_of(state.consumer_id, 0.0)

    many(check)


def test_any_dead_letter_file_can_be_opened_and_read(many: Callable[[Any], None]) -> None:
    """What is no dead letter is left out, and new ones can be added."""
    number = record.checksum(CONSUMER.encode())
    header = segment.SegmentHeader(LOG_ID, number, 0, 0, 0, 0, 0)
    letters = st.builds(DeadLetter, small, st.text(), st.floats(), st.text(), st.text(), st.binary())
    replays = st.fixed_dictionaries({"begin": small, "numbers": st.lists(small, max_size=3)})
    bodies = st.one_of(payloads, letters.map(msgspec.msgpack.encode), replays.map(msgspec.msgpack.encode))
    kinds = st.sampled_from([record.Kind.DEAD_LETTER, record.Kind.REPLAY])

    @given(files_of(bodies, kinds, header), small)
    def check(content: bytes, replay_end: int) -> None:
        with capture_logs():
            files = MemoryFiles({f"dead-letters/{CONSUMER}.log": content})
            file = DeadLetterFile(files, log_id=LOG_ID, consumer_id=CONSUMER, replay_end=replay_end)
            known = file.page(after=-1, limit=100)
            file.add([DeadLetter(1 << 40, "x", 0.0, "400", "no", b"{}")])
            assert file.page(after=(1 << 40) - 1, limit=1)
            file.mend()
            numbers_kept = {letter.number for letter in file.page(after=-1, limit=1000)}
            assert {letter.number for letter in known} <= numbers_kept

    many(check)


def test_any_index_is_read_or_refused(many: Callable[[Any], None]) -> None:
    """Right checksums around nonsense included."""
    shares = st.builds(Share, small, small, small, small)
    rows = st.lists(st.tuples(st.integers(-2, 5), st.text(max_size=3), shares), max_size=3)
    indexes = st.builds(Index, numbers, numbers, rows).map(msgspec.msgpack.encode)

    @given(st.one_of(indexes, any_msgpack, st.binary(max_size=60)), st.booleans())
    def check(body: bytes, sealed: bool) -> None:
        raw = record.checksum(body, SEED).to_bytes(4, "little") + body if sealed else body
        index = read_index(raw, SEED)
        assert index is None or isinstance(index.shares(), dict)

    many(check)


def test_any_directory_can_be_inspected(many: Callable[[Any], None]) -> None:
    """``gateway log verify`` answers whatever the files hold."""
    journal = segment.SegmentHeader(LOG_ID, 1, 0, 0, 0, 0, 0, sealed_end=6000)

    @given(files_of(payloads, any_kind, HEADER), files_of(payloads, st.just(record.Kind.CHECKPOINT), journal))
    def check(content: bytes, checkpoints: bytes) -> None:
        Inspector(MemoryFiles({SEGMENT: content, JOURNAL: checkpoints, meta.NAME: meta.encode(LOG_ID)})).run()

    many(check)
