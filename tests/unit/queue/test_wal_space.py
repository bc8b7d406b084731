"""Whose events take the disk: a dead destination's own, and no healthy one's are given up for them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.errors import QueueFull
from gateway.quantity import Bytes
from gateway.queue import Consumer, Entry, GapReason, Subject, SubjectKind
from gateway.queue.wal import record
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Event, Metrics

SEGMENT_BYTES = 1 << 20
TENANTS = 20


class Log:
    """A queue on real files with small segments, and a consumer for each tenant; ``t0``'s takes nothing."""

    def __init__(self, queue: WalQueue, consumers: list[Consumer], upkeep: asyncio.Task[None]) -> None:
        self.queue = queue
        self._upkeep = upkeep
        self.dead, self.healthy = consumers[0], consumers[1:]
        self.dead_bytes = 0
        self.written_bytes = 0
        self._numbers = [0] * len(consumers)

    async def append(self, *payloads_bytes: int) -> None:
        """One commit of an event for each tenant, of these sizes."""
        entries = [self._entry(tenant, size) for tenant, size in enumerate(payloads_bytes) if size]
        await self.queue.append(entries)
        self._numbers = [number + bool(size) for number, size in zip(self._numbers, payloads_bytes, strict=True)]
        sizes = {entry.subject.name: record.HEADER_BYTES + 4 + len(entry.payload) for entry in entries}
        self.dead_bytes += sizes.get("t0", 0)
        self.written_bytes += sum(sizes.values())

    async def fill(self, subject: Subject) -> int:
        """Large events of one subject until no more are taken. How many were."""
        for count in itertools.count():
            payload = b'{"id":"%s-%d","p":"%s"}' % (subject.name.encode(), count, b"x" * 20_000)
            try:
                await self.queue.append([Entry(subject, payload, 1)])
            except QueueFull:
                break
        return count

    async def deliver(self) -> None:
        """Everybody but the dead one takes what there is."""
        for consumer in self.healthy:
            while (records := await consumer.take(events_max=1000, bytes_max=1 << 20)) is not None:
                consumer.settle_delivered(records.positions)

    async def stop_upkeep(self) -> None:
        """Nothing is freed and nobody gives anything up any more."""
        self._upkeep.cancel()
        await asyncio.wait({self._upkeep})

    def _entry(self, tenant: int, size: int) -> Entry:
        payload = b'{"id":"t%d-%d","p":"%s"}' % (tenant, self._numbers[tenant], b"x" * size)
        return Entry(Subject(SubjectKind.TENANT, f"t{tenant}"), payload, 1)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    settings = Queue(
        disk_budget_bytes=Bytes(32 << 20),
        segment_bytes=Bytes(SEGMENT_BYTES),
        tail_bytes=Bytes(64 << 10),
        compression_level=0,
    )
    queue = await open_queue(DiskFiles(tmp_path / "data"), settings, clock=SystemClock(), metrics=Metrics())
    running = asyncio.create_task(queue.run())
    consumers = [await queue.add_consumer(f"siem_{n}", f"t{n}") for n in range(TENANTS)]
    log = Log(queue, consumers, running)
    yield log
    await log.stop_upkeep()
    await queue.close()


@pytest.mark.parametrize("percent", [5, 30, 60, 75, 95])
async def test_a_dead_destination_costs_its_own_bytes(log: Log, percent: int) -> None:
    """Whatever its share of the traffic, what stays is within 1.2 times its own bytes and two segments, no event is
    rewritten many times for it, and the dead one still has every event.
    """
    others = 500 * (100 - percent) // (TENANTS - 1)
    with capture_logs() as lines:
        for _ in range(300):
            await log.append(500 * percent, *[others] * (TENANTS - 1))
            await log.deliver()
        bound = 1.2 * log.dead_bytes + 2 * SEGMENT_BYTES
        await _eventually(lambda: log.queue.status().disk_bytes <= bound)
    rewritten = sum(line["bytes_after"] for line in lines if line["event"] == Event.LOG_SEGMENT_COMPACTED)
    assert rewritten <= 2 * log.written_bytes
    assert log.dead.ledger().pending == log.dead.ledger().accepted
    assert [line async for line in _ids(log.dead)] == [b"t0-%d" % n for n in range(log.dead.ledger().accepted)]
    assert await log.dead.gaps() == []


async def test_the_failing_give_up_first_and_the_slow_lose_nothing(log: Log) -> None:
    """Over the budget two failing destinations lose their oldest events, each with a gap; one that is slow and
    healthy gets all of its own, though it is behind both.
    """
    failing, slow = [log.dead, log.healthy[0]], log.healthy.pop(1)
    del log.healthy[0]
    for consumer in failing:
        consumer.set_failing(True)
    refused = 0
    for _ in range(1_200):
        try:
            await log.append(20_000, 10_000, 500, *[0] * (TENANTS - 3))
        except QueueFull:
            refused += 1
            await asyncio.sleep(0.02)
        await log.deliver()
    await _eventually(lambda: not log.queue.status().problem)
    await log.stop_upkeep()
    for consumer in failing:
        books, gaps = consumer.ledger(), await consumer.gaps()
        assert books.balanced
        assert {gap.reason for gap in gaps} == {GapReason.DISK_BUDGET}
        assert 0 < books.dropped == sum(gap.count for gap in gaps) < books.accepted
        name = consumer.id.removeprefix("siem_").encode()
        assert gaps[0].first_id == f"t{name.decode()}-0"
        kept = [line async for line in _ids(consumer)]
        assert kept == [b"t%s-%d" % (name, n) for n in range(books.dropped, books.accepted)]
    assert await slow.gaps() == []
    assert [line async for line in _ids(slow)] == [b"t2-%d" % n for n in range(slow.ledger().accepted)]


async def test_nobody_gives_up_what_stays_for_another(log: Log) -> None:
    """What a slow and healthy destination of all tenants needs stays on disk, so a failing one keeps it too, and the
    producer is refused.
    """
    slow = await log.queue.add_consumer("siem_all", "*")
    log.dead.set_failing(True)

    async def fill() -> None:
        for _ in range(2_000):
            await log.append(20_000, *[0] * (TENANTS - 1))

    with pytest.raises(QueueFull):
        await fill()
    await log.stop_upkeep()
    await log.queue.space.retain()
    for consumer in (slow, log.dead):
        assert await consumer.gaps() == []
        assert consumer.ledger().pending == consumer.ledger().accepted


async def test_what_is_given_up_of_two_lanes_is_one_gap(log: Log) -> None:
    """The segment that goes has a backfill alone, and what the failing destination has of its tenant stays before it
    for a slow and healthy one: all that is passed is counted as given up, and nothing is called damaged.
    """
    await log.stop_upkeep()
    slow = await log.queue.add_consumer("siem_slow", "t0")
    log.dead.set_failing(True)
    for _ in range(100):
        await log.append(20_000, *[0] * (TENANTS - 1))
    backfilled = await log.fill(Subject(SubjectKind.BACKFILL, log.dead.id))
    await log.queue.checkpoint()
    await log.queue.space.retain()
    kept = [line async for line in _ids(log.dead)]
    (gap,) = await log.dead.gaps()
    assert gap.reason is GapReason.DISK_BUDGET
    assert (gap.first_id, gap.count) == ("t0-0", 100 + backfilled - len(kept))
    assert kept == [b"siem_0-%d" % n for n in range(gap.count - 100, backfilled)]
    assert log.dead.ledger().balanced
    assert len([line async for line in _ids(slow)]) == 100


async def test_what_was_delivered_since_the_checkpoint_is_not_given_up(log: Log) -> None:
    """What is to go is found by the last checkpoint, which knows less than the cursor: a backfill that was delivered
    since, before the segment that goes, is in no gap, and all that is given up is in it.
    """
    await log.stop_upkeep()
    backfill = Subject(SubjectKind.BACKFILL, log.dead.id)
    await log.append(0, 20_000, *[0] * (TENANTS - 2))  # t1's is slow and healthy, and keeps the first segment
    await log.queue.append([Entry(backfill, b"\n".join([b'{"id":"b"}'] * 40), 40)])
    log.dead.set_failing(True)
    accepted = await log.fill(Subject(SubjectKind.TENANT, "t0"))
    await log.queue.checkpoint()
    records = await log.dead.take(events_max=40, bytes_max=1 << 20)
    assert records is not None
    log.dead.settle_delivered(records.positions)
    await log.queue.space.retain()
    kept = [line async for line in _ids(log.dead)]
    (gap,) = await log.dead.gaps()
    assert (gap.reason, gap.first_id, gap.count) == (GapReason.DISK_BUDGET, "t0-0", accepted - len(kept))
    assert kept == [b"t0-%d" % n for n in range(gap.count, accepted)]
    books = log.dead.ledger()
    assert (books.balanced, books.delivered, books.dropped) == (True, 40 + len(kept), gap.count)


async def test_one_that_is_being_deleted_gives_up_no_more_than_its_own(log: Log) -> None:
    """What its tenant has written since the end of its intake is none of its events, in its books and on the disk."""
    await log.stop_upkeep()
    for consumer in log.healthy:
        await log.queue.remove_consumer(consumer.id)
    log.dead.set_failing(True)
    await log.append(20_000, *[0] * (TENANTS - 1))
    await log.dead.end_intake()
    await log.fill(Subject(SubjectKind.TENANT, "t0"))
    await log.queue.checkpoint()
    await log.queue.space.retain()
    books = log.dead.ledger()
    assert (books.accepted, books.dropped, books.pending, books.balanced) == (1, 1, 0, True)
    assert log.queue.space.sealed == []


async def test_a_dead_destination_of_all_tenants_keeps_everything(log: Log) -> None:
    """What one destination of all tenants needs is not rewritten away by what others have passed."""
    of_all = await log.queue.add_consumer("siem_all", "*")
    for _ in range(200):
        await log.append(*[500] * TENANTS)
        await log.deliver()
    await log.stop_upkeep()
    for _ in range(2):
        await log.queue.space.retain()
    assert len([line async for line in _ids(of_all)]) == 200 * TENANTS
    assert await of_all.gaps() == []


async def _ids(consumer: Consumer) -> AsyncIterator[bytes]:
    """Of everything that waits, in the order in which it is handed out."""
    while (records := await consumer.take(events_max=1000, bytes_max=1 << 20)) is not None:
        consumer.settle_delivered(records.positions)
        for line in records.lines:
            yield line.split(b'"')[3]


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
