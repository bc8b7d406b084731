"""The cursor against a model: any order of taking, settling, giving back, dropping and crashing."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.queue import Counters, Subject, SubjectKind
from gateway.queue.wal.cursor import Cursor, CursorState, Lane, Place
from gateway.queue.wal.writer import Frame

LANE = Lane.TENANT
START = Place(0, 0, 0, 0)


class CursorMachine(RuleBasedStateMachine):
    """Positions are those of the only lane: the oracle knows for each whether it ended, and which are handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.cursor = Cursor(CursorState("siem_a", "a", START, START, [], Counters()))
        self.ended: set[int] = set()
        self.batches: list[list[int]] = []
        self.saved = self.cursor.state(whole=True)
        self.saved_ended: set[int] = set()

    @property
    def end(self) -> int:
        return self.frames[-1].end_offset if self.frames else 0

    def waiting(self) -> set[int]:
        return set(range(self.end)) - self.ended - set(itertools.chain.from_iterable(self.batches))

    @rule(count=st.integers(1, 6))
    def append(self, count: int) -> None:
        frame = Frame(Subject(SubjectKind.TENANT, "a"), self.end, self.end, self.end, count, 0, b"\n" * (count - 1))
        self.frames.append(frame)

    @rule(room=st.integers(1, 12))
    def take(self, room: int) -> None:
        batch: list[int] = []
        while len(batch) < room and (frame := self.frame_at(self.cursor.place.tenant)) is not None:
            taken, line_end = [], frame.count
            for item in self.cursor.offer(LANE, frame, frame.sequence):
                fitting = min(item.end - item.start, room - len(batch))
                batch += range(item.position, item.position + fitting)
                if fitting:
                    taken.append(type(item)(frame, item.start, item.start + fitting, item.position))
                if fitting < item.end - item.start:
                    line_end = item.start + fitting
                    break
            self.cursor.take(LANE, frame, frame.sequence, taken, line_end)
        handed_out = set(itertools.chain.from_iterable(self.batches))
        assert not handed_out.intersection(batch)
        assert not self.ended.intersection(batch), "a settled event was handed out again"
        if batch:
            self.batches.append(batch)

    def frame_at(self, sequence: int) -> Frame | None:
        return next((frame for frame in self.frames if sequence < frame.end_offset), None)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), whole=st.booleans())
    def settle(self, data: st.DataObject, whole: bool) -> None:
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        chosen = batch if whole else sorted(data.draw(st.sets(st.sampled_from(batch))))
        self.cursor.settle(chosen, "delivered")
        self.ended.update(chosen)
        self.cursor.release([position for position in batch if position not in self.ended])

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.cursor.release(self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1))))

    @rule()
    def drop(self) -> None:
        waiting = self.waiting()
        assert self.cursor.skip_to(Place(self.end, self.end, 0, 0)) == len(waiting)
        self.ended |= waiting

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def leave_out(self, data: st.DataObject) -> None:
        """Some of what waits, at the place or ahead of it."""
        for position in data.draw(st.sets(st.sampled_from(sorted(self.waiting())))):
            self.cursor.leave_out(position, position + 1)
            self.ended.add(position)

    @rule()
    def pass_settled(self) -> None:
        place = self.cursor.position_of(self.cursor.place)
        may_pass = place < self.end and self.ended.issuperset(range(place, self.end))
        assert self.cursor.pass_settled(Place(self.end, self.end, 0, 0)) == may_pass
        if may_pass:
            assert self.cursor.place.tenant == self.end

    @rule()
    def checkpoint(self) -> None:
        self.saved, self.saved_ended = self.cursor.state(whole=True), set(self.ended)

    @rule(letters=st.sets(st.integers(0, 200), max_size=5))
    def crash(self, letters: set[int]) -> None:
        """Back to the checkpoint; some events behind it are found among the dead letters."""
        found = {position for position in letters if position < self.end}
        self.cursor = Cursor(self.saved)
        self.cursor.restore_dead_lettered(sorted(found - self.saved_ended))
        self.ended = self.saved_ended | found
        self.batches = []

    @invariant()
    def counts_are_exact(self) -> None:
        counters = self.cursor.counters
        counted = counters.delivered + counters.dead_lettered + counters.dropped + counters.filtered
        assert counted == self.cursor.settled_total() == len(self.ended)
        floor = self.cursor.position_of(self.cursor.floor)
        assert self.ended.issuperset(range(floor))
        assert self.cursor.position_of(self.cursor.place) >= floor

    def teardown(self) -> None:
        for batch in self.batches:
            self.cursor.release(batch)
        self.batches = []
        self.take(1_000_000)
        assert self.ended.union(*self.batches) == set(range(self.end)), "an event was never handed out"
        assert self.cursor.untaken(Place(self.end, self.end, 0, 0)) == 0


TestCursorModel = CursorMachine.TestCase
TestCursorModel.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
