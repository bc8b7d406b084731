"""Appends by callback: what many small requests use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.errors import QueueUnavailable
from gateway.quantity import Bytes
from gateway.queue import Entry, Subject, SubjectKind
from gateway.queue.wal.commit import FEW_EVENTS
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics
from tests.faulty_files import FaultyFiles


class Opened:
    def __init__(self, files: FaultyFiles, queue: WalQueue) -> None:
        self.files, self.queue = files, queue
        self.done: list[tuple[int, BaseException | None]] = []

    def submit(self, number: int, size_bytes: int = 10) -> bool:
        line = b'{"id":"%d","x":"%b"}' % (number, b"x" * size_bytes)
        entry = Entry(Subject(SubjectKind.TENANT, "a"), line, 1)
        return self.queue.submit([entry], lambda error: self.done.append((number, error)))

    async def until_done(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.done) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    files = await asyncio.to_thread(FaultyFiles, tmp_path / "data")
    settings = Queue(segment_bytes=Bytes(1 << 20), pending_bytes_max=Bytes(64 << 10), compression_level=0)
    queue = await open_queue(files, settings, clock=SystemClock(), metrics=Metrics())
    yield Opened(files, queue)
    await queue.close()


async def test_all_of_one_turn_share_one_sync(opened: Opened) -> None:
    """They are told in their order, once, behind the sync."""
    synced = len(opened.files.synced)
    for number in range(50):
        assert opened.submit(number)
    assert opened.done == []
    await opened.until_done(50)
    assert opened.done == [(number, None) for number in range(50)]
    assert len(opened.files.synced) == synced + 1
    assert opened.queue.status().events_total == 50


@pytest.mark.parametrize(("before", "syncs"), [(FEW_EVENTS - 1, 2), (FEW_EVENTS, 1)])
async def test_small_ones_that_come_fast_share_a_sync_though_they_come_in_several_turns(
    opened: Opened, before: int, syncs: int
) -> None:
    """After a commit of many events the next waits for as long as each turn brings more; after one of few it goes."""
    for number in range(before):
        assert opened.submit(number)
    await opened.until_done(before)
    synced = len(opened.files.synced)
    for number in range(5):
        assert opened.submit(number)
        await asyncio.sleep(0)
    await opened.until_done(before + 5)
    assert len(opened.files.synced) == synced + syncs


async def test_what_keeps_coming_is_not_waited_for_without_end(opened: Opened) -> None:
    """After some turns the commit begins, and when there is enough for it."""
    for number in range(FEW_EVENTS):
        assert opened.submit(number)
    await opened.until_done(FEW_EVENTS)
    for number in range(10_000):
        assert opened.submit(number)
        await asyncio.sleep(0)
        if len(opened.done) > FEW_EVENTS:
            return
    raise AssertionError("nothing was stored")


async def test_too_much_at_once_is_for_append(opened: Opened) -> None:
    """Beyond ``queue.pending_max`` nothing more is taken until some of it is stored; one alone always is."""
    assert opened.submit(0, 60 << 10)
    assert not opened.submit(1, 10 << 10)
    await opened.until_done(1)
    assert opened.submit(2, 100 << 10)
    await opened.until_done(2)
    assert opened.done == [(0, None), (2, None)]


async def test_a_small_one_does_not_go_past_a_large_one_that_waits_for_room(opened: Opened) -> None:
    """The pieces of one request, and those of one tenant, are stored in the order in which they were handed over."""
    stored: list[int] = []

    async def append(number: int, size_bytes: int) -> None:
        line = b'{"id":"%d","x":"%b"}' % (number, b"x" * size_bytes)
        await opened.queue.append([Entry(Subject(SubjectKind.TENANT, "a"), line, 1)])
        stored.append(number)

    assert opened.submit(0, 60 << 10)
    async with asyncio.TaskGroup() as group:
        for number, size_bytes in enumerate((40 << 10, 1 << 10, 50 << 10, 1 << 10), 1):
            group.create_task(append(number, size_bytes))
        await asyncio.sleep(0)
        assert not opened.submit(5, 10)
        while len(stored) < 2:
            await asyncio.sleep(0)
            if len(stored) < 4:
                assert not opened.submit(5, 60 << 10)
    assert stored == [1, 2, 3, 4]
    assert opened.submit(5, 10)
    await opened.until_done(2)


async def test_what_the_disk_fails_is_told(opened: Opened) -> None:
    """As ``append`` would have raised it; from then on it is raised at once."""
    for operation in ("write", "create"):
        opened.files.fail(operation, "log/", times=1_000)
    assert opened.submit(0)
    await opened.until_done(1)
    assert isinstance(opened.done[0][1], QueueUnavailable)
    with pytest.raises(QueueUnavailable):
        opened.submit(1)
    opened.files.mend()


async def test_after_the_stop_it_refuses_and_tells_those_before(opened: Opened) -> None:
    """What was taken in the same turn as the stop is still stored."""
    assert opened.submit(0)
    opened.queue.refuse_appends()
    with pytest.raises(QueueUnavailable):
        opened.submit(1)
    await opened.until_done(1)
    assert opened.done == [(0, None)]


async def test_one_that_fails_on_the_news_keeps_it_from_nobody(opened: Opened) -> None:
    """An exception in one callback is reported to the loop, and the others are told."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def broken(_: BaseException | None) -> None:
        raise ValueError("a bug")

    assert opened.queue.submit([Entry(Subject(SubjectKind.TENANT, "a"), b"{}", 1)], broken)
    assert opened.submit(1)
    await opened.until_done(1)
    assert opened.done == [(1, None)]
    assert [str(context["exception"]) for context in reported] == ["a bug"]
