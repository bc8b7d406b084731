"""Checkpoints: the durable state of all consumers, in one append-only file. Blocks: one thread calls it.

A *tick* is one frame with the states of all consumers that changed, so it takes effect whole or not at all, and one
fdatasync whatever their number. The file is filled with zeros ahead of use, so that a full disk never keeps a
consumer from moving on and freeing space. When it is full a new generation begins with the states of all; the one
before is kept.

Losing the newest ticks moves consumers back: duplicates, never a loss. Each state in a tick is whole but for its gaps,
so that what can be read of the older generation and then of the newer is always the newest that there is, also where
single ticks or the snapshot at the beginning are damaged. ``Restored.is_damaged`` then says that consumers may be
missing or behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from gateway.queue import Gap, GapReason, Subject, SubjectKind
from gateway.queue.wal import damage, record, segment
from gateway.queue.wal.cursor import CursorState
from gateway.queue.wal.files import File, Files, make_durable
from gateway.queue.wal.writer import Numbers, is_full

JOURNAL_BYTES = 4 << 20
_SNAPSHOTS = 4  # that a journal has room for at least: a new one for every few ticks costs more than the ticks
_NAME = re.compile(r"(\d{16})\.journal")
_SUBJECT = Subject(SubjectKind.TENANT, "")


class LogEnd(msgspec.Struct, frozen=True, array_like=True):
    """How far the log had come when the tick was written: proof against taking damage for a torn tail.

    ``sequences`` are the next free ones of the subjects that got events since the last tick, as (kind, name, sequence).
    """

    segment_id: int
    durable_end: int
    next_offset: int
    next_stream_sequence: int
    sequences: list[tuple[int, str, int]]


class Tick(msgspec.Struct, frozen=True, array_like=True):
    log_end: LogEnd
    states: list[CursorState]


class Restored(msgspec.Struct):
    """What the journals say: the newest state of each consumer with all its gaps.

    ``is_damaged``: some of what was written could not be read. ``is_lost``: there was not one tick to read.
    """

    states: dict[str, CursorState] = msgspec.field(default_factory=dict)
    gaps: dict[str, dict[int, Gap]] = msgspec.field(default_factory=dict)
    proven: dict[int, int] = msgspec.field(default_factory=dict)
    numbers: Numbers = msgspec.field(default_factory=Numbers)
    generation: int = 0
    is_damaged: bool = False
    is_lost: bool = True

    def begin(self) -> None:
        """A whole snapshot follows: what was read before it is of no account."""
        self.states, self.gaps, self.is_damaged = {}, {}, False

    def apply(self, tick: Tick) -> None:
        end = tick.log_end
        sequences = {Subject(SubjectKind(kind), name): sequence for kind, name, sequence in end.sequences}
        self.proven[end.segment_id] = max(self.proven.get(end.segment_id, 0), end.durable_end)
        self.numbers.raise_to(Numbers(end.next_offset, end.next_stream_sequence, sequences))
        self.is_lost = False
        for state in tick.states:
            if state.removed:
                self.states.pop(state.consumer_id, None)
                self.gaps.pop(state.consumer_id, None)
            else:
                self.states[state.consumer_id] = state
                self.gaps.setdefault(state.consumer_id, {}).update(state.changed_gaps)

    def gaps_of(self, consumer_id: str, now_s: float) -> list[Gap]:
        """All gaps in order. What the counters know of and no gap does stands in one more: its record was damaged."""
        known = self.gaps.get(consumer_id, {})
        gaps = [known[index] for index in sorted(known)]
        missing = self.states[consumer_id].counters.dropped - sum(gap.count for gap in gaps)
        if missing > 0 and self.is_damaged:
            detail = "the record of these gaps was damaged in the checkpoints; see the log lines log.corrupt"
            gaps.append(Gap(GapReason.CORRUPT, missing, now_s, now_s, None, None, now_s, detail))
        return gaps


def restore(files: Files, log_id: bytes, report: damage.Report = damage.report) -> Restored:
    """Read all generations that are there, oldest first. Damage is reported and costs no more than itself."""
    restored = Restored()
    for generation in _generations(files):
        restored.generation = generation
        _read(files, log_id, generation, restored, report)
    return restored


def recovered(files: Files, log_id: bytes) -> Restored:
    """As a start restores.

    What a killed process left is synced before it is believed: the files of a consumer that it says is gone are
    removed, and a power cut must not bring the consumer back without them.
    """
    for generation in _generations(files):
        make_durable(files, _path(generation))
    return restore(files, log_id)


class Journal:
    """Construction writes a new generation with ``states``, so it blocks and may raise OSError."""

    def __init__(
        self,
        files: Files,
        *,
        log_id: bytes,
        generation: int,
        states: Sequence[CursorState],
        log_end: LogEnd,
        journal_bytes: int = JOURNAL_BYTES,
    ) -> None:
        self._files = files
        self._log_id = log_id
        self._generation = generation
        self._journal_bytes = journal_bytes
        self._file: File | None = None
        self._size = 0
        self._position = 0
        self._seed = 0
        self.begin(log_end, states)

    def fits(self, log_end: LogEnd, states: Sequence[CursorState]) -> bool:
        """Whether a tick can be appended, or a new generation has to ``begin`` with all states."""
        return self._file is not None and self._position + len(_body(log_end, states)) + 256 <= self._size

    def append(self, log_end: LogEnd, states: Sequence[CursorState]) -> None:
        """Make a tick durable. After an OSError the file is given up and the next call must be ``begin``."""
        assert self._file is not None
        buffers = self._frame(log_end, states)
        try:
            self._file.write_at(self._position, buffers)
            self._file.sync(self._position)
        except OSError:
            self.close()
            raise
        self._position += sum(map(len, buffers))

    def begin(self, log_end: LogEnd, states: Sequence[CursorState]) -> None:
        """Start a new generation with the states of all consumers, then forget all but the one before it."""
        self.close()
        self._forget_old()
        self._generation += 1
        temporary, name = f"cursors/{self._generation:016d}.tmp", _path(self._generation)
        file, self._size = self._create(temporary, len(_body(log_end, states)))
        header = segment.SegmentHeader(self._log_id, self._generation, 0, 0, 0, 0, 0, sealed_end=self._size)
        self._seed = segment.seed_of(header)
        self._position = 0  # nothing of the new file is proven yet, however much of the last one was
        buffers = self._frame(log_end, states)
        try:
            file.write_at(0, [segment.encode_header(header), *buffers])
            file.sync(0)
            self._files.rename(temporary, name)
        except OSError:
            file.close()
            raise
        self._file = file
        self._position = segment.HEADER_BYTES + sum(map(len, buffers))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _create(self, name: str, snapshot_bytes: int) -> tuple[File, int]:
        """A file of the usual size, or as large as some snapshots; on a full disk of what is needed, which is room to
        move on for a while, and so to free space.
        """
        needed = segment.HEADER_BYTES + 2 * snapshot_bytes + 4096
        size = max(self._journal_bytes, needed, segment.HEADER_BYTES + _SNAPSHOTS * snapshot_bytes)
        try:
            return self._files.create(name, size), size
        except OSError as error:
            if not is_full(error):
                raise
            return self._files.create(name, needed), needed

    def _frame(self, log_end: LogEnd, states: Sequence[CursorState]) -> list[bytes]:
        return record.encode(
            seed=self._seed,
            kind=record.Kind.CHECKPOINT,
            subject=_SUBJECT,
            payload=_body(log_end, states),
            events=len(states),
            synced_end=self._position,
        )

    def _forget_old(self) -> None:
        kept = {_path(generation) for generation in _generations(self._files)[-1:]}
        names = [f"cursors/{name}" for name in self._files.names("cursors")]
        self._files.unlink([name for name in names if name not in kept])


def _body(log_end: LogEnd, states: Sequence[CursorState]) -> bytes:
    return msgspec.msgpack.encode(Tick(log_end, list(states)))


def _path(generation: int) -> str:
    return f"cursors/{generation:016d}.journal"


def _generations(files: Files) -> list[int]:
    matches = (_NAME.fullmatch(name) for name in files.names("cursors"))
    return sorted(int(match[1]) for match in matches if match)


def _read(files: Files, log_id: bytes, generation: int, restored: Restored, report: damage.Report) -> None:
    name = _path(generation)
    file = files.open(name)
    try:
        size = file.size()
        block = file.read_at(0, segment.HEADER_BYTES)
        header = segment.find_header(block, log_id, generation)
        if header is None:
            restored.is_damaged = True
            report(files, name, 0, size, "the journal's header is damaged or of another log; nothing of it can be read")
            return
        for at in segment.damaged_copies(block, header):
            report(files, name, at, segment.COPIES_AT[1], segment.SPARE_COPY)
        for item in segment.walk(file.read_at, seed=segment.seed_of(header), limit=size):
            if not _apply(restored, item) and isinstance(item, segment.Located | segment.Damage):
                length = item.length if isinstance(item, segment.Damage) else item.header.frame_bytes
                restored.is_damaged = True
                report(files, name, item.position, length, "checkpoints; destinations may go back to older ones")
        if size < header.sealed_end:
            restored.is_damaged = True
            report(files, name, size, header.sealed_end - size, "the journal is shorter than it was made")
    finally:
        file.close()


def _apply(restored: Restored, item: segment.Located | segment.Damage | segment.End) -> bool:
    """False where there is no tick to apply."""
    if not isinstance(item, segment.Located) or item.body is None:
        return False
    try:
        tick = msgspec.msgpack.decode(item.body, type=Tick)
        if item.position == segment.HEADER_BYTES:
            restored.begin()
        restored.apply(tick)
    except ValueError:  # msgspec's errors, and kinds of subjects that there are not
        return False
    return True
