"""Where one consumer stands, and the only code that moves it. Plain: no I/O, no clock, no waiting.

A consumer's events come from up to three *lanes*: the stream of its tenant (or of all), its backfills and its
replays. Across the lanes they are numbered densely in the order of the log: that number is the event's *position*.
Positions make the bookkeeping independent of foreign events between one's own.

- ``floor``: everything below is settled. It is what a checkpoint stores, with the counters of the same moment.
- ``settled``: positions above the floor that are settled too (out of order).
- ``taken``: handed out and not settled.
- ``place``: where reading goes on. ``release`` moves it back, so that what failed is read again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec.structs import astuple

from gateway.queue import Counters, Gap, SubjectKind
from gateway.queue.ranges import RangeSet, runs_of
from gateway.queue.wal.writer import Frame

Lane = SubjectKind


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Just before the event at ``offset``: so many events of each lane lie below it."""

    offset: int
    tenant: int
    backfill: int
    replay: int

    def sequence(self, lane: Lane) -> int:
        return (self.tenant, self.backfill, self.replay)[lane]

    def passed(self, lane: Lane, sequence: int, offset: int) -> Place:
        """The place behind events of one lane, up to ``sequence`` there and ``offset`` in the log."""
        return Place(
            offset,
            sequence if lane is Lane.TENANT else self.tenant,
            sequence if lane is Lane.BACKFILL else self.backfill,
            sequence if lane is Lane.REPLAY else self.replay,
        )

    def at_least(self, other: Place) -> Place:
        """Of each number the higher of the two."""
        return Place(*map(max, astuple(self), astuple(other)))

    def up_to(self, other: Place) -> Place:
        """Of each number the lower of the two."""
        return Place(*map(min, astuple(self), astuple(other)))


# What may be part of a file's name; a checkpoint with any other id is damaged, however right its checksum is.
ConsumerId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,128}\Z")]


class CursorState(msgspec.Struct, array_like=True):
    """What a checkpoint stores of one consumer. ``end`` is set when the consumer takes no more new events.

    ``dead_letters`` is how many its file holds at least, ``replayed_letters`` which numbers in it, in runs, are dead
    letters no more. ``accepted_replays`` are those replays that count as accepted, because the books began after them.
    """

    consumer_id: ConsumerId
    tenant_id: str
    start: Place
    floor: Place
    settled: list[tuple[int, int]]
    counters: Counters
    memo: bytes = b""
    end: Place | None = None
    gap_count: int = 0
    changed_gaps: list[tuple[int, Gap]] = []
    removed: bool = False
    dead_letters: int = 0
    accepted_replays: int = 0
    replayed_letters: list[tuple[int, int]] = []


class _Span(msgspec.Struct, frozen=True, gc=False):
    """A run of positions handed out from one frame, or skipped as a whole (``after`` is then where the skip ends)."""

    position: int
    count: int
    before: Place
    lane: Lane
    after: Place | None = None

    def place_of(self, position: int) -> Place:
        if self.after is not None and position >= self.position + self.count:
            return self.after
        step = position - self.position
        return self.before.passed(self.lane, self.before.sequence(self.lane) + step, self.before.offset + step)


class Slice(msgspec.Struct, frozen=True, gc=False):
    """Events of one frame that are to be handed out: lines ``start`` to ``end`` of it, from ``position`` on."""

    frame: Frame
    start: int
    end: int
    position: int


class Cursor:
    """Owned by the event loop; one consumer's."""

    def __init__(self, state: CursorState) -> None:
        self.consumer_id = state.consumer_id
        self.tenant_id = state.tenant_id
        self.start = state.start
        self.end = state.end
        self.memo = state.memo
        self.accepted_replays = state.accepted_replays
        self.gaps: list[Gap] = []
        self._changed_gaps: set[int] = set()
        self._floor = state.floor
        self._place = state.floor
        self._settled = RangeSet((low, high) for low, high in state.settled)
        self._taken = RangeSet()
        self._spans: deque[_Span] = deque()
        self._counters = {
            "delivered": state.counters.delivered,
            "dead_lettered": state.counters.dead_lettered,
            "dropped": state.counters.dropped,
            "filtered": state.counters.filtered,
        }

    @property
    def floor(self) -> Place:
        return self._floor

    @property
    def place(self) -> Place:
        return self._place

    @property
    def counters(self) -> Counters:
        return Counters(**self._counters)

    @property
    def taken(self) -> int:
        return self._taken.members()

    def position_of(self, place: Place) -> int:
        start = self.start
        return place.tenant - start.tenant + place.backfill - start.backfill + place.replay - start.replay

    def settled_total(self) -> int:
        return self.position_of(self._floor) + self._settled.members()

    def window(self) -> tuple[int, int]:
        """How many events lie between the floor and the place of reading, and in how many spans."""
        return self.position_of(self._place) - self.position_of(self._floor), len(self._spans)

    def settled_runs(self) -> int:
        """In how many runs lies what is settled above the floor: what a checkpoint of this consumer costs."""
        return self._settled.runs()

    def waiting(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The runs of these positions that are neither settled nor handed out. Settle none of them on the way."""
        for low, high in self._settled.missing(first, last):
            yield from self._taken.missing(low, high)

    def any_taken(self, first: int, last: int) -> bool:
        return self._taken.first_in(first, last) is not None

    def untaken(self, end: Place) -> int:
        """How many events from the place of reading to ``end`` are neither settled nor handed out."""
        first, last = self.position_of(self._place), self.position_of(end)
        return max(0, last - first - self._settled.overlap(first, last) - self._taken.overlap(first, last))

    # -- reading

    def offer(self, lane: Lane, frame: Frame, sequence: int, line_end: int | None = None) -> Iterator[Slice]:
        """The parts of a frame, whose first event has ``sequence`` in the lane, that are to be handed out next; those
        before ``line_end`` alone where it is given.

        Nothing moves, and nothing may on the way; ``take`` does that with what the caller decided to hand out. Frames
        must come in order of the log.
        """
        place = self._place
        skipped = max(0, place.sequence(lane) - sequence)
        first = self.position_of(place)
        last = first + (frame.count if line_end is None else line_end) - skipped
        for start, end in self.waiting(first, last):
            yield Slice(frame, skipped + start - first, skipped + end - first, start)

    def take(self, lane: Lane, frame: Frame, sequence: int, slices: Sequence[Slice], line_end: int) -> None:
        """Mark the slices as handed out and read on behind line ``line_end`` of the frame."""
        place = self._place
        skipped = max(0, place.sequence(lane) - sequence)
        position = self.position_of(place)
        end = position + line_end - skipped
        known = self._span_end()
        if end > known:
            step = skipped + known - position
            before = place.passed(lane, sequence + step, frame.first_offset + step)
            self._spans.append(_Span(known, end - known, before, lane))
        for item in slices:
            self._taken.add(item.position, item.position + item.end - item.start)
        self._place = place.passed(lane, sequence + line_end, frame.first_offset + line_end)
        self._raise_floor()

    def release(self, positions: Sequence[int]) -> bool:
        """Give back what of these is handed out still, and read again from the lowest of it. Whether there was any."""
        lowest: int | None = None
        for low, high in runs_of(positions):
            first = self._taken.first_in(low, high)
            if first is not None:
                self._taken.remove(low, high)
                lowest = first if lowest is None else min(lowest, first)
        if lowest is not None and lowest < self.position_of(self._place):
            self._place = self._place_of(lowest)
        return lowest is not None

    # -- settling

    def settle(self, positions: Sequence[int], outcome: str) -> None:
        """End events that were handed out; ``outcome`` is the counter that they go to.

        Raises ValueError for events that were not handed out, or are settled already: the books would lie.
        """
        for low, high in runs_of(positions):
            if self._taken.overlap(low, high) != high - low:
                raise ValueError(f"positions {low} to {high} of {self.consumer_id} are not all handed out")
            self._taken.remove(low, high)
            self._settled.add(low, high)
            self._counters[outcome] += high - low
        self._raise_floor()

    def restore_dead_lettered(self, positions: Iterable[int]) -> None:
        """Settle what is stored as a dead letter and unsettled here: the file is ahead of the checkpoint."""
        floor = self.position_of(self._floor)
        for position in positions:
            if position >= floor and list(self._settled.missing(position, position + 1)):
                self._settled.add(position, position + 1)
                self._counters["dead_lettered"] += 1

    def skip_to(self, after: Place) -> int:
        """Settle as dropped all events before ``after`` that are neither settled nor handed out. Returns how many."""
        dropped = self._drop(self.position_of(self._floor), self.position_of(after))
        self._read_on_from(after)
        return dropped

    def pass_settled(self, until: Place) -> bool:
        """Read on from ``until`` when all that lies before it is settled, read or not. Whether the place has moved."""
        first, last = self.position_of(self._place), self.position_of(until)
        if first >= last or any(self._settled.missing(first, last)):
            return False
        self._read_on_from(until)
        return True

    def leave_out(self, first: int, last: int) -> None:
        """Settle waiting events as filtered, at the place or ahead of it. They are passed when reading comes there."""
        self._settled.add(first, last)
        self._counters["filtered"] += last - first

    def lose(self, lane: Lane, sequence: int, offset: int) -> int:
        """The next events of a lane, up to ``sequence``, cannot be read any more: settle them as dropped."""
        return self.skip_to(self._place.passed(lane, sequence, max(offset, self._place.offset + 1)))

    # -- books

    def book_gap(self, gap: Gap, *, extends: bool) -> None:
        """Add a gap, or let the last one grow when nothing lies between the two."""
        if extends and self.gaps and self.gaps[-1].reason is gap.reason:
            last = self.gaps[-1]
            self.gaps[-1] = msgspec.structs.replace(
                last,
                count=last.count + gap.count,
                first_time_s=min(last.first_time_s, gap.first_time_s),
                last_time_s=max(last.last_time_s, gap.last_time_s),
                last_id=gap.last_id or last.last_id,
                detail=gap.detail or last.detail,
            )
        else:
            self.gaps.append(gap)
        self._changed_gaps.add(len(self.gaps) - 1)

    def restore_gaps(self, gaps: Sequence[Gap]) -> None:
        self.gaps = list(gaps)

    def lose_dead_letters(self, count: int) -> None:
        """Dead letters are no longer there to be read: they count as dropped from now on."""
        self._counters["dead_lettered"] -= count
        self._counters["dropped"] += count

    def state(
        self, *, whole: bool, dead_letters: int = 0, replayed_letters: Sequence[tuple[int, int]] = ()
    ) -> CursorState:
        """What to checkpoint: with all gaps, or with those that changed since the last call."""
        indexes = range(len(self.gaps)) if whole else sorted(self._changed_gaps)
        changed = [(index, self.gaps[index]) for index in indexes]
        self._changed_gaps.clear()
        return CursorState(
            consumer_id=self.consumer_id,
            tenant_id=self.tenant_id,
            start=self.start,
            floor=self._floor,
            settled=list(self._settled),
            counters=self.counters,
            memo=self.memo,
            end=self.end,
            gap_count=len(self.gaps),
            changed_gaps=changed,
            dead_letters=dead_letters,
            accepted_replays=self.accepted_replays,
            replayed_letters=list(replayed_letters),
        )

    # -- inside

    def _span_end(self) -> int:
        if not self._spans:
            return self.position_of(self._floor)
        return self._spans[-1].position + self._spans[-1].count

    def _place_of(self, position: int) -> Place:
        """The place just before a position that was read, or at the end of what was read."""
        at = bisect_right(self._spans, position, key=lambda span: span.position) - 1
        return self._spans[at].place_of(position) if at >= 0 else self._floor

    def _read_on_from(self, after: Place) -> None:
        """All before ``after`` is settled or handed out. Skips that follow on each other are one."""
        last, known = self.position_of(after), self._span_end()
        if last > known:
            before = self._place_of(known)
            if self._spans and self._spans[-1].after is not None:
                known, before = self._spans[-1].position, self._spans.pop().before
            self._spans.append(_Span(known, last - known, before, Lane.TENANT, after))
        if last >= self.position_of(self._place) and after.offset > self._place.offset:
            self._place = after
        self._raise_floor()

    def _drop(self, first: int, last: int) -> int:
        """One run for each stretch between what is handed out: of what is settled in it there may be very many."""
        before = self._settled.members()
        for start, end in list(self._taken.missing(first, last)):
            self._settled.add(start, end)
        dropped = self._settled.members() - before
        self._counters["dropped"] += dropped
        return dropped

    def _raise_floor(self) -> None:
        """Move the floor over everything settled that was read, and over foreign events when nothing is outstanding."""
        floor = self.position_of(self._floor)
        if self._settled and self._settled.first() == floor and self._span_end() > floor:
            high = min(next(iter(self._settled))[1], self._span_end())
            self._floor = self._place_of(high)
            self._settled.remove(floor, high)
            while self._spans and self._spans[0].position + self._spans[0].count <= high:
                self._spans.popleft()
        floor, place = self.position_of(self._floor), self.position_of(self._place)
        if floor == place and self._place.offset > self._floor.offset:
            self._floor = self._place
        elif place < floor:  # reading had gone back, and what lies between was settled before that
            self._place = self._floor
