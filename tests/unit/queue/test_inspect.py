"""A look at the directory of a queue that is at work, or that nothing may be written to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import Consumer, Entry, Refused, Subject, SubjectKind
from gateway.queue.wal.files import DiskFiles, File
from gateway.queue.wal.inspect import Inspection, Inspector
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics

SETTINGS = Queue(
    disk_budget_bytes=Bytes(64 << 20), segment_bytes=Bytes(1 << 20), tail_bytes=Bytes(64 << 10), compression_level=0
)
EVENTS = 40  # of 64 KiB: three segments


class Interrupted(DiskFiles):
    """Before a folder's names are read, or right after, for the nth time, something else happens."""

    def __init__(self, root: Path, moment: tuple[str, str, int], happens: Callable[[], object]) -> None:
        super().__init__(root)
        self._moment, self._happens = moment, happens
        self._looks: dict[str, int] = {}

    def names(self, folder: str) -> list[str]:
        self._looks[folder] = self._looks.get(folder, 0) + 1
        self._reach("before", folder)
        names = super().names(folder)
        self._reach("after", folder)
        return names

    def _reach(self, when: str, folder: str) -> None:
        if (when, folder, self._looks[folder]) == self._moment:
            self._happens()


class House:
    """A queue with one destination, for which ``EVENTS`` wait."""

    def __init__(self, root: Path, queue: WalQueue, consumer: Consumer) -> None:
        self.root, self.queue, self.consumer = root, queue, consumer

    async def append(self, count: int) -> None:
        for _ in range(count):
            await self.queue.append([Entry(Subject(SubjectKind.TENANT, "a"), b'{"id":"%s"}' % (b"x" * (64 << 10)), 1)])

    async def take(self, count: int = 1) -> list[int]:
        positions: list[int] = []
        while len(positions) < count and (records := await self.consumer.take(events_max=1, bytes_max=1 << 20)):
            positions += records.positions
        return positions

    async def refuse(self) -> None:
        records = await self.consumer.take(events_max=1, bytes_max=1 << 20)
        assert records is not None
        await self.consumer.settle_refused([Refused(records.positions[0], records.lines[0], "400", "no")])
        await self.consumer.checkpoint()

    async def deliver_all(self) -> None:
        self.consumer.settle_delivered(await self.take(EVENTS))
        await self.consumer.checkpoint()
        await self.queue.space.retain()

    async def inspected(
        self, when: str, folder: str, look: int, happens: Callable[[], Awaitable[object]]
    ) -> Inspection:
        loop = asyncio.get_running_loop()

        async def awaited() -> None:
            await happens()

        files = Interrupted(
            self.root,
            (when, folder, look),
            lambda: asyncio.run_coroutine_threadsafe(awaited(), loop).result(),
        )
        return await asyncio.to_thread(Inspector(files).run)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    queue = await open_queue(DiskFiles(tmp_path), SETTINGS, clock=SystemClock(), metrics=Metrics())
    house = House(tmp_path, queue, await queue.add_consumer("siem_1", "a"))
    await house.append(EVENTS)
    yield house
    await queue.close()


async def test_segments_that_go_meanwhile_are_no_damage(house: House) -> None:
    """Their names were read, and then nobody needed them any more."""
    found = await house.inspected("after", "log", 1, house.deliver_all)
    assert found.damage == []
    assert [books.balanced for books in found.consumers] == [True]
    assert len(found.segments) < 3


async def test_a_segment_that_is_rewritten_meanwhile_is_counted_in_its_new_place(house: House) -> None:
    """What is still needed of it is in another file under another name."""

    async def rewritten() -> None:
        house.consumer.settle_delivered(await house.take(2))
        await house.consumer.checkpoint()
        assert await house.queue.space.compact()

    found = await house.inspected("after", "log", 1, rewritten)
    assert found.damage == []
    assert sum(segment.events for segment in found.segments) == EVENTS - 2
    assert [(books.pending, books.unreadable) for books in found.consumers] == [(EVENTS - 2, 0)]


async def test_journals_that_begin_anew_meanwhile_are_read_again(house: House) -> None:
    """The oldest is removed between the look at the names and the reading."""

    async def roll_over() -> None:
        for memo in (b"1", b"2"):
            house.queue._journal = None  # what a full one comes to
            house.queue._generation += 1
            house.consumer.set_memo(memo)
            await house.consumer.checkpoint()

    for look in (1, 2):
        found = await house.inspected("after", "cursors", look, roll_over)
        assert found.damage == []
        assert [books.pending for books in found.consumers] == [EVENTS]


async def test_what_is_settled_behind_what_was_counted_balances(house: House) -> None:
    """Events came after the segments were read, and were delivered out of order."""

    async def go_on() -> None:
        await house.append(2)
        positions = await house.take(EVENTS + 2)
        house.consumer.settle_delivered([*positions[: EVENTS - 1], positions[-1]])
        await house.consumer.checkpoint()

    found = await house.inspected("before", "cursors", 2, go_on)
    assert found.damage == []
    assert [(books.pending, books.imbalance, books.unreadable) for books in found.consumers] == [(2, 0, 0)]


async def test_dead_letters_that_go_meanwhile_are_no_damage(house: House) -> None:
    """The checkpoint that counts on them was read before."""
    await house.refuse()
    found = await house.inspected("before", "dead-letters", 1, house.consumer.delete_dead_letters)
    assert found.damage == []


async def test_nothing_is_opened_for_writing(house: House) -> None:
    """A copy or a snapshot may be mounted read-only."""

    class ReadOnly(DiskFiles):
        def open(self, name: str, *, writable: bool = False) -> File:
            assert not writable, name
            return super().open(name)

    await house.refuse()
    assert (await asyncio.to_thread(Inspector(ReadOnly(house.root)).run)).damage == []
