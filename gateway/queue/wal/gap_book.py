"""What one consumer does not get, booked as gaps: what is dropped, and what damage on the disk took."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.queue import Gap, GapReason
from gateway.queue.wal.cursor import Cursor, Lane, Place
from gateway.queue.wal.feed import Feed, event_id
from gateway.queue.wal.reader import Lost, where
from gateway.queue.wal.writer import Frame


class GapBook:
    """Owned by the event loop. Settles what is lost in the same step in which it books it."""

    def __init__(
        self,
        cursor: Cursor,
        feed: Feed,
        *,
        intake_end: Callable[[], Place],
        mark_changed: Callable[[], None],
        now_s: Callable[[], float],
    ) -> None:
        self._cursor, self._feed = cursor, feed
        self._intake_end, self._mark_changed, self._now_s = intake_end, mark_changed, now_s
        self._last_end = -1
        self._last_damaged: Sequence[Lost] = ()

    def book(
        self,
        reason: GapReason,
        count: int,
        begins_at: int,
        detail: str,
        *,
        first: tuple[Frame, bytes] | None = None,
        last: tuple[Frame, bytes | None] | None = None,
        times_s: Sequence[float] = (),
    ) -> None:
        """A gap from position ``begins_at`` to the place. ``first`` and ``last`` are its outer events with their
        frames; ``times_s`` what is known of when events were accepted where those are not known.
        """
        now_s = self._now_s()
        known_s = [edge[0].time_us / 1e6 for edge in (first, last) if edge] or list(times_s) or [now_s]
        first_line, last_line = first[1] if first else None, last[1] if last else None
        gap = Gap(
            reason=reason,
            count=count,
            first_time_s=min(known_s),  # between two starts the clock may have been set back
            last_time_s=max(known_s),
            first_id=event_id(first_line) if first_line else None,
            last_id=event_id(last_line) if last_line else None,
            recorded_at_s=now_s,
            detail=detail,
        )
        self._cursor.book_gap(gap, extends=self._last_end == begins_at and reason is not GapReason.CORRUPT)
        self._last_end = self._cursor.position_of(self._cursor.place)

    def book_loss(self, lane: Lane) -> None:
        """Everything readable before the memory was read, and the lane's next events were not in it."""
        sequence = self._cursor.place.sequence(lane)
        frame = self._feed.in_memory(lane, sequence)
        end = self._intake_end()
        until = self._feed.sequence(lane, frame) if frame is not None else end.sequence(lane)
        offset = frame.first_offset if frame is not None else end.offset
        self.lose(lane, until, offset, frame)

    async def book_losses_before(self, lane: Lane, frame: Frame) -> bool:
        """Damage before this frame may have taken events of the other lanes, too. They are booked first: positions
        follow the order of the log, and what was settled before a restart is known by its position alone.

        True when the place of reading has moved.
        """
        damaged = self._feed.lost_between(self._cursor.place.offset, frame.first_offset)
        booked = False
        for other in Lane if damaged else ():
            place, end = self._cursor.place, self._intake_end().sequence(other)
            sequence = place.sequence(other)
            if other is lane or sequence >= end:
                continue
            following = await self._feed.first_behind(other, place)
            if self._cursor.place != place:
                return True  # events were dropped meanwhile
            until = end if following is None else min(self._feed.sequence(other, following), end)
            if until > sequence:
                self.lose(other, until, place.offset + until - sequence, following, damaged)
                booked = True
        return booked

    def lose(self, lane: Lane, until: int, offset: int, following: Frame | None, damaged: Sequence[Lost] = ()) -> None:
        """The lane's next events, up to ``until``, cannot be read. ``following`` is the frame behind them."""
        begins_at = self._cursor.position_of(self._cursor.place)
        first = self._cursor.place.sequence(lane)
        damaged = damaged or self._feed.lost_between(self._cursor.place.offset, offset)
        if not damaged and begins_at == self._last_end:  # the place is behind the damage that took another lane's, too
            damaged = self._last_damaged
        lost = self._cursor.lose(lane, until, offset)
        if lost:
            subject = self._feed.lanes[lane]
            what = f"events {first} to {until - 1} of {subject.kind.name.lower()} {subject.name} could not be read: "
            times_s = [item.time_us / 1e6 for item in damaged if item.time_us]
            times_s += [following.time_us / 1e6] if following is not None and not times_s else []
            self.book(GapReason.CORRUPT, lost, begins_at, what + where(damaged), times_s=times_s)
            self._last_damaged = damaged
        self._mark_changed()
