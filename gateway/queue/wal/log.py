"""``EventQueue`` on the write-ahead log: the event loop's side. Owns what is visible; the threads own the files.

Appends wait in a list while a commit is being written; the next commit takes them all. One commit is in flight at a
time, in one thread. Reads of consumers that are behind run in a small pool, checkpoints and retention in a thread of
their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
import structlog

from gateway.clock import Clock
from gateway.config import Queue
from gateway.queue import ALL_TENANTS, Consumer, Counters, Entry, GapReason, QueueStatus, Subject
from gateway.queue.wal import reader
from gateway.queue.wal.commit import GroupCommit
from gateway.queue.wal.consumer import WalConsumer
from gateway.queue.wal.cursor import CursorState, Lane, Place
from gateway.queue.wal.dead_letter_folder import path_of, remove_strays, set_aside
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.queue.wal.files import Files
from gateway.queue.wal.index import Segment
from gateway.queue.wal.journal import Journal, LogEnd, Restored
from gateway.queue.wal.newest import Newest
from gateway.queue.wal.reader import Bookmark, Chunk, Wanted
from gateway.queue.wal.recovery import Recovered
from gateway.queue.wal.restoration import begin_again
from gateway.queue.wal.retention import Claim
from gateway.queue.wal.run_budget import RunBudget
from gateway.queue.wal.space import Space
from gateway.queue.wal.tail import MemoryTail
from gateway.queue.wal.writer import Committed, Frame, Writer, is_full
from gateway.telemetry import Event, Metrics

RETENTION_INTERVAL_S = 1.0

_EVERYTHING = Subject(Lane.TENANT, ALL_TENANTS)

T = TypeVar("T")


class Opened(msgspec.Struct, frozen=True):
    """What ``open_directory`` found and made, for the event loop's side to take over."""

    files: Files
    log_id: bytes
    writer: Writer
    recovered: Recovered
    restored: Restored
    segment_bytes: int


class WalQueue:
    """Make one with ``opening.open_queue``. ``run`` must be running for checkpoints and retention; ``close`` ends
    everything.
    """

    def __init__(
        self, opened: Opened, settings: Queue, *, clock: Clock, metrics: Metrics, spares: ThreadPoolExecutor
    ) -> None:
        self._files, self._log_id, self._writer = opened.files, opened.log_id, opened.writer
        self._clock = clock
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.space = Space(
            self,
            files=opened.files,
            log_id=opened.log_id,
            sealed=opened.recovered.segments,
            active=opened.writer.active,
            budget_bytes=settings.disk_budget_bytes,
            segment_bytes=opened.segment_bytes,
            take_segment_id=opened.writer.take_segment_id,
            keeps_all=opened.restored.is_damaged,
        )
        self._next_stream_sequence = opened.recovered.numbers.next_stream_sequence
        self._next_sequence = dict(opened.recovered.numbers.next_sequence)
        self._event_bytes = _event_bytes(opened.recovered.segments)
        self.tail = MemoryTail(settings.tail_bytes, opened.writer.active.first_offset)
        self.runs = RunBudget()
        self._commits = GroupCommit(
            opened.writer,
            pending_bytes_max=settings.pending_bytes_max,
            refuse_if_full=self.space.refuse_if_full,
            on_committed=self._show,
            clock=clock,
            metrics=metrics,
        )
        self._reads = ThreadPoolExecutor(4, "log-read")
        self._newest = Newest(self, self._files, self._reading)
        self._upkeep = ThreadPoolExecutor(1, "log-upkeep")
        self._spares = spares
        self._consumers: dict[str, WalConsumer] = {}
        self._listeners: dict[str, set[WalConsumer]] = {}
        self._changed: dict[str, WalConsumer] = {}
        self._removed: dict[str, WalConsumer] = {}
        self._gone: dict[str, WalConsumer] = {}  # no checkpoint knows them any more, and their files are there
        self._touched: set[Subject] = set()
        self._journal: Journal | None = None
        self._generation = opened.restored.generation
        self._checkpoints_lost = opened.restored.is_damaged
        self._opened_at_s = clock.time_s()
        self._checkpoint_lock = asyncio.Lock()
        self._admission_lock = asyncio.Lock()

    # -- EventQueue

    async def append(self, entries: Sequence[Entry]) -> None:
        await self._commits.append(entries)

    def submit(self, entries: Sequence[Entry], done: Callable[[BaseException | None], None]) -> bool:
        return self._commits.submit(entries, done)

    async def add_consumer(self, consumer_id: str, tenant_id: str, *, created_at_s: float | None = None) -> Consumer:
        async with self._admission_lock:
            known = self._consumers.get(consumer_id)
            if known is not None:
                if consumer_id in self._changed:  # the disk may have failed the one who made it
                    await self.checkpoint()
                return known
            if consumer_id in self._removed or consumer_id in self._gone:
                await self.remove_consumer(consumer_id)
            letters = await self._dead_letters_of(consumer_id)
            state = await self._first_state(consumer_id, tenant_id, created_at_s)
            consumer = self._admit(WalConsumer(self, state, letters))
            consumer.restore_gaps([gap for _, gap in state.changed_gaps])
            self.mark_changed(consumer)
            await self.checkpoint()
            return consumer

    def consumer(self, consumer_id: str) -> Consumer | None:
        return self._consumers.get(consumer_id)

    def end_restoration(self) -> None:
        self.space.keeps_all = False

    def consumer_ids(self) -> list[str]:
        return list(self._consumers)

    async def remove_consumer(self, consumer_id: str) -> None:
        consumer = self._consumers.pop(consumer_id, None)
        if consumer is not None:
            self._listeners[consumer.tenant_id].discard(consumer)
            consumer.leave()
            self._changed.pop(consumer_id, None)
            self._removed[consumer_id] = consumer
        await self.checkpoint()  # the disk may have failed the one who removed it
        await self._discard(consumer_id)

    async def newest(self, tenant_id: str, events_max: int) -> list[bytes]:
        return await self._newest.lines(tenant_id, events_max)

    @property
    def id(self) -> str:
        """Tells it from every other queue, and stays for as long as its directory does."""
        return self._log_id.hex()

    def status(self) -> QueueStatus:
        letters = sum(consumer.disk_bytes() for consumer in self._consumers.values())
        return QueueStatus(
            problem=self._commits.problem or self.space.problem,
            disk_bytes=self.space.disk_bytes() + letters,
            disk_budget_bytes=self._settings.disk_budget_bytes,
            segments=len(self.space.sealed) + 1,
            events_total=self.space.active.end_offset,
        )

    # -- life

    async def run(self) -> None:
        """Checkpoint and clean up until cancelled."""
        next_retention_s = 0.0
        while True:
            await self._clock.sleep(self._settings.checkpoint_s)
            if self._changed or self._removed or self._touched:
                await self._checkpoint_quietly()
            await self._commits.heal_if_due()
            if self._clock.monotonic_s() >= next_retention_s:
                await self._discard_what_is_left()
                more = await self.space.retain()
                next_retention_s = self._clock.monotonic_s() + (0.0 if more else RETENTION_INTERVAL_S)

    def refuse_appends(self) -> None:
        """From now on ``append`` raises QueueUnavailable; what was handed over before is still committed."""
        self._commits.refuse()

    async def close(self) -> None:
        """Commit what was handed over, checkpoint, close the files. What is not checkpointed comes again."""
        self.refuse_appends()
        await self._commits.close()
        await self._checkpoint_quietly()
        for executor in (self._reads, self._upkeep, self._spares):
            await asyncio.to_thread(executor.shutdown)
        await asyncio.to_thread(self._close_files)

    async def restore_consumers(self, restored: Restored) -> None:
        """Take over the consumers that the journals know, then begin a journal of our own.

        Where checkpoints were damaged nothing is removed from the log before ``end_restoration``.
        """
        if restored.is_damaged:
            await self.in_thread(lambda: set_aside(self._files, restored.generation, list(restored.states)))
        for state in restored.states.values():
            letters = await self._dead_letters_of(state.consumer_id, state.replayed_letters)
            consumer = self._admit(WalConsumer(self, state, letters))
            consumer.restore_gaps(restored.gaps_of(state.consumer_id, self.now_s()))
            if not restored.is_damaged:
                consumer.book_lost_dead_letters(state.dead_letters)
        await self.in_thread(lambda: remove_strays(self._files, list(restored.states)))
        try:
            await self.checkpoint()
        except OSError as error:
            if not is_full(error):
                raise
            _tell_of_failed_checkpoint(error)

    # -- LogView

    def end(self) -> Place:
        return Place(self.space.active.end_offset, self._next_stream_sequence, 0, 0)

    def end_sequence(self, subject: Subject) -> int:
        return self._next_sequence.get(subject, 0)

    def mean_event_bytes(self, subject: Subject) -> float:
        events, size = self._event_bytes.get(subject) or self._event_bytes.get(_EVERYTHING) or (0, 0)
        return size / events if events else 0.0

    async def read(self, wanted: Wanted, start: Bookmark, bytes_max: int) -> Chunk:
        return await self._reading(
            lambda segments: reader.read(
                self._files, segments, wanted, start, bytes_max=bytes_max, end_offset=segments[-1].end_offset
            )
        )

    async def last_frame(self, wanted: Wanted, before_offset: int) -> Frame | None:
        return await self._reading(lambda segments: reader.last_frame(self._files, segments, wanted, before_offset))

    async def _reading(self, read: Callable[[list[Segment]], T]) -> T:
        """Read in a thread, again from the start when a segment was removed or rewritten meanwhile."""
        while True:
            segments = self.space.segments()
            try:
                return await self._loop.run_in_executor(self._reads, read, segments)
            except FileNotFoundError:
                if segments[:-1] == self.space.sealed:
                    raise

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._upkeep, function)

    def check_commits(self) -> None:
        self._commits.check()

    async def checkpoint(self) -> None:
        async with self._checkpoint_lock:
            await self._write_checkpoint()

    def mark_changed(self, consumer: WalConsumer) -> None:
        self._changed[consumer.id] = consumer

    def now_s(self) -> float:
        return self._clock.time_s()

    # -- commits

    def _show(self, committed: Committed) -> None:
        """Make a durable batch visible: numbers, memory, and the consumers that it is for."""
        self.space.advance(committed)
        for frame in committed.frames:
            self._next_sequence[frame.subject] = frame.sequence + frame.count
            self._touched.add(frame.subject)
            if frame.subject.kind is Lane.TENANT:
                self._next_stream_sequence = frame.stream_sequence + frame.count
            for key in (frame.subject, _EVERYTHING):
                events, size = self._event_bytes.get(key, (0, 0))
                self._event_bytes[key] = events + frame.count, size + len(frame.payload)
            self.tail.append(frame)
            self._wake(frame.subject)

    def _wake(self, subject: Subject) -> None:
        if subject.kind is Lane.TENANT:
            for consumer in self._listeners.get(subject.name, ()):
                consumer.wake()
            for consumer in self._listeners.get(ALL_TENANTS, ()):
                consumer.wake()
        elif (addressed := self._consumers.get(subject.name)) is not None:
            addressed.wake()

    # -- consumers

    def _admit(self, consumer: WalConsumer) -> WalConsumer:
        self._consumers[consumer.id] = consumer
        self._listeners.setdefault(consumer.tenant_id, set()).add(consumer)
        return consumer

    async def _discard(self, consumer_id: str) -> None:
        if (consumer := self._gone.get(consumer_id)) is not None:
            await self.in_thread(consumer.discard_files)
            self._gone.pop(consumer_id, None)

    async def _discard_what_is_left(self) -> None:
        """What the disk did not let go with its consumer."""
        for consumer_id in list(self._gone):
            try:
                await self._discard(consumer_id)
            except OSError as error:
                structlog.get_logger().error(Event.LOG_REMOVAL_FAILED, error=str(error), files=[path_of(consumer_id)])

    async def _dead_letters_of(self, consumer_id: str, replayed: Sequence[tuple[int, int]] = ()) -> DeadLetterFile:
        replay_end = self.end_sequence(Subject(Lane.REPLAY, consumer_id))
        return await self.in_thread(
            lambda: DeadLetterFile.recovered(
                self._files,
                log_id=self._log_id,
                consumer_id=consumer_id,
                replay_end=replay_end,
                replayed=replayed,
            )
        )

    async def _first_state(self, consumer_id: str, tenant_id: str, created_at_s: float | None) -> CursorState:
        of_tenant = self.end_sequence(Subject(Lane.TENANT, tenant_id))
        end = Place(
            self.space.active.end_offset,
            self._next_stream_sequence if tenant_id == ALL_TENANTS else of_tenant,
            self.end_sequence(Subject(Lane.BACKFILL, consumer_id)),
            self.end_sequence(Subject(Lane.REPLAY, consumer_id)),
        )
        if created_at_s is None or created_at_s >= self._opened_at_s:
            return CursorState(consumer_id, tenant_id, end, end, [], Counters())
        is_loss = self._checkpoints_lost
        return await begin_again(self, consumer_id, tenant_id, end, created_at_s, self.now_s(), is_loss=is_loss)

    # -- what frees space

    def claims(self) -> list[Claim]:
        return [c.claim() for c in self._consumers.values()]

    def failing(self) -> frozenset[str]:
        return frozenset(consumer.id for consumer in self._consumers.values() if consumer.failing)

    async def evict(self, consumer_id: str, until: Place) -> None:
        detail = "the queue's disk budget was reached while this destination was failing"
        consumer = self._consumers.get(consumer_id)
        if consumer is None:  # removed meanwhile
            return
        dropped = await consumer.drop_until(until, GapReason.DISK_BUDGET, detail)
        structlog.get_logger().warning(Event.LOG_FULL, destination=consumer_id, dropped=dropped)

    async def save(self) -> None:
        if self._changed:
            await self._checkpoint_quietly()

    # -- checkpoints

    async def _checkpoint_quietly(self) -> None:
        try:
            await self.checkpoint()
        except OSError as error:
            _tell_of_failed_checkpoint(error)

    async def _write_checkpoint(self) -> None:
        changed, self._changed = self._changed, {}
        removed, self._removed = self._removed, {}
        gone = [_gone(consumer_id) for consumer_id in removed]
        states = gone + [consumer.state(whole=False) for consumer in changed.values()]
        touched, self._touched = self._touched, set()
        log_end = self._log_end(touched)
        try:
            journal = self._journal
            if journal is not None and journal.fits(log_end, states):
                await asyncio.shield(self.in_thread(lambda: journal.append(log_end, states)))
            else:
                await self._begin_journal(self._log_end(self._next_sequence))
        except BaseException:
            here = {name: each for name, each in changed.items() if self._consumers.get(name) is each}
            self._changed = here | self._changed
            self._removed = removed | self._removed
            self._touched |= touched
            raise
        self._gone |= removed
        for state in states:
            if (consumer := changed.get(state.consumer_id)) is not None:
                consumer.note_journaled(state)

    def _log_end(self, subjects: Iterable[Subject]) -> LogEnd:
        return LogEnd(
            self.space.active.segment_id,
            self.space.active.durable_end,
            self.space.active.end_offset,
            self._next_stream_sequence,
            [(int(subject.kind), subject.name, self._next_sequence[subject]) for subject in subjects],
        )

    async def _begin_journal(self, log_end: LogEnd) -> None:
        everything = [consumer.state(whole=True) for consumer in self._consumers.values()]
        if self._journal is None:
            self._journal = await self.in_thread(
                lambda: Journal(
                    self._files, log_id=self._log_id, generation=self._generation, states=everything, log_end=log_end
                )
            )
        else:
            journal = self._journal
            await asyncio.shield(self.in_thread(lambda: journal.begin(log_end, everything)))
        for state in everything:
            if (consumer := self._consumers.get(state.consumer_id)) is not None:
                consumer.note_journaled(state)

    def _close_files(self) -> None:
        for consumer in (*self._consumers.values(), *self._removed.values(), *self._gone.values()):
            consumer.close_files()
        if self._journal is not None:
            self._journal.close()
        self._writer.close()
        self._files.unlock()


def _event_bytes(segments: Sequence[Segment]) -> dict[Subject, tuple[int, int]]:
    """(events, bytes before compression) of each subject and of all, to estimate what pending events weigh."""
    sums: dict[Subject, tuple[int, int]] = {}
    for item in segments:
        for subject, share in (item.shares or {}).items():
            for key in (subject, _EVERYTHING):
                events, size = sums.get(key, (0, 0))
                sums[key] = events + share.events, size + share.payload_bytes
    return sums


def _tell_of_failed_checkpoint(error: OSError) -> None:
    structlog.get_logger().error(
        Event.CHECKPOINT_FAILED, error=str(error), remedy="check the disk; after a crash now events may come twice"
    )


def _gone(consumer_id: str) -> CursorState:
    nowhere = Place(0, 0, 0, 0)
    return CursorState(consumer_id, "", nowhere, nowhere, [], Counters(), removed=True)
