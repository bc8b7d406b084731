"""Reading around frames that are in no segment any more."""

from __future__ import annotations

from structlog.testing import capture_logs

from gateway.config import Queue
from gateway.queue import Consumer, Entry, GapReason, Subject, SubjectKind
from gateway.queue.wal import segment
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.queue.wal.repair import repair
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.memory_files import MemoryFiles

SETTINGS = Queue(compression_level=0)
OLD = Subject(SubjectKind.BACKFILL, "siem_a")


def entry(name: str, subject: Subject | None = None) -> Entry:
    return Entry(subject or Subject(SubjectKind.TENANT, name[0]), b'{"id":"%s"}' % name.encode(), 1)


async def opened(files: MemoryFiles) -> tuple[WalQueue, Consumer]:
    queue = await open_queue(files, SETTINGS, clock=ManualClock(), metrics=Metrics())
    return queue, await queue.add_consumer("siem_a", "a")


async def directory() -> tuple[MemoryFiles, list[str]]:
    """Four segments and their names: a1 and two old events, of which only the old ones are settled; a2; b1; a3."""
    files = MemoryFiles()
    for entries in ([entry("a1"), entry("old1", OLD), entry("old2", OLD)], [entry("a2")], [entry("b1")], [entry("a3")]):
        queue, consumer = await opened(files)
        for item in entries:
            await queue.append([item])
        if len(entries) > 1:
            records = await consumer.take(events_max=3, bytes_max=1 << 20)
            assert records is not None
            consumer.settle_delivered(records.positions[1:])
        await queue.close()
    return files, sorted(name for name in files.contents if name.endswith(".seg"))


async def delivered(files: MemoryFiles) -> tuple[list[bytes], list[tuple[GapReason, int]], list[str]]:
    """What comes after a start, and the gaps: reason and count, and what they say."""
    with capture_logs():
        queue, consumer = await opened(files)
        lines: list[bytes] = []
        while (records := await consumer.take(events_max=10, bytes_max=1 << 20)) is not None:
            consumer.settle_delivered(records.positions)
            lines += records.lines
        assert consumer.ledger().balanced
        gaps = await consumer.gaps()
        await queue.close()
    return lines, [(gap.reason, gap.count) for gap in gaps], [gap.detail for gap in gaps]


def lines(*names: str) -> list[bytes]:
    return [entry(name).payload for name in names]


async def test_after_a_repair_that_left_nothing_of_a_segment_the_next_events_come() -> None:
    """What was settled there is known by position alone: it is not taken for the events behind it."""
    files, names = await directory()
    files.truncate(names[0], segment.HEADER_BYTES)
    with capture_logs():
        repair(files)
    assert (await delivered(files))[:2] == (lines("a2", "a3"), [(GapReason.CORRUPT, 1)])


async def test_after_a_repair_that_left_the_beginning_of_a_segment_the_next_events_come() -> None:
    """The same, where one sound frame of the destination is left."""
    files, names = await directory()
    content = files.contents[names[0]]
    files.truncate(names[0], bytes(content).index(b"old1"))
    with capture_logs():
        repair(files)
    assert (await delivered(files))[:2] == (lines("a1", "a2", "a3"), [])


async def test_a_lost_segment_before_one_of_others_is_noticed() -> None:
    """What is missing is not passed over with the segment behind it, in which the destination has nothing."""
    files, names = await directory()
    files.unlink(names[:2])
    found, gaps, _ = await delivered(files)
    assert (found, sum(count for _, count in gaps)) == (lines("a3"), 2)


async def test_each_lane_that_lost_events_names_the_file() -> None:
    """Damage at the end of the log, of which only a checkpoint knows, takes events of the tenant and old ones."""
    files = MemoryFiles()
    queue, _ = await opened(files)
    for item in [entry("a1"), entry("old1", OLD)]:
        await queue.append([item])
    await queue.close()
    (name,) = [name for name in files.contents if name.endswith(".seg")]
    files.truncate(name, segment.HEADER_BYTES)
    _, gaps, details = await delivered(files)
    assert gaps == [(GapReason.CORRUPT, 1), (GapReason.CORRUPT, 1)]
    assert [name in detail for detail in details] == [True, True]
    assert ["tenant a" in details[0], "backfill siem_a" in details[1]] == [True, True]
