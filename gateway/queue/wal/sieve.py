"""What a consumer's filter leaves out, booked before it is handed out. Plain: no I/O, no clock, no waiting.

Events are judged once: in memory as they come, ahead of the place of reading and whether or not anybody takes; on the
disk when they are read to be taken. What does not pass is settled at once, so that it waits for nobody and no crash
can part the settlement from its count.

Settled events ahead of the place are kept as runs. A filter that leaves out every second event makes one run of each:
beyond what there is room for (``RunBudget``) nothing is judged ahead, until some of them were taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.queue import Matcher
from gateway.queue.ranges import RangeSet, runs_of
from gateway.queue.wal.cursor import Cursor, Place
from gateway.queue.wal.feed import Feed
from gateway.queue.wal.writer import Frame

STEP_EVENTS = 1024  # judged at once: one to three milliseconds of work
_JUDGED_MIN = 64
_JUDGED_RUNS_MAX = 1024


class Sieve:
    """Owned by the event loop; one consumer's, for one filter.

    ``_judged`` are positions that need no second look. What was handed out under the filter before is not among them.
    """

    def __init__(
        self,
        matcher: Matcher,
        cursor: Cursor,
        feed: Feed,
        *,
        room_for_runs: Callable[[], int],
        mark_changed: Callable[[], None],
    ) -> None:
        self._matcher, self._cursor, self._feed = matcher, cursor, feed
        self._room_for_runs, self._mark_changed = room_for_runs, mark_changed
        self._reached = cursor.place
        self._judged = RangeSet()

    # -- ahead of the place

    def step(self, end: Place, *, until: Place | None = None) -> bool:
        """Judge some of what is in memory, up to ``end``, the present end of what is wanted, as long as there is room
        for the runs that it leaves. False when there is nothing more to judge now.

        With ``until`` all before that is judged, room or not: it is for what is no run in a moment.
        """
        self._keep_up(end)
        room = STEP_EVENTS if until is not None else min(STEP_EVENTS, 2 * self._room_for_runs())
        positions: list[int] = []
        lines: list[bytes] = []
        passed = 0
        first = self._cursor.position_of(self._reached)
        while passed < room:
            found = self._feed.next_in_memory(self._reached, until or end)
            if found is None:
                break
            lane, frame = found
            sequence = self._feed.sequence(lane, frame)
            line = self._reached.sequence(lane) - sequence
            behind = min(frame.count, line + room - passed)
            known = self._feed.lines_ahead(frame)
            self._gather(known, self._cursor.position_of(self._reached), line, behind, positions, lines)
            self._reached = self._reached.passed(lane, sequence + behind, frame.first_offset + behind)
            passed += behind - line
        self._leave_out(positions, lines)
        self._note_judged(first, first + passed)
        return 0 < room <= passed

    # -- at the place

    def judge(self, frame: Frame, line: int, events_max: int) -> int:
        """Judge events of the frame that is read now, from ``line`` on, which is that of the cursor's place.

        Returns the line up to which all of them are judged. Of those that were not, no more than about ``events_max``
        are: it is as many as there is room for.
        """
        position = self._cursor.position_of(self._cursor.place)
        unknown = next(self._judged.missing(position, position + frame.count - line), None)
        if unknown is None:
            return frame.count
        first, last = unknown
        if first > position:
            return line + first - position
        last = min(last, first + min(max(events_max, _JUDGED_MIN), STEP_EVENTS))
        positions: list[int] = []
        lines: list[bytes] = []
        self._gather(self._feed.lines(frame), first, line, line + last - first, positions, lines)
        self._leave_out(positions, lines)
        self._note_judged(first, last)
        return line + last - first

    def last_passing(self, frame: Frame) -> bytes | None:
        """The last of the frame's events that passes; None where there is none among its last ones."""
        lines = self._feed.lines_ahead(frame)[-STEP_EVENTS:]
        passing = [line for line, passes in zip(lines, self._matcher(lines), strict=True) if passes]
        return passing[-1] if passing else None

    # -- inside

    def _keep_up(self, end: Place) -> None:
        """Go on where reading is, or where memory begins, when that is farther."""
        for place in (self._cursor.place, self._feed.memory_start(end)):
            if place.offset > self._reached.offset:
                self._reached = place

    def _gather(
        self, known: Sequence[bytes], position: int, line: int, behind: int, positions: list[int], lines: list[bytes]
    ) -> None:
        """Add what waits of a frame's lines from ``line``, which is at ``position``, to ``behind``."""
        for low, high in self._cursor.waiting(position, position + behind - line):
            positions += range(low, high)
            lines += known[line + low - position : line + high - position]

    def _leave_out(self, positions: Sequence[int], lines: Sequence[bytes]) -> None:
        verdicts = self._matcher(lines) if lines else []
        if all(verdicts):
            return
        left_out = [position for position, passes in zip(positions, verdicts, strict=True) if not passes]
        for low, high in runs_of(left_out):
            self._cursor.leave_out(low, high)
        self._mark_changed()

    def _note_judged(self, first: int, last: int) -> None:
        if self._cursor.any_taken(first, last):
            return  # perhaps under the filter before: it is to be judged once it comes back
        self._judged.remove(0, self._cursor.position_of(self._cursor.floor))
        self._judged.add(first, last)
        if self._judged.runs() > _JUDGED_RUNS_MAX:
            self._judged = RangeSet()  # what is read again then is judged again
