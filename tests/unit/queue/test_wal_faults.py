"""The log on a disk that fails, tears and rots."""

from __future__ import annotations

import asyncio
import errno
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from structlog.testing import capture_logs

from gateway.config import Queue
from gateway.errors import LogCorrupt, QueueUnavailable
from gateway.quantity import Bytes
from gateway.queue import Consumer, Entry, GapReason, Refused, Subject, SubjectKind
from gateway.queue.wal import damage
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.inspect import inspect_directory
from gateway.queue.wal.journal import Journal
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Event as LogEvent
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.faulty_files import FaultyFiles

SETTINGS = Queue(disk_budget_bytes=Bytes(64 << 20), segment_bytes=Bytes(1 << 20), compression_level=0)


class Opened:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        self.files = FaultyFiles(root)
        self.queue: WalQueue | None = None

    async def open(self, files: DiskFiles | None = None) -> WalQueue:
        self.queue = await open_queue(files or self.files, SETTINGS, clock=self.clock, metrics=Metrics())
        return self.queue

    async def close(self) -> None:
        if self.queue is not None:
            await self.queue.close()
            self.queue = None

    async def crash(self) -> WalQueue:
        """Go on from a copy of the files as they are: no close, no checkpoint."""
        crashed = self.root.with_name("crashed")
        shutil.copytree(self.root, crashed)
        await self.close()
        self.root = crashed
        return await self.open(DiskFiles(crashed))


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = Opened(tmp_path / "data")
    yield opened
    await opened.close()


def entry(n: int, tenant: str = "a") -> Entry:
    return Entry(Subject(SubjectKind.TENANT, tenant), b'{"id":"%s-%d"}' % (tenant.encode(), n), 1)


async def drained(consumer: Consumer | None) -> list[bytes]:
    assert consumer is not None
    lines: list[bytes] = []
    while (records := await consumer.take(events_max=1000, bytes_max=1 << 20)) is not None:
        consumer.settle_delivered(records.positions)
        lines += records.lines
    return lines


async def refuse(consumer: Consumer, *indexes: int) -> None:
    """Take all that waits and dead-letter some of it."""
    records = await consumer.take(events_max=1000, bytes_max=1 << 20)
    assert records is not None
    for index in indexes:
        await consumer.settle_refused([Refused(records.positions[index], records.lines[index], "400", "no")])


@contextmanager
def held(files: FaultyFiles, operation: str) -> Iterator[threading.Event]:
    """Until the end of the block an operation on the files waits in its thread. The event tells that one does."""
    begun, released = threading.Event(), threading.Event()
    now = getattr(files, operation)

    def slow(*arguments: object) -> object:
        begun.set()
        released.wait()
        return now(*arguments)

    with mock.patch.object(files, operation, slow):
        try:
            yield begun
        finally:
            released.set()


def expected(numbers: range | list[int]) -> list[bytes]:
    return [entry(n).payload for n in numbers]


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_a_batch_that_the_disk_fails_goes_into_a_new_segment(opened: Opened, operation: str) -> None:
    """One failed write or sync costs nothing: the batch is rerouted, and the failed file is never synced again."""
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    await queue.append([entry(0)])
    opened.files.fail(operation, "log/")
    await queue.append([entry(1)])
    await queue.append([entry(2)])
    ((_, failed),) = opened.files.failed
    after = opened.files.synced[-2:]
    assert failed not in after
    assert queue.status().problem == ""
    await opened.close()
    assert await drained((await opened.open(DiskFiles(opened.root))).consumer("siem_a")) == expected(range(3))


async def test_when_no_segment_works_producers_are_told_and_reading_goes_on(opened: Opened) -> None:
    """Without a working segment nothing is acknowledged, the status says why, durable events are delivered, and it
    heals.
    """
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(0)])
    opened.files.fail("sync", "log/", times=3)
    with pytest.raises(QueueUnavailable) as told:
        await queue.append([entry(1)])
    assert told.value.retry_after_s > 0
    assert "disk" in queue.status().problem
    assert await drained(a) == expected([0])
    running = asyncio.create_task(queue.run())
    await opened.clock.run_until(lambda: queue.status().problem == "")
    running.cancel()
    await queue.append([entry(2)])
    assert await drained(a) == expected([2])
    assert a.ledger().balanced


async def test_a_full_disk_is_named(opened: Opened) -> None:
    """ENOSPC while making room for the next segment is answered with what to do, and passes when space is back."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    opened.files.fail("create", "log/", number=errno.ENOSPC, times=2)
    big = Entry(Subject(SubjectKind.TENANT, "a"), b'{"id":"x","p":"' + b"x" * 600_000 + b'"}', 1)
    stored, told = 0, []
    for _ in range(6):
        try:
            await queue.append([big])
            stored += 1
        except QueueUnavailable as error:
            told.append(str(error))
            opened.clock.advance(2)
    assert told
    assert all("full" in text for text in told)
    assert opened.files.failed
    assert stored >= 4
    assert len(await drained(a)) == stored


async def test_a_failed_checkpoint_is_written_again_in_a_new_journal(opened: Opened) -> None:
    """Settlements stay in memory until a journal takes them, and then survive a crash with exact counters."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(4)])
    records = await a.take(events_max=2, bytes_max=1 << 20)
    assert records is not None
    a.settle_delivered(records.positions)
    opened.files.fail("sync", "cursors/")
    with pytest.raises(OSError, match="injected"):
        await queue.checkpoint()
    await a.drop_pending(GapReason.DISABLED)
    await queue.checkpoint()
    before, gaps = a.ledger(), await a.gaps()
    await opened.close()
    again = (await opened.open(DiskFiles(opened.root))).consumer("siem_a")
    assert again is not None
    assert (again.ledger(), await again.gaps()) == (before, gaps)


async def test_an_event_is_dead_lettered_only_when_it_is_stored(opened: Opened) -> None:
    """When the dead letter cannot be written the event stays unsettled and is handed out again."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(0)])
    records = await a.take(events_max=1, bytes_max=100)
    assert records is not None
    refused = [Refused(records.positions[0], records.lines[0], "400", "no")]
    opened.files.fail("sync", "dead-letters/")
    with pytest.raises(OSError, match="injected"):
        await a.settle_refused(refused)
    assert a.ledger().pending == 1
    a.release(records.positions)
    assert await a.take(events_max=1, bytes_max=100) == records
    await a.settle_refused(refused)
    assert a.ledger().dead_lettered == 1
    assert len(await a.dead_letters()) == 1


async def test_what_is_stored_as_a_dead_letter_is_settled_after_a_crash(opened: Opened) -> None:
    """A dead letter whose settlement no checkpoint saw is not handed out again, and the books count it once."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(3)])
    await refuse(a, 0, 2)
    again = (await opened.crash()).consumer("siem_a")
    assert again is not None
    assert again.ledger().dead_lettered == len(await again.dead_letters()) == 2
    assert await drained(again) == expected([1])
    assert (again.ledger().pending, again.ledger().balanced) == (0, True)


async def test_replay_counts_right_when_a_crash_follows(opened: Opened) -> None:
    """The settlement of a dead letter is durable before its replay is: no crash makes a count negative."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(0)])
    await refuse(a, 0)
    await a.replay_dead_letters()
    again = (await opened.crash()).consumer("siem_a")
    assert again is not None
    assert (again.ledger().dead_lettered, again.ledger().pending) == (0, 1)
    assert await drained(again) == expected([0])
    assert again.ledger().balanced


@pytest.mark.parametrize("numbers", [[2], None], ids=["one", "all"])
async def test_a_dead_letter_whose_removal_failed_is_not_taken_for_damaged(
    opened: Opened, numbers: list[int] | None
) -> None:
    """Gone or not at the next start: that was asked for, so there is no gap, and it stays counted."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(2)])
    await refuse(a, 0, 1)
    kept = set() if numbers is None else {"a-0"}
    unlink, rename = opened.files.unlink, opened.files.rename

    def late(change: Callable[..., None], *arguments: object) -> None:
        change(*arguments)
        if "dead-letters/siem_a.log'" in str(arguments):
            raise OSError(errno.EIO, "injected fault behind the change")

    with (
        mock.patch.object(opened.files, "unlink", partial(late, unlink)),
        mock.patch.object(opened.files, "rename", partial(late, rename)),
        pytest.raises(OSError, match="injected"),
    ):
        await a.delete_dead_letters(numbers)
    await queue.checkpoint()
    again = (await opened.crash()).consumer("siem_a")
    assert again is not None
    assert {letter.event_id for letter in await again.dead_letters()} == kept
    assert (again.ledger().dead_lettered, again.ledger().dropped, await again.gaps()) == (2, 0, [])


async def test_a_replay_is_over_when_its_events_are_in_the_log(opened: Opened) -> None:
    """A disk that fails to write the file anew brings none of its letters back, by another replay or by a crash."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(3)])
    await refuse(a, 0, 1, 2)
    opened.files.fail("rename", "dead-letters/", times=2)
    assert await a.replay_dead_letters([1, 2]) == 2
    assert await a.replay_dead_letters([1, 2]) == 0
    again: Consumer | None = a
    for _ in range(2):
        assert again is not None
        assert [letter.event_id for letter in await again.dead_letters()] == ["a-2"]
        ledger = again.ledger()
        assert (ledger.accepted, ledger.dead_lettered, ledger.pending, ledger.balanced) == (3, 1, 2, True)
        again = (await opened.crash()).consumer("siem_a") if again is a else again
    assert opened.files.failed
    assert await drained(again) == expected([0, 1])


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_replay_whose_commit_failed_is_whole_or_not_there(opened: Opened, times: int) -> None:
    """A crash may bring its events back, or not: each is replayed or a dead letter, and none is taken for damaged."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(3)])
    await refuse(a, 0, 1, 2)
    opened.files.fail("sync", "log/", times=times)
    with suppress(QueueUnavailable):
        await a.replay_dead_letters([1, 2])
    await queue.checkpoint()
    again = (await opened.crash()).consumer("siem_a")
    assert again is not None
    letters = {letter.event_id for letter in await again.dead_letters()}
    ledger = again.ledger()
    assert (ledger.accepted, ledger.dropped, ledger.balanced) == (3, 0, True)
    assert ledger.dead_lettered == len(letters)
    assert {line[7:10].decode() for line in await drained(again)} | letters == {"a-0", "a-1", "a-2"}
    assert await again.gaps() == []


async def test_a_deletion_that_is_cut_off_is_no_damage(opened: Opened) -> None:
    """A stop in the midst of it waits for its end."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(3)])
    await refuse(a, 0, 1, 2)
    with held(opened.files, "rename") as begun:
        deleting = asyncio.create_task(a.delete_dead_letters([1]))
        await asyncio.to_thread(begun.wait)
        deleting.cancel()
        await asyncio.sleep(0)
        deleting.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await deleting
    await opened.close()
    again = (await opened.open(DiskFiles(opened.root))).consumer("siem_a")
    assert again is not None
    assert [letter.event_id for letter in await again.dead_letters()] == ["a-1", "a-2"]
    assert (again.ledger().dead_lettered, again.ledger().dropped, await again.gaps()) == (3, 0, [])


async def test_a_refusal_that_is_cut_off_is_settled_when_it_is_stored(opened: Opened) -> None:
    """Whoever gave it up must not have the event sent again beside its dead letter."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(0)])
    records = await a.take(events_max=1, bytes_max=100)
    assert records is not None
    with held(opened.files, "rename") as begun:
        refusing = asyncio.create_task(a.settle_refused([Refused(records.positions[0], records.lines[0], "400", "no")]))
        await asyncio.to_thread(begun.wait)
        refusing.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await refusing
    a.release(records.positions)
    assert await drained(a) == []
    assert (a.dead_letter_count(), a.ledger().dead_lettered, a.ledger().balanced) == (1, 1, True)


async def test_a_removed_consumer_stays_away(opened: Opened) -> None:
    """What was under way for it when it was removed brings no checkpoint of it back."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(2)])
    await refuse(a, 0, 1)
    with held(opened.files, "rename") as begun:
        deleting = asyncio.create_task(a.delete_dead_letters([1]))
        await asyncio.to_thread(begun.wait)
        removing = asyncio.create_task(queue.remove_consumer("siem_a"))
        await asyncio.sleep(0)
    await asyncio.wait([deleting, removing])
    await queue.checkpoint()
    assert (await opened.crash()).consumer_ids() == []


@pytest.mark.parametrize("operation", [("sync", "cursors/"), ("unlink", "dead-letters/")])
async def test_what_the_disk_keeps_of_a_removed_consumer_goes_later(opened: Opened, operation: tuple[str, str]) -> None:
    """Its dead letters are events of a tenant who was told that they are gone."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_1", "a")
    await queue.append([entry(n) for n in range(2)])
    await refuse(a, 0)
    letters = opened.root / "dead-letters" / "siem_1.log"
    opened.files.fail(*operation, times=2)
    with pytest.raises(OSError, match="injected"):
        await queue.remove_consumer("siem_1")
    assert letters.exists()
    opened.files.mend()
    running = asyncio.create_task(queue.run())
    await opened.clock.run_until(lambda: not letters.exists())
    running.cancel()
    assert not letters.exists()
    assert queue.consumer("siem_1") is None


async def test_who_removes_it_again_waits_until_it_is_gone(opened: Opened) -> None:
    """The disk failed the first, and what is told of as gone may not come back with a crash."""
    queue = await opened.open()
    await queue.add_consumer("siem_1", "a")
    opened.files.fail("write", "cursors/")
    with pytest.raises(OSError, match="injected"):
        await queue.remove_consumer("siem_1")
    await queue.remove_consumer("siem_1")
    assert (await opened.crash()).consumer_ids() == []


async def test_a_consumer_may_go_while_the_journal_begins_anew(opened: Opened) -> None:
    """The checkpoint under way ends well, and the next one is without it."""
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    b = await queue.add_consumer("siem_b", "b")
    with mock.patch.object(Journal, "fits", return_value=False), held(opened.files, "rename") as begun:
        b.set_memo(b"changed")
        checkpoint = asyncio.create_task(queue.checkpoint())
        await asyncio.to_thread(begun.wait)
        removing = asyncio.create_task(queue.remove_consumer("siem_a"))
        await asyncio.sleep(0)
    await checkpoint
    await removing
    assert (await opened.crash()).consumer_ids() == ["siem_b"]


async def test_a_replay_that_the_log_did_not_take_leaves_its_letters(opened: Opened) -> None:
    """And while it is not known whether a crash would bring its events back, no other one begins."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(2)])
    await refuse(a, 0, 1)
    opened.files.fail("sync", "log/", times=3)
    with pytest.raises(QueueUnavailable):
        await a.replay_dead_letters([1])
    opened.clock.advance(60)
    with pytest.raises(QueueUnavailable):
        await a.replay_dead_letters([2])
    opened.files.mend()
    await queue._commits.heal_if_due()
    assert await a.replay_dead_letters([2]) == 1
    again = (await opened.crash()).consumer("siem_a")
    assert again is not None
    assert [letter.event_id for letter in await again.dead_letters()] == ["a-0"]
    assert await drained(again) == expected([1])
    ledger = again.ledger()
    assert (ledger.accepted, ledger.dead_lettered, ledger.delivered, ledger.balanced) == (2, 1, 1, True)


async def test_a_cancelled_replay_is_known_to_have_come_into_the_log(opened: Opened) -> None:
    """Who no longer waits for it gets no second one by asking again."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(0)])
    await refuse(a, 0)
    append, begun = queue.append, asyncio.Event()

    async def slow(entries: Sequence[Entry]) -> None:
        begun.set()
        await asyncio.sleep(0)
        await append(entries)

    with mock.patch.object(queue, "append", slow):
        replay = asyncio.create_task(a.replay_dead_letters())
        await begun.wait()
        replay.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replay
    assert await a.replay_dead_letters() == 0
    assert await drained(a) == expected([0])


async def test_many_dead_letters_are_replayed_in_order(opened: Opened) -> None:
    """However many frames they take, in all of which they are counted once after a crash."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(700)])
    records = await a.take(events_max=1000, bytes_max=1 << 20)
    assert records is not None
    await a.settle_refused(
        [Refused(p, line, "400", "no") for p, line in zip(records.positions, records.lines, strict=True)]
    )
    assert await a.replay_dead_letters() == 700
    again = (await opened.crash()).consumer("siem_a")
    assert again is not None
    assert (again.ledger().dead_lettered, again.ledger().pending, again.dead_letter_count()) == (0, 700, 0)
    assert await drained(again) == expected(range(700))


async def test_a_torn_tail_is_cut_and_everything_acknowledged_is_there(opened: Opened) -> None:
    """Half a frame at the end of the last segment, as a crash leaves it, costs nothing and is not taken for damage."""
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    for n in range(5):
        await queue.append([entry(n)])
    await opened.close()
    segment = newest_segment(opened.root)
    (report,) = [s for s in inspect_directory(opened.root).segments if s.events]
    content = bytearray(segment.read_bytes())
    content[report.end_bytes : report.end_bytes + 40] = content[4096 : 4096 + 40]
    segment.write_bytes(content)
    again = (await opened.open(DiskFiles(opened.root))).consumer("siem_a")
    assert await drained(again) == expected(range(5))
    assert again is not None
    assert await again.gaps() == []


@pytest.mark.parametrize("where", ["header", "body"])
async def test_a_rotten_frame_is_lost_alone_and_booked(opened: Opened, where: str) -> None:
    """One flipped bit in the middle costs that frame's events, which stand in a gap; all others are delivered."""
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    await queue.add_consumer("siem_all", "*")
    for n in range(9):
        await queue.append([entry(n)])
    await opened.close()
    segment = newest_segment(opened.root)
    content = bytearray(segment.read_bytes())
    at = content.index(b"a-4")
    content[at if where == "body" else at - 40] ^= 0x10
    segment.write_bytes(content)
    damage = inspect_directory(opened.root).damage
    assert [d.file for d in damage] == [f"log/{segment.name}"]
    assert damage[0].at_byte <= at < damage[0].at_byte + damage[0].length_bytes
    queue = await opened.open(DiskFiles(opened.root))
    for name in ("siem_a", "siem_all"):
        consumer = queue.consumer(name)
        assert consumer is not None
        assert await drained(consumer) == expected([0, 1, 2, 3, 5, 6, 7, 8])
        (gap,) = await consumer.gaps()
        assert (gap.reason, gap.count) == (GapReason.CORRUPT, 1)
        assert consumer.ledger().balanced
        assert consumer.ledger().accepted == 9


async def test_damage_at_the_end_that_a_checkpoint_knows_of_is_no_torn_tail(opened: Opened) -> None:
    """The checkpoint says how far the log was durable, so that a rotten last frame is booked and not cut silently."""
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    for n in range(3):
        await queue.append([entry(n)])
    await opened.close()
    segment = newest_segment(opened.root)
    content = bytearray(segment.read_bytes())
    content[content.index(b"a-2")] ^= 1
    segment.write_bytes(content)
    queue = await opened.open(DiskFiles(opened.root))
    a = queue.consumer("siem_a")
    assert a is not None
    assert await drained(a) == expected([0, 1])
    assert [gap.reason for gap in await a.gaps()] == [GapReason.CORRUPT]
    assert a.ledger().balanced
    await queue.append([entry(3)])
    assert await drained(a) == expected([3])


async def test_a_lost_index_is_made_anew(opened: Opened) -> None:
    """Without, or with a damaged, index a sealed segment is scanned and everything is found."""
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    for n in range(3):
        await queue.append([entry(n)])
        await opened.close()
        queue = await opened.open(DiskFiles(opened.root))
    await opened.close()
    indexes = sorted((opened.root / "log").glob("*.idx"))
    indexes[0].unlink()
    indexes[1].write_bytes(b"rubbish")
    assert await drained((await opened.open(DiskFiles(opened.root))).consumer("siem_a")) == expected(range(3))


async def test_with_both_journals_gone_consumers_are_new_and_dead_letters_are_kept(opened: Opened) -> None:
    """A consumer that no journal knows starts at the end of the log; what it had dead-lettered stays, set aside."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(0)])
    await refuse(a, 0)
    await opened.close()
    letters = (opened.root / "dead-letters" / "siem_a.log").read_bytes()
    for journal in (opened.root / "cursors").iterdir():
        journal.write_bytes(b"\0" * 10_000)
    for _ in range(2):
        queue = await opened.open(DiskFiles(opened.root))
        assert [path.read_bytes() for path in (opened.root / "dead-letters").iterdir()] == [letters]
        a = await queue.add_consumer("siem_a", "a")
        await queue.append([entry(1)])
        assert await drained(a) == expected([1])
        assert await a.dead_letters() == []
        await opened.close()


async def test_a_directory_of_another_format_is_refused(opened: Opened) -> None:
    """A newer format is not touched; the message says what to do."""
    await opened.open()
    await opened.close()
    (opened.root / "META").write_text('{"log_id":"00112233445566778899aabbccddeeff","format":99}')
    with pytest.raises(LogCorrupt, match="use a newer gateway"):
        await opened.open(DiskFiles(opened.root))


def newest_segment(root: Path) -> Path:
    return max((root / "log").glob("*.seg"), key=lambda path: path.stat().st_size and b"a-0" in path.read_bytes())


@pytest.mark.parametrize("action", ["replay", "delete"])
async def test_a_dead_letter_that_rots_while_the_gateway_runs_is_a_gap(opened: Opened, action: str) -> None:
    """Replaying or deleting others rewrites the file: what can no longer be read is dropped, and not forgotten."""
    queue = await opened.open()
    a = await queue.add_consumer("siem_a", "a")
    await queue.append([entry(n) for n in range(3)])
    await refuse(a, 0, 1, 2)
    path = opened.root / "dead-letters" / "siem_a.log"
    content = bytearray(path.read_bytes())
    content[content.index(b"a-1")] ^= 1
    path.write_bytes(content)
    if action == "replay":
        assert await a.replay_dead_letters() == 2
        assert await drained(a) == expected([0, 2])
        assert (a.ledger().delivered, a.ledger().dropped, a.ledger().dead_lettered) == (2, 1, 0)
    else:
        assert await a.delete_dead_letters([1]) == 1
        assert [letter.event_id for letter in await a.dead_letters()] == ["a-2"]
        assert (a.ledger().dropped, a.ledger().dead_lettered) == (1, 2)
    assert [(gap.reason, gap.count) for gap in await a.gaps()] == [(GapReason.CORRUPT, 1)]
    assert a.ledger().balanced


@pytest.mark.parametrize("operation", ["open", "read"])
async def test_what_cannot_be_read_can_be_given_up(opened: Opened, operation: str) -> None:
    """A place that the disk refuses to read, or a segment that is gone, stops neither the queue nor the dropping."""
    queue = await opened.open()
    await queue.add_consumer("siem_1", "a")
    await queue.append([entry(n) for n in range(10)])
    await opened.close()
    queue = await opened.open()
    again = queue.consumer("siem_1")
    assert again is not None
    opened.files.fail(operation, "log/", times=1000)
    assert await again.drop_pending(GapReason.DISK_BUDGET, "the budget") == 10
    (gap,) = await again.gaps()
    assert (gap.reason, gap.count, gap.first_id, gap.last_id) == (GapReason.DISK_BUDGET, 10, None, None)
    assert gap.detail == "the budget; these events could not be read: injected fault"
    assert again.ledger().balanced
    opened.files.mend()
    await queue.append([entry(10)])
    assert await drained(again) == expected([10])


async def test_damage_met_by_compaction_is_kept(opened: Opened) -> None:
    """The segment goes when it is rewritten; a copy of its damaged bytes stays, and the destination books the gap."""
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    for n in range(4):
        await queue.append([entry(n), Entry(Subject(SubjectKind.TENANT, "b"), b'{"p":"' + b"x" * 2000 + b'"}', 1)])
    for n in range(3):
        await opened.close()
        queue = await opened.open(DiskFiles(opened.root))
        await queue.append([entry(n, "b")])
    segment = newest_segment(opened.root)
    content = bytearray(segment.read_bytes())
    content[content.index(b"a-2")] ^= 1
    segment.write_bytes(content)
    while await queue.space.compact():
        pass
    assert not segment.exists()
    assert any(b"-2" in piece.read_bytes() for piece in kept(opened.root))
    a = queue.consumer("siem_a")
    assert a is not None
    assert await drained(a) == expected([0, 1, 3])
    assert [(gap.reason, gap.count) for gap in await a.gaps()] == [(GapReason.CORRUPT, 1)]


async def test_the_damaged_folder_is_bounded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there stays; what no longer fits is named on the log alone."""
    monkeypatch.setattr(damage, "PIECES_MAX", 2)
    queue = await opened.open()
    await queue.add_consumer("siem_a", "a")
    for n in range(9):
        await queue.append([entry(n)])
    await opened.close()
    segment = newest_segment(opened.root)
    content = bytearray(segment.read_bytes())
    for n in (1, 3, 5, 7):
        content[content.index(b"a-%d" % n)] ^= 1
    segment.write_bytes(content)
    with capture_logs() as logs:
        queue = await opened.open(DiskFiles(opened.root))
    assert len(kept(opened.root)) == 2
    said = [line["kept"] for line in logs if line["event"] == LogEvent.LOG_CORRUPT]
    assert [text.startswith("not kept: damaged/ is full") for text in said] == [False, False, True, True]
    assert await drained(queue.consumer("siem_a")) == expected([0, 2, 4, 6, 8])


def kept(root: Path) -> list[Path]:
    return sorted((root / "damaged").iterdir())
