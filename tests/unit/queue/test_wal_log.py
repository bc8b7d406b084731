"""The write-ahead log as a whole, on real files."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.errors import DataDirectoryInUse, QueueFull, QueueUnavailable
from gateway.quantity import Bytes, Seconds
from gateway.queue import Consumer, Entry, GapReason, Records, Refused, Subject, SubjectKind
from gateway.queue.wal.files import DiskFile, DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics

SMALL = Queue(
    disk_budget_bytes=Bytes(8 << 20),
    segment_bytes=Bytes(256 << 10),
    tail_bytes=Bytes(64 << 10),
    compression_level=0,
)


class Opener:
    """Opens queues on one directory and forgets none of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.open: list[tuple[WalQueue, asyncio.Task[None]]] = []

    async def __call__(self, settings: Queue = SMALL) -> WalQueue:
        queue = await open_queue(DiskFiles(self.root), settings, clock=SystemClock(), metrics=Metrics())
        self.open.append((queue, asyncio.create_task(queue.run())))
        return queue

    async def close(self) -> None:
        while self.open:
            queue, running = self.open.pop()
            running.cancel()
            await asyncio.wait({running})
            await queue.close()


@pytest.fixture
async def opener(tmp_path: Path) -> AsyncIterator[Opener]:
    opener = Opener(tmp_path / "data")
    yield opener
    await opener.close()


def tenant(name: str) -> Subject:
    return Subject(SubjectKind.TENANT, name)


def entry(name: str, first: int, count: int = 1, padding: int = 0) -> Entry:
    lines = [b'{"id":"%s-%d","p":"%s"}' % (name.encode(), n, b"x" * padding) for n in range(first, first + count)]
    return Entry(tenant(name), b"\n".join(lines), count)


async def take_all(consumer: Consumer, settle: bool = True) -> list[bytes]:
    lines: list[bytes] = []
    while (records := await consumer.take(events_max=7, bytes_max=1 << 20)) is not None:
        lines += records.lines
        if settle:
            consumer.settle_delivered(records.positions)
    return lines


async def taken(consumer: Consumer, events_max: int = 1000) -> Records:
    records = await consumer.take(events_max=events_max, bytes_max=1 << 20)
    assert records is not None
    return records


async def test_a_consumer_gets_its_tenants_events_in_order_and_nobody_elses(opener: Opener) -> None:
    """Events appended for two tenants reach each one's consumer whole, in order, byte for byte."""
    queue = await opener()
    a, b = await queue.add_consumer("siem_a", "a"), await queue.add_consumer("siem_b", "b")
    both = await queue.add_consumer("siem_all", "*")
    for n in range(20):
        await queue.append([entry("a", n), entry("b", n)])
    assert await take_all(a) == [entry("a", n).payload for n in range(20)]
    assert await take_all(b) == [entry("b", n).payload for n in range(20)]
    assert len(await take_all(both)) == 40
    for consumer in (a, b, both):
        assert consumer.ledger().balanced
        assert consumer.ledger().pending == 0


async def test_large_entries_of_one_subject_in_one_commit_are_numbered_apart(opener: Opener) -> None:
    """Two frames of one subject in the same commit do not share sequence numbers (they once did)."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 600, padding=1000), entry("a", 600, 600, padding=1000)])
    assert a.ledger().accepted == 1200
    assert len(await take_all(a)) == 1200


async def test_what_is_released_comes_again_and_what_is_settled_does_not(opener: Opener) -> None:
    """Settling out of order leaves exactly the released events to be handed out again."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 10)])
    first, second = await taken(a, 5), await taken(a, 5)
    a.settle_delivered(second.positions)
    a.settle_delivered([first.positions[1], first.positions[3]])
    a.release(first.positions)
    again = await taken(a)
    assert again.positions == [0, 2, 4]
    assert a.ledger().pending == 3


async def test_settling_twice_is_refused(opener: Opener) -> None:
    """A second settlement of the same event is an error, since the books would count it twice."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 2)])
    records = await taken(a)
    a.settle_delivered(records.positions)
    with pytest.raises(ValueError, match="not all handed out"):
        a.settle_delivered(records.positions)


async def test_books_and_cursor_survive_a_restart(opener: Opener) -> None:
    """After a clean close the same consumer goes on where it was, with out-of-order settlements kept."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 6)])
    records = await taken(a)
    a.settle_delivered(records.positions[3:5])
    a.set_filter(lambda lines: [b"a-0" not in line for line in lines])
    a.release(records.positions[:1])
    assert await a.take(events_max=1, bytes_max=100) is None
    await a.settle_refused([Refused(records.positions[2], records.lines[2], "400", "bad mapping")])
    a.set_memo(b"outage since noon")
    before = a.ledger()
    await opener.close()
    again = (await opener()).consumer("siem_a")
    assert again is not None
    assert again.ledger() == before
    assert again.memo == b"outage since noon"
    assert (await taken(again)).positions == [1, 5]
    letters = await again.dead_letters()
    assert [(letter.event_id, letter.code, letter.line) for letter in letters] == [("a-2", "400", records.lines[2])]


async def test_a_lagging_consumer_reads_from_disk_what_memory_has_forgotten(opener: Opener) -> None:
    """A backlog far larger than the memory tail, across segments and a restart, is read whole and in order."""
    queue = await opener()
    await queue.add_consumer("siem_a", "a")
    for n in range(0, 3000, 100):
        await queue.append([entry("b", n, 20, padding=300), entry("a", n, 100, padding=300)])
    await opener.close()
    queue = await opener()
    await queue.append([entry("a", 3000, 10)])
    a = queue.consumer("siem_a")
    assert a is not None
    lines = await take_all(a)
    assert [line.split(b'"')[3] for line in lines] == [b"a-%d" % n for n in range(3010)]
    assert a.ledger().balanced


async def test_a_few_events_of_a_large_request_cost_no_copy_of_all(opener: Opener) -> None:
    """What is taken one by one of a body of tens of thousands would else cost the square of it."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 20_000)])
    first = await taken(a, 1)
    tracemalloc.start()
    try:
        second = await taken(a, 1)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first.positions + second.positions == [0, 1]
    assert peak_bytes < 20_000


async def test_what_is_released_is_read_again_from_where_it_is(opener: Opener) -> None:
    """Not from the beginning of its segment: a destination that fails now and then would cost the more the longer."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    for _ in range(10):
        await queue.append([entry("b", 0, 20, padding=300)])
    await queue.append([entry("a", 0, 100, padding=300)])
    await queue.append([entry("b", 0, 100, padding=1000)])  # nothing of a's is in memory now
    records = await taken(a)
    read_from: list[int] = []
    read_at = DiskFile.read_at

    def noted(file: DiskFile, position: int, size: int) -> bytes:
        read_from.append(position)
        return read_at(file, position, size)

    with mock.patch.object(DiskFile, "read_at", noted):
        a.release(records.positions[50:])
        assert await taken(a) == msgspec.structs.replace(
            records, positions=records.positions[50:], lines=records.lines[50:]
        )
    assert min(read_from) > 10 * 20 * 300


async def test_segments_go_when_nobody_needs_them(opener: Opener) -> None:
    """Once the last consumer has passed and the checkpoint is durable, old segments are removed."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    for n in range(0, 2000, 100):
        await queue.append([entry("a", n, 100, padding=500)])
    assert queue.status().segments > 3
    await take_all(a)
    await _eventually(lambda: queue.status().segments <= 2)


async def test_a_failing_consumer_gives_up_its_oldest_data_and_a_healthy_one_nothing(opener: Opener) -> None:
    """Over the disk budget the failing consumer's oldest events become a gap, and ingest goes on."""
    queue = await opener()
    dead, healthy = await queue.add_consumer("siem_dead", "a"), await queue.add_consumer("siem_ok", "b")
    dead.set_failing(True)
    await queue.append([entry("b", 0, 3)])
    for n in range(0, 20_000, 100):
        try:
            await queue.append([entry("a", n, 100, padding=500)])
        except QueueFull:
            await asyncio.sleep(0.05)
        await take_all(healthy)
    await _eventually(lambda: dead.ledger().dropped > 0)
    gaps = await dead.gaps()
    assert {gap.reason for gap in gaps} == {GapReason.DISK_BUDGET}
    assert sum(gap.count for gap in gaps) == dead.ledger().dropped
    assert dead.ledger().balanced
    assert (gaps[0].first_id, gaps[-1].last_id) == ("a-0", f"a-{sum(gap.count for gap in gaps) - 1}")
    assert await healthy.gaps() == []


async def test_without_a_failing_consumer_a_full_queue_refuses(opener: Opener) -> None:
    """A consumer that is slow but healthy loses nothing: the producer is told to come back."""
    queue = await opener()
    slow = await queue.add_consumer("siem_slow", "a")

    async def fill() -> None:
        for n in range(0, 40_000, 100):
            await queue.append([entry("a", n, 100, padding=500)])

    with pytest.raises(QueueFull) as refused:
        await fill()
    assert refused.value.retry_after_s > 0
    assert "disk budget" in str(refused.value)
    assert slow.ledger().dropped == 0
    assert slow.ledger().balanced


async def test_a_second_process_is_kept_out(opener: Opener) -> None:
    """Opening the same directory twice fails with the owner's process number."""
    await opener()
    with pytest.raises(DataDirectoryInUse, match="in use by process"):
        await open_queue(DiskFiles(opener.root), SMALL, clock=SystemClock(), metrics=Metrics())


async def test_a_closing_queue_refuses_and_loses_nothing_it_took(opener: Opener) -> None:
    """Appends after the stop are refused with Retry-After; those before it are durable."""
    queue = await opener()
    await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0)])
    queue.refuse_appends()
    with pytest.raises(QueueUnavailable):
        await queue.append([entry("a", 1)])
    await opener.close()
    a = (await opener()).consumer("siem_a")
    assert a is not None
    assert len(await take_all(a)) == 1


async def test_dropping_books_one_gap_with_its_first_and_last_event(opener: Opener) -> None:
    """What waits becomes one gap; what comes next while nothing is delivered lets the same gap grow."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 5)])
    assert await a.drop_pending(GapReason.DISABLED) == 5
    await queue.append([entry("a", 5, 2)])
    assert await a.drop_pending(GapReason.DISABLED) == 2
    (gap,) = await a.gaps()
    assert (gap.count, gap.first_id, gap.last_id) == (7, "a-0", "a-6")
    assert a.ledger().dropped == 7
    assert a.ledger().balanced


async def test_what_is_in_flight_is_not_dropped(opener: Opener) -> None:
    """Events that are handed out while the rest is dropped are settled by their own outcome."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 5)])
    in_flight = await taken(a, 2)
    assert await a.drop_pending(GapReason.RETRIES_EXHAUSTED) == 3
    a.settle_delivered(in_flight.positions)
    ledger = a.ledger()
    assert (ledger.delivered, ledger.dropped, ledger.pending, ledger.balanced) == (2, 3, 0, True)


async def test_replayed_dead_letters_are_pending_again_and_delivered_once(opener: Opener) -> None:
    """A replay moves events from the dead letters back into the queue; accepted does not change."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 3)])
    records = await taken(a)
    await a.settle_refused(
        [Refused(p, line, "400", "no") for p, line in zip(records.positions, records.lines, strict=True)]
    )
    assert a.ledger().dead_lettered == 3
    assert await a.replay_dead_letters([records.positions[1] + 1]) == 1
    ledger = a.ledger()
    assert (ledger.accepted, ledger.dead_lettered, ledger.pending, ledger.balanced) == (3, 2, 1, True)
    assert await take_all(a) == [records.lines[1]]
    assert a.dead_letter_count() == 2
    assert await a.delete_dead_letters() == 2
    assert a.ledger().dead_lettered == 2


async def test_a_backfill_reaches_its_destination_alone(opener: Opener) -> None:
    """Events addressed to one consumer are not seen by another of the same tenant."""
    queue = await opener()
    a, other = await queue.add_consumer("siem_a", "a"), await queue.add_consumer("siem_b", "a")
    await queue.append([Entry(Subject(SubjectKind.BACKFILL, "siem_a"), b'{"id":"old"}', 1)])
    assert await take_all(a) == [b'{"id":"old"}']
    assert await take_all(other) == []
    assert a.ledger().accepted == 1
    assert other.ledger().accepted == 0


async def test_an_ended_intake_takes_no_new_events(opener: Opener) -> None:
    """What was accepted before the end is handed out, what comes later is not this consumer's."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 2)])
    await a.end_intake()
    await queue.append([entry("a", 2, 2)])
    assert len(await take_all(a)) == 2
    assert a.ledger().accepted == 2
    assert a.backlog().pending_events == 0


async def test_a_backfill_behind_the_end_of_the_intake_is_read_from_disk(opener: Opener) -> None:
    """What the tenant went on to write after the end of the intake does not stand before a backfill, once all of it
    has left memory: the flush ends.
    """
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0)])
    await a.end_intake()
    await queue.append([entry("a", 1)])
    await queue.append([Entry(Subject(SubjectKind.BACKFILL, "siem_a"), b'{"id":"old"}', 1)])
    for n in range(40):
        await queue.append([entry("others", n, padding=4000)])
    assert await take_all(a) == [b'{"id":"a-0","p":""}', b'{"id":"old"}']
    assert a.ledger().pending == 0


async def test_a_removed_consumer_leaves_nothing(opener: Opener) -> None:
    """Its cursor, gaps and dead letters are gone, also after a restart."""
    queue = await opener()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry("a", 0, 1)])
    records = await taken(a)
    await a.settle_refused([Refused(records.positions[0], records.lines[0], "400", "no")])
    await queue.remove_consumer("siem_a")
    await opener.close()
    queue = await opener()
    assert queue.consumer_ids() == []
    assert list((opener.root / "dead-letters").iterdir()) == []


async def test_the_journal_begins_anew_when_it_is_full(opener: Opener) -> None:
    """Thousands of checkpoints roll over into new generations and restore exactly."""
    queue = await opener(Queue(checkpoint_s=Seconds(0.001)))
    a = await queue.add_consumer("siem_a", "a")
    for n in range(1200):
        await queue.append([entry("a", n)])
        a.set_memo(b"m" * 4000 + b"%d" % n)
        await take_all(a)
        await queue.checkpoint()
    before = a.ledger()
    await opener.close()
    names = sorted(path.name for path in (opener.root / "cursors").iterdir())
    assert int(names[-1].partition(".")[0]) > 1
    again = (await opener()).consumer("siem_a")
    assert again is not None
    assert again.ledger() == before


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_dead_destination_holds_its_own_tenants_data_and_not_everybodys(opener: Opener) -> None:
    """Segments that only a laggard needs are rewritten to its frames; it still gets every one of them, after a
    restart too.
    """
    queue = await opener()
    await queue.add_consumer("siem_dead", "a")
    others = [await queue.add_consumer(f"siem_{n}", f"t{n}") for n in range(9)]
    for n in range(0, 600, 20):
        await queue.append([entry("a", n, 20, padding=500), *(entry(f"t{k}", n, 20, padding=500) for k in range(9))])
        for other in others:
            await take_all(other)
    tenant_bytes = sum(len(entry("a", n, 1, padding=500).payload) + 1 for n in range(600))
    segment_bytes = 256 << 10
    await _eventually(lambda: queue.status().disk_bytes <= 1.2 * tenant_bytes + 5 * segment_bytes)
    await opener.close()
    dead = (await opener()).consumer("siem_dead")
    assert dead is not None
    assert [line.split(b'"')[3] for line in await take_all(dead)] == [b"a-%d" % n for n in range(600)]
    assert dead.ledger().balanced
    assert await dead.gaps() == []
