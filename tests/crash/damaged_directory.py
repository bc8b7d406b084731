"""A small log directory, what can be done to its bytes, and what must hold after each of these things."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

import msgspec
import zstandard
from structlog.testing import capture_logs

from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import ALL_TENANTS, Consumer, Entry, GapReason, Ledger, Refused, Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.damage import FOLDER
from gateway.queue.wal.inspect import Inspection, Inspector
from gateway.queue.wal.journal import Journal
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.queue.wal.repair import repair
from gateway.telemetry import Event, Metrics
from tests.clock import ManualClock
from tests.inline_threads import InlineLoop, inline_threads
from tests.memory_files import MemoryFiles

SECTOR = 512
LONG_AGO_S = 1.0
REPAIR_EACH = 5  # every so many directories are repaired, too
CONSUMERS = {"siem_a": "a", "siem_b": "b", "siem_all": ALL_TENANTS}
SETTINGS = Queue(disk_budget_bytes=Bytes(64 << 20), segment_bytes=Bytes(256 << 10), compression_level=1)

LOG_ID = bytes(range(16))
RUNS = 3  # of the process, each of which begins a segment and a journal
JOURNAL_BYTES = 0  # for what the snapshots need and no more, which is most of the bytes here
ZEROS_LEFT = 1 << 10  # of those behind the last frame of the active segment

Contents = Mapping[str, bytes]


class Fault(msgspec.Struct, frozen=True):
    """What became of one file: ``content`` is None when it is gone. Bytes from ``start`` to ``end`` are damaged."""

    name: str
    what: str
    start: int
    end: int
    content: bytes | None


class Seen(msgspec.Struct, frozen=True):
    """What one consumer of a reopened directory came to."""

    delivered: list[bytes]
    dead_letters: list[bytes]
    ledger: Ledger
    gaps: dict[GapReason, int]
    details: list[str]


class Outcome(msgspec.Struct, frozen=True):
    consumers: dict[str, Seen]
    corrupt: list[tuple[str, int]]
    kept: list[str]
    contents: dict[str, bytes]


@contextmanager
def workshop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs everything in its own thread, journals small enough to go through bit by bit, and the same
    bytes each time.
    """
    loop = InlineLoop()
    with (
        inline_threads(),
        mock.patch.dict(Journal.__init__.__kwdefaults__, journal_bytes=JOURNAL_BYTES),
        mock.patch("gateway.queue.wal.meta.secrets.token_bytes", return_value=LOG_ID),
    ):
        yield loop
    loop.close()


def entry(tenant: str, first: int, count: int, padding: int) -> Entry:
    lines = [b'{"id":"%s-%d","p":"%s"}' % (tenant.encode(), n, b"x" * padding) for n in range(first, first + count)]
    return Entry(Subject(SubjectKind.TENANT, tenant), b"\n".join(lines), count)


async def build() -> dict[str, bytes]:
    """As few bytes as have everything: see ``Layout``, which tells what lies where.

    Three segments of two tenants, with compressed frames, a backfill and a replay: one rewritten, one sealed, one
    active. Two journals, with gaps and with ranges out of order. Dead letters of two destinations, one of them
    replayed.
    """
    files = MemoryFiles()
    clock = ManualClock()
    numbers = {"a": 0, "b": 0}
    for run in range(RUNS):
        queue = await open_queue(files, SETTINGS, clock=clock, metrics=Metrics())
        if run == 0:  # of nobody that is there, so that the segment is worth rewriting
            await queue.append([Entry(Subject(SubjectKind.BACKFILL, "siem_gone"), b"{}", 1)])
        for name, tenant in CONSUMERS.items():
            await queue.add_consumer(name, tenant)
        for padding in (5, 300):
            clock.advance(1)
            for tenant, count in (("a", 2), ("b", 3)):
                await queue.append([entry(tenant, numbers[tenant], count, padding if tenant == "b" else 10)])
                numbers[tenant] += count
            await queue.checkpoint()
        await _work(queue, run)
        await queue.close()
    active = max(name for name in files.contents if name.endswith(".seg"))
    files.truncate(active, len(bytes(files.contents[active]).rstrip(b"\0")) + ZEROS_LEFT)
    return {name: bytes(content) for name, content in files.contents.items()}


async def _work(queue: WalQueue, run: int) -> None:
    """Settle some, out of order, refuse some, drop some; then what makes the segments differ."""
    a, b, every = (_consumer(queue, name) for name in CONSUMERS)
    for consumer in (a, every):
        records = await consumer.take(events_max=4, bytes_max=1 << 20)
        assert records is not None
        refused = (2,) if run < RUNS - 1 else (1, 2)
        await consumer.settle_refused(
            [Refused(records.positions[at], records.lines[at], "400", "no") for at in refused]
        )
        consumer.settle_delivered(records.positions[3:])
        if run < RUNS - 1:
            consumer.settle_delivered(records.positions[:1])
    if run == 0:
        await b.drop_pending(GapReason.DISABLED)
    if run == 1:
        assert await queue.space.compact()
        await queue.append([Entry(Subject(SubjectKind.BACKFILL, "siem_a"), b'{"id":"old-0"}\n{"id":"old-1"}', 2)])
    if run > 0:
        await a.replay_dead_letters([letter.number for letter in await a.dead_letters(limit=1)])
    await queue.checkpoint()


def _consumer(queue: WalQueue, name: str) -> Consumer:
    consumer = queue.consumer(name)
    assert consumer is not None
    return consumer


async def drained(consumer: Consumer) -> list[bytes]:
    lines: list[bytes] = []
    while (records := await consumer.take(events_max=1000, bytes_max=1 << 20)) is not None:
        consumer.settle_delivered(records.positions)
        lines += records.lines
    return lines


async def outcome(contents: Contents) -> Outcome:
    """Start on these files as the gateway does, deliver everything, take and deliver one more, stop."""
    files = MemoryFiles(contents)
    with capture_logs() as logs:
        queue = await open_queue(files, SETTINGS, clock=ManualClock(), metrics=Metrics())
        try:
            consumers = {
                name: await queue.add_consumer(name, tenant, created_at_s=LONG_AGO_S)
                for name, tenant in CONSUMERS.items()
            }
            queue.end_restoration()
            seen = {name: await _seen(consumer) for name, consumer in consumers.items()}
            new = [entry(tenant, 10_000, 1, 0) for tenant in ("a", "b")]
            await queue.append(new)
            for name, consumer in consumers.items():
                mine = [one.payload for one in new if CONSUMERS[name] in (one.subject.name, ALL_TENANTS)]
                assert await drained(consumer) == mine, "what comes next is delivered"
        finally:
            await queue.close()
    assert not [line for line in logs if line["event"] == Event.LEDGER_IMBALANCED]
    corrupt = [(line["file"], line.get("at", 0)) for line in logs if line["event"] == Event.LOG_CORRUPT]
    return Outcome(seen, corrupt, files.names(FOLDER), {name: bytes(raw) for name, raw in files.contents.items()})


async def _seen(consumer: Consumer) -> Seen:
    delivered = await drained(consumer)
    ledger, gaps = consumer.ledger(), await consumer.gaps()
    assert ledger.balanced
    assert ledger.pending == 0
    assert min(ledger.delivered, ledger.dead_lettered, ledger.dropped, ledger.filtered) >= 0
    assert ledger.dropped == sum(gap.count for gap in gaps), "each dropped event stands in a gap"
    counts: dict[GapReason, int] = {}
    for gap in gaps:
        counts[gap.reason] = counts.get(gap.reason, 0) + gap.count
    details = [gap.detail for gap in gaps if gap.reason is GapReason.CORRUPT]
    letters = [letter.line for letter in await consumer.dead_letters()]
    return Seen(delivered, letters, ledger, counts, details)


# -- what is where


class Layout:
    """Where the events of the sound directory lie, and what its consumers were still to get."""

    def __init__(self, contents: Contents, sound: Outcome) -> None:
        self.contents, self.sound = contents, sound
        self.structures: dict[str, list[tuple[str, int, int]]] = {}
        self.frames: dict[str, list[tuple[int, int, str, list[bytes]]]] = {}
        self.universe: dict[str, set[bytes]] = {name: set() for name in CONSUMERS}
        for name, content in contents.items():
            self._walk(name, content)
        for frames in self.frames.values():
            for _, _, subject, lines in frames:
                for name in _audience(subject):
                    self.universe[name] |= set(lines)

    def _walk(self, name: str, content: bytes) -> None:
        parts = self.structures.setdefault(name, [])
        header = segment.decode_header(content)
        if header is None:
            parts.append(("whole", 0, len(content)))
            return
        for number, at in enumerate(segment.COPIES_AT):
            parts += [(f"header copy {number}", at, at + 104), (f"zeros {number}", at + 104, at + 2048)]
        self.frames[name] = []
        for item in segment.walk(
            lambda at, size: content[at : at + size], seed=segment.seed_of(header), limit=len(content)
        ):
            if isinstance(item, segment.End):
                parts.append(("behind", item.position, len(content)))
                continue
            assert isinstance(item, segment.Located)
            assert item.body is not None
            body, end = item.position + record.HEADER_BYTES, item.position + item.header.frame_bytes
            parts += [("frame header", item.position, body), ("frame body", body, end)]
            self.frames[name].append((item.position, end, *_lines(item.header, item.body)))

    def touched(self, fault: Fault) -> dict[str, set[bytes]]:
        """The events of each consumer that lie in damaged bytes."""
        found: dict[str, set[bytes]] = {name: set() for name in CONSUMERS}
        for start, end, subject, lines in self.frames.get(fault.name, []):
            if start < fault.end and end > fault.start:
                for name in _audience(subject):
                    found[name] |= set(lines)
        return found


def _lines(header: record.Header, body: bytes) -> tuple[str, list[bytes]]:
    payload = body[header.name_bytes :]
    if header.kind == record.Kind.DEAD_LETTER:
        return record.subject_of(header, body).name, [msgspec.msgpack.decode(payload)["line"]]
    if header.kind != record.Kind.EVENTS:
        return "", []
    if header.compressed:
        payload = zstandard.ZstdDecompressor().decompress(payload)
    return record.subject_of(header, body).name, payload.split(b"\n")


def _audience(subject: str) -> list[str]:
    """The consumers that get a subject's events: those of a tenant, or the one that is named."""
    if subject in CONSUMERS:
        return [subject]
    return [name for name, tenant in CONSUMERS.items() if subject and tenant in (subject, ALL_TENANTS)]


# -- what can be done to bytes


def flipped(name: str, content: bytes, bit: int) -> Fault:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return Fault(name, f"bit {bit % 8}", bit // 8, bit // 8 + 1, bytes(damaged))


def cut(name: str, content: bytes, at: int) -> Fault:
    return Fault(name, "cut", at, len(content), content[:at])


def gone(name: str, content: bytes) -> Fault:
    return Fault(name, "gone", 0, len(content), None)


def replaced(name: str, content: bytes, at: int, sector: bytes, what: str) -> Fault:
    """A sector, or what the file has of it, holds something else."""
    end = min(at + SECTOR, len(content))
    return Fault(name, what, at, end, content[:at] + sector[: end - at].ljust(end - at, b"\0") + content[end:])


def sectors(contents: Contents, name: str, rng: random.Random) -> Iterator[Fault]:
    """Each sector zeroed (which is also its older version, before it was written), garbage, or another file's."""
    content = contents[name]
    others = [other for other in contents if other != name and other.rpartition(".")[2] == name.rpartition(".")[2]]
    for at in range(0, len(content), SECTOR):
        yield replaced(name, content, at, b"", "zeroed sector")
        yield replaced(name, content, at, rng.randbytes(SECTOR), "garbage sector")
        for other in others:
            yield replaced(name, content, at, contents[other][at : at + SECTOR], f"sector of {other}")
        for start, end in _halves(at):  # an older version: a write that never arrived, up to or from the middle
            yield replaced(
                name, content, at, content[at:start] + bytes(end - start) + content[end : at + SECTOR], "old"
            )


def _halves(at: int) -> list[tuple[int, int]]:
    return [(at, at + SECTOR // 2), (at + SECTOR // 2, at + SECTOR)]


# -- what must hold


class Judge:
    """``broken`` names the faults at which a promise did not hold, and which one."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.tried = 0
        self.broken: list[str] = []

    async def try_out(self, fault: Fault) -> None:
        """Open the directory with this fault."""
        contents = {name: content for name, content in self.layout.contents.items() if name != fault.name}
        if fault.content is not None:
            contents[fault.name] = fault.content
        self.tried += 1
        try:
            inspected = Inspector(MemoryFiles(contents)).run()
            found = await outcome(contents)
            self._check(fault, found)
            self._is_found(fault, found, inspected)
            if self.tried % REPAIR_EACH == 0:
                await self._repaired(contents, found)
        except Exception as error:  # noqa: BLE001 - the sweep goes on, and tells of all of them
            where = traceback.extract_tb(error.__traceback__)[-1].line
            self.broken.append(f"{fault.name} {fault.what} at {fault.start}: {error!r} in {where}")

    def _check(self, fault: Fault, found: Outcome) -> None:
        check: Callable[[Fault, Outcome], None] = {
            "log": self._segment if fault.name.endswith(".seg") else self._nothing_lost,
            "cursors": self._journal,
            "dead-letters": self._dead_letters,
        }.get(fault.name.partition("/")[0], self._nothing_lost)
        for name, seen in found.consumers.items():
            assert set(seen.delivered) <= self.layout.universe[name], "a wrong byte was delivered"
        check(fault, found)

    def _nothing_lost(self, _: Fault, found: Outcome) -> None:
        assert found.consumers == self.layout.sound.consumers

    def _segment(self, fault: Fault, found: Outcome) -> None:
        touched = self.layout.touched(fault)
        for name, seen in found.consumers.items():
            sound = self.layout.sound.consumers[name]
            lost = [line for line in sound.delivered if line not in set(seen.delivered)]
            assert set(lost) <= touched[name], "an event was lost that the damage did not touch"
            assert seen.delivered == [line for line in sound.delivered if line not in set(lost)], "order, no duplicates"
            assert seen.gaps.get(GapReason.CORRUPT, 0) == len(lost), "the gap has exactly what was lost"
            assert seen.ledger.accepted == sound.ledger.accepted
            assert seen.dead_letters == sound.dead_letters
            if lost:
                self._is_named(fault, found, seen)

    def _is_named(self, fault: Fault, found: Outcome, seen: Seen) -> None:
        if fault.content is None:
            return
        assert fault.name in {file for file, _ in found.corrupt} or fault.what == "cut", "the log line names the file"
        assert any(fault.name in detail for detail in seen.details) or fault.start < segment.HEADER_BYTES
        if fault.what != "cut":
            assert [piece for piece in found.kept if piece.startswith(fault.name.replace("/", "_"))], "kept"

    def _is_found(self, fault: Fault, found: Outcome, inspected: Inspection) -> None:
        """``gateway log verify`` names what a start lost, and the books at rest balance."""
        assert all(books.balanced for books in inspected.consumers) or fault.name.startswith("cursors/")
        lost = {name: seen.gaps.get(GapReason.CORRUPT, 0) for name, seen in found.consumers.items()}
        if any(lost.values()):
            named = {item.file for item in inspected.damage}
            assert fault.name in named or (fault.content is None and "log/" in named), "verify names the file"
            if fault.content is not None and fault.what != "cut":
                here = [item for item in inspected.damage if item.file == fault.name]
                at = [(item.at_byte, item.at_byte + item.length_bytes) for item in here]
                assert any(start < fault.end and end > fault.start for start, end in at), "verify names the byte"
        if fault.name.startswith("log/"):
            for books in inspected.consumers:
                assert lost[books.id] <= books.unreadable <= len(self.layout.touched(fault)[books.id]), "verify counts"

    async def _repaired(self, contents: Contents, found: Outcome) -> None:
        """After a repair the directory is sound, and its destinations get what they would have got without it."""
        files = MemoryFiles(contents)
        with capture_logs():
            repair(files)
        left = Inspector(files).run().damage
        assert {item.file.partition("/")[0] for item in left if item.what and not item.events} <= {"cursors"}, left
        again = await outcome({name: bytes(content) for name, content in files.contents.items()})
        for name, seen in again.consumers.items():
            before = found.consumers[name]
            assert (seen.delivered, seen.dead_letters) == (before.delivered, before.dead_letters)
            assert (seen.ledger, seen.gaps) == (before.ledger, before.gaps)

    def _journal(self, _: Fault, found: Outcome) -> None:
        """Duplicates at most."""
        for name, seen in found.consumers.items():
            sound = self.layout.sound.consumers[name]
            assert set(sound.delivered) <= set(seen.delivered)
            assert seen.gaps.get(GapReason.CORRUPT, 0) == 0
            assert set(sound.dead_letters) == set(seen.dead_letters)

    def _dead_letters(self, fault: Fault, found: Outcome) -> None:
        """What is damaged there stands in a gap; everything else is as it was, also what was replayed."""
        touched = self.layout.touched(fault)
        for name, seen in found.consumers.items():
            sound = self.layout.sound.consumers[name]
            lost = [line for line in sound.dead_letters if line not in seen.dead_letters]
            assert seen.delivered == sound.delivered
            assert set(lost) <= touched[name]
            assert seen.dead_letters == [line for line in sound.dead_letters if line not in lost]
            assert seen.gaps.get(GapReason.CORRUPT, 0) == len(lost)
            assert seen.ledger.dead_lettered == sound.ledger.dead_lettered - len(lost)
