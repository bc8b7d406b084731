"""The group commit: appends that wait while one is being written go into the next one together, and share its sync.

One commit is in flight at a time, in a thread of its own. It begins at the end of the turn of the loop in which the
first append came, so that all of that turn share it; where small appends come fast, at the first turn in which none
came, so that the commits are fewer. What the disk fails is answered with a time to come back;
whether it takes writes again is tried once a second, also when no producer comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import structlog

from gateway.clock import Clock
from gateway.errors import QueueFull, QueueUnavailable
from gateway.queue import Entry
from gateway.queue.wal.writer import Committed, Writer, is_full
from gateway.telemetry import Event, Metrics

COMMIT_BYTES_MAX = 8 << 20
RETRY_AFTER_S = 5.0
ASK_AHEAD_BYTES = 1 << 20  # how much room for small appends is asked for at a time
HEAL_INTERVAL_S = 1.0
FEW_EVENTS = 8  # after a commit of fewer the next waits for no more
GATHERED_BYTES_MAX = 64 << 10  # what is enough for a commit of its own
GATHERING_TURNS_MAX = 12


class _Append(msgspec.Struct, frozen=True, gc=False):
    entries: Sequence[Entry]
    size_bytes: int
    done: Callable[[BaseException | None], None]


class GroupCommit:
    """Belongs to the event loop. ``on_committed`` is called there with each durable batch, before its appenders go on.

    ``refuse_if_full`` is asked with the bytes that wait and are to be added; it raises QueueFull.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        pending_bytes_max: int,
        refuse_if_full: Callable[[int], None],
        on_committed: Callable[[Committed], None],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._writer = writer
        self._pending_bytes_max = pending_bytes_max
        self._refuse_if_full = refuse_if_full
        self._on_committed = on_committed
        self._clock, self._metrics = clock, metrics
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "log-commit")
        self._pending: deque[_Append] = deque()
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self._turns = asyncio.Lock()  # of those that wait for room, one after another
        self._waiting = 0  # how many do
        self._granted_bytes = 0  # pending bytes that there is room for, as far as was asked since the last commit
        self._busy = False
        self._beginning = False
        self._last_events = 0  # of the commit before
        self._idle = asyncio.Event()
        self._idle.set()
        self._refusing = False
        self._retry_at_s = 0.0
        self.problem = ""
        if writer.full is not None:
            self._fail(writer.full)

    async def append(self, entries: Sequence[Entry]) -> None:
        """As ``EventQueue.append``."""
        size = sum(len(entry.payload) for entry in entries)
        self._refuse_if_needed(size)
        if self._must_wait(size):
            await self._wait_for_room(size)
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._hand_over(entries, size, lambda error: _settle(waiter, error))
        await waiter

    def submit(self, entries: Sequence[Entry], done: Callable[[BaseException | None], None]) -> bool:
        """As ``EventQueue.submit``."""
        size = sum([len(entry.payload) for entry in entries])
        self._refuse_if_needed(size)
        if self._must_wait(size):
            return False
        self._hand_over(entries, size, done)
        return True

    def _must_wait(self, size: int) -> bool:
        """A small append does not go past a large one that waits for room: one request's pieces stay in order."""
        return self._waiting > 0 or self._has_no_room(size)

    def _has_no_room(self, size: int) -> bool:
        return self._pending_bytes > 0 and self._pending_bytes + size > self._pending_bytes_max

    async def _wait_for_room(self, size: int) -> None:
        self._waiting += 1
        try:
            async with self._turns:
                self._refuse_if_needed(size)
                while self._has_no_room(size):
                    self._room.clear()
                    await self._room.wait()
                    self._refuse_if_needed(size)
        finally:
            self._waiting -= 1

    def _hand_over(self, entries: Sequence[Entry], size: int, done: Callable[[BaseException | None], None]) -> None:
        self._pending.append(_Append(entries, size, done))
        self._pending_bytes += size
        if not self._busy:
            self._begin_soon()

    def check(self) -> None:
        """Raise QueueUnavailable when the last commit failed. A crash before the next one may bring its events back."""
        if self.problem:
            raise QueueUnavailable(self.problem, retry_after_s=RETRY_AFTER_S)

    def refuse(self) -> None:
        """From now on ``append`` raises QueueUnavailable; what was handed over before is still committed."""
        self._refusing = True
        self._room.set()

    async def heal_if_due(self) -> None:
        """After a failure, find out whether the disk takes writes again."""
        if not self.problem or self._busy or self._clock.monotonic_s() < self._retry_at_s:
            return
        self._retry_at_s = self._clock.monotonic_s() + HEAL_INTERVAL_S
        self._begin()
        try:
            active, sealed = await self._loop.run_in_executor(self._thread, self._writer.heal)
            self._on_committed(Committed([], active, sealed, 0))
            self.problem = ""
        except OSError as error:
            structlog.get_logger().warning(Event.LOG_COMMIT_FAILED, error=str(error), problem=self.problem)
        finally:
            self._end()

    async def close(self) -> None:
        """Commit what was handed over, then end the thread."""
        self.refuse()
        await self._idle.wait()
        await asyncio.to_thread(self._thread.shutdown)

    def _refuse_if_needed(self, size: int) -> None:
        if self._refusing:
            text = "the gateway is stopping; send the request again to the next one"
            raise QueueUnavailable(text, retry_after_s=RETRY_AFTER_S)
        if self.problem and self._clock.monotonic_s() < self._retry_at_s:
            raise QueueUnavailable(self.problem, retry_after_s=RETRY_AFTER_S)
        wanted = self._pending_bytes + size
        if wanted > self._granted_bytes:
            self._granted_bytes = 0
            try:
                self._refuse_if_full(wanted + ASK_AHEAD_BYTES)
                self._granted_bytes = wanted + ASK_AHEAD_BYTES
            except QueueFull:
                self._refuse_if_full(wanted)

    def _begin_soon(self) -> None:
        if not self._beginning:
            self._beginning = True
            self._idle.clear()
            self._loop.call_soon(self._begin_unless_more_come, 0, 0)

    def _begin_unless_more_come(self, known: int, turns: int) -> None:
        """``known`` is how many waited a turn ago."""
        waiting = len(self._pending)
        if waiting > known and self._gathers() and turns < GATHERING_TURNS_MAX:
            self._loop.call_soon(self._begin_unless_more_come, waiting, turns + 1)
            return
        self._beginning = False
        if not self._busy:
            self._begin_next()

    def _gathers(self) -> bool:
        """Whether small appends come fast: each commit costs the loop and its thread as much as dozens of those."""
        return self._last_events >= FEW_EVENTS and 0 < self._pending_bytes < GATHERED_BYTES_MAX

    def _begin_next(self) -> None:
        if self._busy or not self._pending:
            return
        batch = [self._pending.popleft()]
        size = batch[0].size_bytes
        while self._pending and size + self._pending[0].size_bytes <= COMMIT_BYTES_MAX:
            batch.append(self._pending.popleft())
            size += batch[-1].size_bytes
        self._begin()
        entries = [entry for append in batch for entry in append.entries]
        self._last_events = sum(entry.count for entry in entries)
        started_s = self._clock.monotonic_s()
        running = self._thread.submit(self._writer.commit, entries)
        running.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._finish, batch, size, started_s, done)
        )

    def _finish(self, batch: list[_Append], size: int, started_s: float, done: Future[Committed]) -> None:
        self._pending_bytes -= size
        self._granted_bytes = 0
        error = done.exception()
        if error is None:
            self._metrics.commit_seconds.observe(self._clock.monotonic_s() - started_s)
            self._metrics.commit_bytes.inc(done.result().written_bytes)
            self.problem = ""
            self._on_committed(done.result())
        else:
            self._fail(error)
        for append in batch:
            try:
                append.done(None if error is None else self._answer(error))
            except Exception as fault:  # noqa: BLE001 - one appender's bug must not keep the others waiting
                self._loop.call_exception_handler({"message": "an appender failed", "exception": fault})
        self._room.set()
        self._end()

    def _begin(self) -> None:
        self._busy = True
        self._idle.clear()

    def _end(self) -> None:
        self._busy = False
        if self._gathers():
            self._begin_soon()
            return
        self._begin_next()
        if not self._busy:
            self._idle.set()

    def _fail(self, error: BaseException) -> None:
        self._metrics.commit_failures.inc()
        self._retry_at_s = self._clock.monotonic_s() + HEAL_INTERVAL_S
        if isinstance(error, OSError) and is_full(error):
            self.problem = "the disk of the data directory is full; free space on it or lower queue.disk_budget"
        else:
            self.problem = "the disk of the data directory fails to write; check it and its file system"
        structlog.get_logger().error(Event.LOG_COMMIT_FAILED, error=str(error), problem=self.problem)

    def _answer(self, error: BaseException) -> BaseException:
        if isinstance(error, OSError):
            return QueueUnavailable(self.problem, retry_after_s=RETRY_AFTER_S)
        return error


def _settle(waiter: asyncio.Future[None], error: BaseException | None) -> None:
    """A cancelled caller has left its waiter behind."""
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
