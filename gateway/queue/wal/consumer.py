"""One destination's way through the log: ``Consumer`` on a cursor, the memory tail and the segments on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.queue import (
    ALL_TENANTS,
    Backlog,
    DeadLetter,
    Gap,
    GapReason,
    Ledger,
    Matcher,
    Records,
    Refused,
    Subject,
)
from gateway.queue.wal.alarm import ImbalanceAlarm
from gateway.queue.wal.cursor import Cursor, CursorState, Lane, Place, Slice
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.queue.wal.feed import Feed, FrameStore, event_id
from gateway.queue.wal.gap_book import GapBook
from gateway.queue.wal.letters import LetterLog, Letters
from gateway.queue.wal.retention import Claim
from gateway.queue.wal.run_budget import RunBudget
from gateway.queue.wal.sieve import STEP_EVENTS, Sieve
from gateway.queue.wal.taking import Taking
from gateway.queue.wal.writer import Frame
from gateway.wakeup import Wakeup

WINDOW_EVENTS_MAX = 1_000_000  # how far reading may run ahead of the floor
WINDOW_SPANS_MAX = 65_536
MEMO_BYTES_MAX = 4096


class LogView(FrameStore, LetterLog, Protocol):
    """What a consumer needs of the log that it reads."""

    @property
    def runs(self) -> RunBudget:
        """What all consumers together may keep."""

    def end(self) -> Place:
        """The end of what is durable; ``tenant`` is the stream sequence of all tenants."""

    def mean_event_bytes(self, subject: Subject) -> float: ...

    def mark_changed(self, consumer: WalConsumer) -> None: ...

    def now_s(self) -> float: ...


class WalConsumer:
    def __init__(self, log: LogView, state: CursorState, dead_letters: DeadLetterFile) -> None:
        self._log = log
        self._cursor = Cursor(state)
        self._cursor.restore_dead_lettered(number - 1 for number in dead_letters.all_numbers())
        self._has_left = False
        self._feed = Feed(log, tenant_id=state.tenant_id, consumer_id=state.consumer_id)
        self._letters = Letters(
            log,
            dead_letters,
            self._feed.lanes[Lane.REPLAY],
            book_lost=self._book_lost_letters,
            mark_changed=self._mark_changed,
        )
        self._wake = Wakeup()
        self._gap_book = GapBook(
            self._cursor,
            self._feed,
            intake_end=self.intake_end,
            mark_changed=self._mark_changed,
            now_s=log.now_s,
        )
        self._sieve: Sieve | None = None
        self._sifting: asyncio.Handle | None = None
        self._alarm = ImbalanceAlarm(state.consumer_id, state.tenant_id)
        self._oldest_pending: tuple[int, float] = (-1, 0.0)
        self.note_journaled(state)
        self.failing = False

    # -- what a worker uses

    @property
    def id(self) -> str:
        return self._cursor.consumer_id

    @property
    def tenant_id(self) -> str:
        return self._cursor.tenant_id

    @property
    def lanes(self) -> Mapping[Lane, Subject]:
        return self._feed.lanes

    def set_filter(self, matcher: Matcher | None) -> None:
        if self._sifting is not None:
            self._sifting.cancel()
            self._sifting = None
        self._sieve = matcher and Sieve(
            matcher, self._cursor, self._feed, room_for_runs=self._room_for_runs, mark_changed=self._mark_changed
        )
        self._sift_soon()

    async def wait(self) -> None:
        while not self._has_more():
            self._wake.clear()
            self._pass_settled()
            await self._wake.wait()

    def wake(self) -> None:
        self._count_runs()
        self._sift_soon()
        self._wake.set()

    async def take(self, *, events_max: int, bytes_max: int) -> Records | None:
        taking = Taking(events_max, bytes_max)
        while not taking.full() and self._window_is_open():
            found = self._next_frame()
            if found is None:
                break
            lane, frame = found
            if frame is not None:
                if await self._gap_book.book_losses_before(lane, frame):
                    continue
                if not self._take_from(taking, lane, frame):
                    break
                if taking.passed >= STEP_EVENTS:
                    if taking.lines:
                        break
                    taking.passed = 0
                    await asyncio.sleep(0)  # a filter may leave out all of a long log
            elif taking.lines:
                break  # hand out what is in memory before waiting for the disk
            else:
                await self._read_ahead(lane)
        if taking.positions and taking.positions[0] == self._cursor.position_of(self._cursor.floor):
            self._oldest_pending = self._cursor.floor.offset, taking.oldest_us / 1e6
        return taking.records()

    def release(self, positions: Iterable[int]) -> None:
        if self._cursor.release(sorted(positions)):
            self._feed.rewind()
            self._wake.set()

    def settle_delivered(self, positions: Sequence[int]) -> None:
        self._settle(positions, "delivered")

    async def settle_refused(self, refused: Sequence[Refused]) -> None:
        now_s = self._log.now_s()
        letters = [
            DeadLetter(item.position + 1, event_id(item.line) or "", now_s, item.code, item.reason, item.line)
            for item in refused
        ]
        positions = sorted(item.position for item in refused)
        await self._letters.add(letters, lambda: self._settle(positions, "dead_lettered"))

    async def drop_pending(self, reason: GapReason, detail: str = "") -> int:
        return await self.drop_until(self.intake_end(), reason, detail)

    async def drop_until(self, after: Place, reason: GapReason, detail: str = "") -> int:
        """Drop what waits before ``after`` and is not handed out.

        Of ``after`` nothing counts that this consumer has read already, or that is not for it: the caller may know an
        older place than the present one.
        """
        after = self._from_here_to(after)
        if self._cursor.position_of(after) <= self._cursor.position_of(self._cursor.place):
            return 0
        await self._judge_before(after)
        try:
            first, last = await self._peek(), await self._feed.last_before(after)
        except OSError as error:  # that it cannot be read must keep nobody from giving it up
            first, last = None, None
            detail += f"{'; ' if detail else ''}these events could not be read: {error.strerror}"
        begins_at = self._cursor.position_of(self._cursor.place)
        dropped = self._cursor.skip_to(self._from_here_to(after))  # damage that was met meanwhile is behind the place
        self._feed.rewind()
        if dropped:
            edge = (last, self._last_line(last)) if last is not None else None
            self._gap_book.book(reason, dropped, begins_at, detail, first=first, last=edge)
        self._mark_changed()
        return dropped

    async def checkpoint(self) -> None:
        await self._log.checkpoint()

    async def end_intake(self) -> None:
        if self._cursor.end is None:
            self._cursor.end = self.intake_end()
            self._mark_changed()
        await self._log.checkpoint()
        self._wake.set()

    def set_failing(self, failing: bool) -> None:
        self.failing = failing

    @property
    def memo(self) -> bytes:
        return self._cursor.memo

    def set_memo(self, memo: bytes) -> None:
        if len(memo) > MEMO_BYTES_MAX:
            raise ValueError(f"a memo of {len(memo)} bytes is over the {MEMO_BYTES_MAX} that a consumer keeps")
        if memo != self._cursor.memo:
            self._cursor.memo = memo
            self._mark_changed()

    # -- the books

    def ledger(self) -> Ledger:
        counters, start = self._cursor.counters, self._cursor.start
        replayed = self._log.end_sequence(self.lanes[Lane.REPLAY]) - start.replay - self._cursor.accepted_replays
        pending = self.pending_events()
        accepted = self._cursor.position_of(self.intake_end()) - replayed
        dead_lettered = counters.dead_lettered - replayed
        settled = counters.delivered + dead_lettered + counters.dropped + counters.filtered
        ledger = Ledger(
            accepted=accepted,
            delivered=counters.delivered,
            dead_lettered=dead_lettered,
            dropped=counters.dropped,
            filtered=counters.filtered,
            pending=pending,
            balanced=accepted == settled + pending and min(dead_lettered, pending) >= 0,
        )
        self._alarm.look_at(ledger, self._log.now_s())
        return ledger

    def pending_events(self) -> int:
        return self._cursor.position_of(self.intake_end()) - self._cursor.settled_total()

    def untaken_events(self) -> int:
        return self._cursor.untaken(self.intake_end())

    def backlog(self) -> Backlog:
        pending = self.pending_events()
        mean = self._log.mean_event_bytes(self.lanes[Lane.TENANT])
        return Backlog(pending, int(pending * mean), self._oldest_pending_s() if pending else None)

    async def gaps(self) -> list[Gap]:
        return list(self._cursor.gaps)

    def restore_gaps(self, gaps: Sequence[Gap]) -> None:
        self._cursor.restore_gaps(gaps)

    def book_lost_dead_letters(self, known: int) -> None:
        """Fewer dead letters are there than were ``known``: the rest can be read no more, and is a gap."""
        if known > len(self._letters):
            self._book_lost_letters(known - len(self._letters))

    # -- dead letters

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        return await self._letters.page(after=after, limit=limit)

    def dead_letter_count(self) -> int:
        return len(self._letters)

    async def delete_dead_letters(self, numbers: Sequence[int] | None = None) -> int:
        return await self._letters.delete(numbers)

    async def replay_dead_letters(self, numbers: Sequence[int] | None = None) -> int:
        return await self._letters.replay(numbers)

    # -- what the log uses

    def intake_end(self) -> Place:
        """The end of what this consumer is to get: that of the log, or where its intake was ended."""
        end = self._cursor.end
        log_end = self._log.end()
        tenant = log_end.tenant if self.tenant_id == ALL_TENANTS else self._log.end_sequence(self.lanes[Lane.TENANT])
        return Place(
            log_end.offset,
            end.tenant if end is not None else tenant,
            self._log.end_sequence(self.lanes[Lane.BACKFILL]),
            self._log.end_sequence(self.lanes[Lane.REPLAY]),
        )

    def note_journaled(self, state: CursorState) -> None:
        """A crash from here on finds this."""
        self._journaled_floor, self._journaled_end = state.floor, state.end

    def claim(self) -> Claim:
        """Nothing of the tenant's once the end of the intake is passed: what comes there is for others."""
        floor, end = self._journaled_floor, self._journaled_end
        lanes = self.lanes
        if end is not None and floor.tenant >= end.tenant:
            lanes = {lane: subject for lane, subject in lanes.items() if lane is not Lane.TENANT}
        return Claim(self.id, lanes, floor)

    def state(self, *, whole: bool) -> CursorState:
        """What to checkpoint. The books are looked at on the way, so that no imbalance stays unsaid."""
        self.ledger()
        self._count_runs()
        letters = self._letters
        return self._cursor.state(whole=whole, dead_letters=letters.lasting, replayed_letters=letters.replayed)

    def leave(self) -> None:
        """It is removed: what is still under way for it must not bring its checkpoint back, or hold room for runs."""
        self._has_left = True
        self.set_filter(None)
        self._log.runs.count(self.id, 0)

    def disk_bytes(self) -> int:
        return self._letters.disk_bytes

    def discard_files(self) -> None:
        """Remove the dead letters. Blocks."""
        self._letters.remove()

    def close_files(self) -> None:
        self._letters.close()

    # -- inside

    def _book_lost_letters(self, lost: int) -> None:
        self._cursor.lose_dead_letters(lost)
        now_s = self._log.now_s()
        detail = "dead letters that were damaged on disk; see the log lines log.corrupt"
        self._cursor.book_gap(Gap(GapReason.CORRUPT, lost, now_s, now_s, None, None, now_s, detail), extends=False)
        self._mark_changed()

    def _mark_changed(self) -> None:
        self._count_runs()
        if not self._has_left:
            self._log.mark_changed(self)

    def _count_runs(self) -> None:
        if not self._has_left:
            self._log.runs.count(self.id, self._cursor.settled_runs())

    def _room_for_runs(self) -> int:
        self._count_runs()
        return self._log.runs.room(self.id)

    def _settle(self, positions: Sequence[int], counter: str) -> None:
        self._cursor.settle(positions, counter)
        self._mark_changed()

    def _has_more(self) -> bool:
        return self.untaken_events() > 0 and self._window_is_open()

    def _window_is_open(self) -> bool:
        events, spans = self._cursor.window()
        return events < WINDOW_EVENTS_MAX and spans < WINDOW_SPANS_MAX

    def _sift_soon(self) -> None:
        if self._sieve is not None and self._sifting is None:
            self._sifting = asyncio.get_running_loop().call_soon(self._sift)

    def _sift(self) -> None:
        """Judge what came, in steps between which others work."""
        self._sifting = None
        if self._sieve is None:
            return
        if self._sieve.step(self.intake_end()):
            self._sift_soon()
        else:
            self._pass_settled()

    def _pass_settled(self) -> None:
        """Where nothing is left to hand out the log is not held, whether or not a worker is there to read on."""
        if self._cursor.pass_settled(self.intake_end()):
            self._mark_changed()

    def _from_here_to(self, after: Place) -> Place:
        return after.up_to(self.intake_end()).at_least(self._cursor.place)

    async def _judge_before(self, after: Place) -> None:
        """All that is in memory: what is left as runs is one with what is dropped in a moment."""
        while self._sieve is not None:
            if not self._sieve.step(self.intake_end(), until=after):
                return
            await asyncio.sleep(0)

    def _last_line(self, frame: Frame) -> bytes | None:
        return frame.payload.rpartition(b"\n")[2] if self._sieve is None else self._sieve.last_passing(frame)

    def _next_frame(self) -> tuple[Lane, Frame | None] | None:
        return self._feed.next_frame(self._cursor.place, self.intake_end())

    async def _read_ahead(self, lane: Lane) -> None:
        """Read from disk, or find out that what is missing cannot be read any more."""
        if not await self._feed.read_ahead(self._cursor.place):
            self._gap_book.book_loss(lane)

    def _take_from(self, taking: Taking, lane: Lane, frame: Frame) -> bool:
        """Add what the frame has to hand out. False when the batch has no room for the next event."""
        sequence = self._feed.sequence(lane, frame)
        if sequence > self._cursor.place.sequence(lane):
            self._gap_book.lose(lane, sequence, frame.first_offset, frame)
        line, line_end = max(0, self._cursor.place.sequence(lane) - sequence), frame.count
        if self._sieve is not None:
            line_end = self._sieve.judge(frame, line, taking.events_left)
        known = len(taking.positions)
        taken: list[Slice] = []
        has_room = True
        for item in self._cursor.offer(lane, frame, sequence, line_end):
            end = min(item.end, item.start + taking.events_left)  # to copy all the rest each time goes with the square
            added = taking.add(item.position, self._feed.lines(frame)[item.start : end], frame.time_us)
            if added < item.end - item.start:
                line_end = item.start + added
                has_room = False
                if added:
                    taken.append(msgspec.structs.replace(item, end=line_end))
                break
            taken.append(item)
        taking.passed += line_end - line - len(taking.positions) + known
        self._cursor.take(lane, frame, sequence, taken, line_end)
        return has_room

    async def _peek(self) -> tuple[Frame, bytes] | None:
        """The next event that would be handed out, with its frame."""
        while (found := self._next_frame()) is not None:
            lane, frame = found
            if frame is None:
                await self._read_ahead(lane)
                continue
            if await self._gap_book.book_losses_before(lane, frame):
                continue
            sequence = self._feed.sequence(lane, frame)
            if sequence > self._cursor.place.sequence(lane):
                return frame, self._feed.lines(frame)[0]  # what lies before it is lost
            if (following := next(self._cursor.offer(lane, frame, sequence), None)) is not None:
                return frame, self._feed.lines(frame)[following.start]
            self._cursor.take(lane, frame, sequence, [], frame.count)
        return None

    def _oldest_pending_s(self) -> float:
        """When the event at the floor was accepted, as far as memory knows; else when that was last known."""
        floor = self._cursor.floor
        accepted_at_s = self._feed.accepted_at_s(floor)
        if accepted_at_s is not None:
            return accepted_at_s
        return self._oldest_pending[1] if self._oldest_pending[0] == floor.offset else self._log.now_s()
