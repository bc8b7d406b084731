"""One consumer's dead letters: stored, shown, deleted, and put into the queue again. One operation at a time.

A letter leaves in one of two ways, and what a crash does at each step decides their order:

- *Deleted*: a checkpoint knows that its event is settled, and no longer counts on the letter; then it is forgotten. A
  crash in between leaves the letter as it was.
- *Replayed*: the same checkpoint; then its number and its place in the lane of replays are written down beside it; then
  its event goes into the log. Each start compares the two: what the lane has is a dead letter no more, the rest still
  is. So a crash, a kill or a failing disk never leaves an event in both books or in none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import structlog

from gateway.queue import DeadLetter, Entry, Subject
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.telemetry import Event

REPLAY_CHUNK = 500
REPLAY_BYTES = 4 << 20  # of a chunk, one event however large

T = TypeVar("T")


class LetterLog(Protocol):
    """What dead letters need of the log."""

    async def in_thread(self, function: Callable[[], T]) -> T: ...

    def end_sequence(self, subject: Subject) -> int: ...

    async def append(self, entries: Sequence[Entry]) -> None: ...

    def check_commits(self) -> None:
        """Raise QueueUnavailable when the last commit failed: until the next one, a crash may bring its events back."""

    async def checkpoint(self) -> None:
        """Return once the present state of all consumers is durable."""


class Letters:
    """``book_lost`` is told how many letters could not be read any more, ``mark_changed`` that the state to checkpoint
    is another one.
    """

    def __init__(
        self,
        log: LetterLog,
        file: DeadLetterFile,
        replays: Subject,
        *,
        book_lost: Callable[[int], None],
        mark_changed: Callable[[], None],
    ) -> None:
        self._log, self._file, self._replays = log, file, replays
        self._book_lost, self._mark_changed = book_lost, mark_changed
        self._lock = asyncio.Lock()
        self._leaving = 0

    def __len__(self) -> int:
        return len(self._file)

    @property
    def lasting(self) -> int:
        """How many a checkpoint may count on: those about to leave may be gone at the next start."""
        return max(0, len(self._file) - self._file.doubtful - self._leaving)

    @property
    def replayed(self) -> Sequence[tuple[int, int]]:
        """The numbers, in runs, of those in the file that are none any more."""
        return self._file.replayed

    @property
    def disk_bytes(self) -> int:
        return self._file.disk_bytes

    async def add(self, letters: Sequence[DeadLetter], settle: Callable[[], None]) -> None:
        """Store them durably, and then ``settle`` their events at once, also when this is cancelled meanwhile."""

        async def add() -> None:
            await self._change(lambda: self._file.add(letters))
            settle()

        async with self._lock:
            await _to_its_end(add())

    async def page(self, *, after: int, limit: int) -> list[DeadLetter]:
        async with self._lock:
            return await self._log.in_thread(lambda: self._file.page(after=after, limit=limit))

    async def delete(self, numbers: Sequence[int] | None) -> int:
        """As ``Consumer.delete_dead_letters``."""
        async with self._lock:
            chosen = self._chosen(numbers)
            async with self._departure(len(chosen)):
                return await self._change(lambda: self._file.forget(chosen))

    async def replay(self, numbers: Sequence[int] | None) -> int:
        """As ``Consumer.replay_dead_letters``."""
        replayed = 0
        async with self._lock:
            chosen, at = self._chosen(numbers), 0
            try:
                while at < len(chosen):
                    letters, looked_at = await self._change(partial(self._read, chosen[at : at + REPLAY_CHUNK]))
                    if letters:
                        await self._replay(letters)
                    replayed += len(letters)
                    at += looked_at
            finally:
                if self._file.is_mostly_gone:
                    await self._tidy()
        return replayed

    def remove(self) -> None:
        """Blocks."""
        self._file.remove()

    def close(self) -> None:
        self._file.close()

    def _chosen(self, numbers: Sequence[int] | None) -> list[int]:
        known = self._file.all_numbers()
        if numbers is None:
            return known
        wanted = set(numbers)
        return [number for number in known if number in wanted]

    def _read(self, numbers: Sequence[int]) -> tuple[list[DeadLetter], int]:
        return self._file.read(numbers, bytes_max=REPLAY_BYTES)

    async def _change(self, change: Callable[[], T]) -> T:
        """Letters that turn out to be unreadable on the way are booked."""
        lost_before = self._file.lost
        try:
            return await _to_its_end(self._log.in_thread(change))
        finally:
            if self._file.lost > lost_before:
                self._book_lost(self._file.lost - lost_before)

    @contextlib.asynccontextmanager
    async def _departure(self, leaving: int) -> AsyncIterator[None]:
        """A checkpoint knows the settlement of letters that are about to leave, and no longer counts on them.

        Without it a crash would take back the settlement: nothing would tell of them, or they would be there twice.
        """
        self._leaving = leaving
        self._mark_changed()
        try:
            await self._log.checkpoint()
            yield
        finally:
            self._leaving = 0
            self._mark_changed()

    async def _replay(self, letters: Sequence[DeadLetter]) -> None:
        async with self._departure(len(letters)):
            self._log.check_commits()
            await _to_its_end(self._put_back(letters))

    async def _put_back(self, letters: Sequence[DeadLetter]) -> None:
        numbers, begin = [letter.number for letter in letters], self._log.end_sequence(self._replays)
        payload = b"\n".join([letter.line for letter in letters])
        await self._change(lambda: self._file.begin_replay(numbers, begin))
        await self._log.append([Entry(self._replays, payload, len(letters))])
        self._file.end_replay()

    async def _tidy(self) -> None:
        """Free what replayed letters take on disk. They are gone without it, so a disk that fails is only told of."""
        try:
            await self._change(self._file.mend)
        except OSError as error:
            structlog.get_logger().error(Event.LOG_REMOVAL_FAILED, error=str(error), files=[self._file.name])


async def _to_its_end(work: Awaitable[T]) -> T:
    """Wait for it though this task is cancelled meanwhile, which is then raised: what is half done to a file, or on its
    way into the log, would else go on beside whatever comes next.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # nobody else will ask
        raise cancelled
    return task.result()
