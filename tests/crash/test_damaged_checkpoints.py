"""Checkpoints that are lost, whole or in part: destinations get events again, and miss none."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import ALL_TENANTS, Consumer, Entry, GapReason, Refused, Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics
from tests.clock import ManualClock

SETTINGS = Queue(disk_budget_bytes=Bytes(64 << 20), segment_bytes=Bytes(256 << 10))
DESTINATIONS = {"siem_a": "a", "siem_b": "b", "siem_all": ALL_TENANTS}


class Directory:
    """One directory and the destinations that the store knows with the time of their making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        self.made_at_s: dict[str, float] = {}
        self.queue: WalQueue | None = None

    async def open(self) -> WalQueue:
        self.queue = await open_queue(DiskFiles(self.root), SETTINGS, clock=self.clock, metrics=Metrics())
        return self.queue

    async def start(self) -> dict[str, Consumer]:
        """Open it as the gateway does: with all destinations of the store."""
        queue = await self.open()
        self.clock.advance(1)
        for name in DESTINATIONS:
            self.made_at_s.setdefault(name, self.clock.time_s())
        return {
            name: await queue.add_consumer(name, tenant, created_at_s=self.made_at_s[name])
            for name, tenant in DESTINATIONS.items()
        }

    async def close(self) -> None:
        if self.queue is not None:
            await self.queue.close()
            self.queue = None

    async def append(self, tenant: str, *numbers: int) -> None:
        assert self.queue is not None
        self.clock.advance(1)
        for number in numbers:
            await self.queue.append([Entry(Subject(SubjectKind.TENANT, tenant), line(tenant, number), 1)])

    def journals(self) -> list[Path]:
        return sorted((self.root / "cursors").glob("*.journal"))


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    directory = Directory(tmp_path / "data")
    yield directory
    await directory.close()


def line(tenant: str, number: int) -> bytes:
    return b'{"id":"%s-%d"}' % (tenant.encode(), number)


def lines(tenant: str, *numbers: int) -> list[bytes]:
    return [line(tenant, number) for number in numbers]


async def drained(consumer: Consumer) -> list[bytes]:
    found: list[bytes] = []
    while (records := await consumer.take(events_max=100, bytes_max=1 << 20)) is not None:
        consumer.settle_delivered(records.positions)
        found += records.lines
    ledger = consumer.ledger()
    assert ledger.balanced
    assert ledger.pending == 0
    assert min(ledger.delivered, ledger.dead_lettered, ledger.dropped) >= 0
    return found


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


LOSSES = [zeroed, emptied, Path.unlink]


@pytest.mark.parametrize("lose", LOSSES)
async def test_without_any_checkpoint_known_destinations_begin_at_the_oldest_event(
    directory: Directory, lose: Callable[[Path], None]
) -> None:
    """What waited is delivered, what was delivered comes again, the books begin anew and balance, and a gap of no
    events says so; a destination that is made afterwards begins at the end, as always.
    """
    consumers = await directory.start()
    await directory.append("a", 0, 1)
    await directory.append("b", 0)
    assert await drained(consumers["siem_a"]) == lines("a", 0, 1)
    await directory.append("a", 2)
    await directory.close()
    for journal in directory.journals():
        lose(journal)
    consumers = await directory.start()
    assert await drained(consumers["siem_a"]) == lines("a", 0, 1, 2)
    assert await drained(consumers["siem_b"]) == lines("b", 0)
    assert await drained(consumers["siem_all"]) == [*lines("a", 0, 1), *lines("b", 0), *lines("a", 2)]
    for consumer in consumers.values():
        (gap,) = await consumer.gaps()
        assert (gap.reason, gap.count) == (GapReason.CORRUPT, 0)
        assert "began anew at event 0" in gap.detail
    assert directory.queue is not None
    new = await directory.queue.add_consumer("siem_new", "a", created_at_s=directory.clock.time_s())
    await directory.append("a", 3)
    assert await drained(new) == lines("a", 3)
    assert await new.gaps() == []


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_second_crash_before_the_destinations_are_back_loses_nothing_either(
    directory: Directory, lose: Callable[[Path], None]
) -> None:
    """The start that met the loss wrote sound journals that know of no destination: the next one still begins those
    of the store with their oldest event.
    """
    await directory.start()
    await directory.append("a", 0, 1)
    await directory.close()
    for journal in directory.journals():
        lose(journal)
    await directory.open()
    await directory.close()
    consumers = await directory.start()
    assert await drained(consumers["siem_a"]) == lines("a", 0, 1)


async def test_a_destination_that_no_checkpoint_has_seen_yet_gets_what_came_since_it_was_made(
    directory: Directory,
) -> None:
    """A crash between the store and the log costs it nothing, and it does not get what is older than itself."""
    await directory.start()
    await directory.append("a", 0)
    directory.clock.advance(1)
    made_at_s = directory.clock.time_s()
    await directory.append("a", 1)
    await directory.close()
    await directory.start()
    assert directory.queue is not None
    late = await directory.queue.add_consumer("siem_late", "a", created_at_s=made_at_s)
    assert await drained(late) == lines("a", 1)


async def test_backfills_and_replays_in_the_log_count_as_accepted(directory: Directory) -> None:
    """They come again as well; no figure of the new books is below zero, and replays count right from then on."""
    a = (await directory.start())["siem_a"]
    assert directory.queue is not None
    await directory.append("a", 0, 1)
    await directory.queue.append([Entry(Subject(SubjectKind.BACKFILL, "siem_a"), b'{"id":"old"}', 1)])
    records = await a.take(events_max=1, bytes_max=100)
    assert records is not None
    await a.settle_refused([Refused(records.positions[0], records.lines[0], "400", "no")])
    await a.replay_dead_letters()
    await directory.close()
    for journal in directory.journals():
        zeroed(journal)
    a = (await directory.start())["siem_a"]
    records = await a.take(events_max=1, bytes_max=100)
    assert records is not None
    await a.settle_refused([Refused(records.positions[0], records.lines[0], "400", "no")])
    assert await drained(a) == [line("a", 1), b'{"id":"old"}', line("a", 0)]
    assert (a.ledger().accepted, a.ledger().dead_lettered) == (4, 1)
    assert await a.replay_dead_letters() == 1
    assert await drained(a) == lines("a", 0)
    assert (a.ledger().accepted, a.ledger().delivered, a.ledger().dead_lettered) == (4, 4, 0)


async def test_with_checkpoints_and_segments_gone_the_log_begins_anew(directory: Directory) -> None:
    """Nothing is left to deliver; what comes from then on is delivered, and the gap says that the books began anew."""
    await directory.start()
    await directory.append("a", 0, 1)
    await directory.close()
    shutil.rmtree(directory.root / "log")
    for journal in directory.journals():
        zeroed(journal)
    a = (await directory.start())["siem_a"]
    await directory.append("a", 2)
    assert await drained(a) == lines("a", 2)
    assert [gap.count for gap in await a.gaps()] == [0]


async def test_with_the_segments_alone_gone_all_that_waited_is_a_gap(directory: Directory) -> None:
    """The checkpoints know how much there was. No number is used twice."""
    a = (await directory.start())["siem_a"]
    await directory.append("a", 0, 1, 2)
    records = await a.take(events_max=1, bytes_max=100)
    assert records is not None
    a.settle_delivered(records.positions)
    await directory.close()
    shutil.rmtree(directory.root / "log")
    a = (await directory.start())["siem_a"]
    await directory.append("a", 3)
    assert await drained(a) == lines("a", 3)
    assert [(gap.reason, gap.count) for gap in await a.gaps()] == [(GapReason.CORRUPT, 2)]
    assert (a.ledger().accepted, a.ledger().delivered, a.ledger().dropped) == (4, 2, 2)


async def test_nothing_is_removed_before_all_destinations_are_back(directory: Directory) -> None:
    """A segment that no known destination needs may be needed by one whose checkpoint is lost."""
    consumers = await directory.start()
    await directory.append("a", 0)
    await directory.close()
    await directory.start()  # seals the segment with the event
    await directory.close()
    for journal in directory.journals():
        zeroed(journal)
    queue = await directory.open()
    await queue.space.retain()
    consumers = {"siem_a": await queue.add_consumer("siem_a", "a", created_at_s=1.0)}
    queue.end_restoration()
    await queue.space.retain()
    assert await drained(consumers["siem_a"]) == lines("a", 0)
    await queue.checkpoint()
    before = queue.status().segments
    await queue.space.retain()
    assert queue.status().segments < before


async def test_a_destination_whose_making_is_in_a_damaged_tick_loses_nothing(directory: Directory) -> None:
    """Other ticks can be read, and so can the rest of the destinations; its dead letters are set aside."""
    await directory.start()
    assert directory.queue is not None
    late = await directory.queue.add_consumer("siem_late", "a")
    directory.made_at_s["siem_late"] = directory.clock.time_s()
    await directory.append("a", 0)
    await directory.close()
    journal = directory.journals()[-1]
    content = bytearray(journal.read_bytes())
    for position, header in ticks(bytes(content)):
        end = position + header.frame_bytes
        if b"siem_late" in content[position:end]:
            content[position + record.HEADER_BYTES] ^= 1
    journal.write_bytes(content)
    await directory.start()
    late = await directory.queue.add_consumer("siem_late", "a", created_at_s=1.0)
    assert await drained(late) == lines("a", 0)


async def test_a_damaged_snapshot_costs_nothing_that_later_ticks_know(directory: Directory) -> None:
    """Each tick holds whole states: with the generation before and what can be read behind the damage, the newest
    state of each destination is found.
    """
    a = (await directory.start())["siem_a"]
    await directory.append("a", 0, 1, 2)
    await directory.close()
    a = (await directory.start())["siem_a"]
    assert await drained(a) == lines("a", 0, 1, 2)
    await a.drop_pending(GapReason.DISABLED)
    before = a.ledger()
    await directory.close()
    journal = directory.journals()[-1]
    content = bytearray(journal.read_bytes())
    content[segment.HEADER_BYTES + record.HEADER_BYTES] ^= 1
    journal.write_bytes(content)
    a = (await directory.start())["siem_a"]
    assert a.ledger() == before
    assert await drained(a) == []


async def test_gaps_whose_record_is_damaged_are_still_counted_in_one(directory: Directory) -> None:
    """The counters know how many events were dropped; what no readable gap accounts for stands in one of its own."""
    a = (await directory.start())["siem_a"]
    assert directory.queue is not None
    await directory.append("a", 0, 1)
    await a.drop_pending(GapReason.DISABLED)
    await directory.queue.checkpoint()
    await directory.append("a", 2)
    assert await drained(a) == lines("a", 2)
    await directory.close()
    journal = directory.journals()[-1]
    content = bytearray(journal.read_bytes())
    for position, header in ticks(bytes(content)):
        if b"disabled" in content[position : position + header.frame_bytes]:
            content[position + record.HEADER_BYTES] ^= 1
    journal.write_bytes(content)
    a = (await directory.start())["siem_a"]
    assert await drained(a) == []
    (gap,) = await a.gaps()
    assert (gap.reason, gap.count) == (GapReason.CORRUPT, 2)
    assert "record of these gaps was damaged" in gap.detail
    assert a.ledger().dropped == 2


def ticks(content: bytes) -> list[tuple[int, record.Header]]:
    header = segment.decode_header(content)
    assert header is not None
    walk = segment.walk(lambda at, size: content[at : at + size], seed=segment.seed_of(header), limit=len(content))
    return [(item.position, item.header) for item in walk if isinstance(item, segment.Located)]
