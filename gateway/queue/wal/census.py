"""The books of a directory at rest, from its files alone: the events that are really in the segments, counted frame by
frame, against what the checkpoints say of each consumer. Plain: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gateway.queue import ALL_TENANTS, Gap, Subject
from gateway.queue.ranges import RangeSet
from gateway.queue.wal import record
from gateway.queue.wal.cursor import CursorState, Lane
from gateway.queue.wal.writer import Numbers

EVERYBODY = Subject(Lane.TENANT, ALL_TENANTS)


class Books(msgspec.Struct, frozen=True):
    """One consumer's, as of the last checkpoint. ``accepted`` is what the log gave it, by the log's own numbers.

    ``unreadable`` events behind the floor are in no sound frame; some may be settled out of order. ``imbalance`` is
    what the two sides disagree about: events that the cursor passed against those that the counters know, dropped ones
    against those in gaps, and what a count is below zero.
    """

    id: str
    tenant_id: str
    floor_offset: int
    accepted: int
    delivered: int
    dead_lettered: int
    dropped: int
    filtered: int
    pending: int
    unreadable: int
    gaps: int
    imbalance: int
    balanced: bool


class Hole(msgspec.Struct, frozen=True):
    """Events that a consumer still needs and that no sound frame has, between two offsets of the log."""

    subject: Subject
    events: int
    first_offset: int
    end_offset: int


class Census:
    """Feed it every sound frame in the order of the log, then ask."""

    def __init__(self) -> None:
        self.numbers = Numbers()
        self._present: dict[Subject, RangeSet] = {EVERYBODY: RangeSet()}
        self._places: dict[Subject, list[tuple[int, int]]] = {EVERYBODY: []}  # (sequence, offset) at the edges of holes

    def add(self, header: record.Header, subject: Subject) -> bool:
        """Count a frame in. False when some of its numbers were used by a frame before."""
        end_offset = header.first_offset + header.events
        of_tenant = subject.kind is Lane.TENANT
        stream_end = header.stream_sequence + header.events if of_tenant else 0
        self.numbers.raise_to(Numbers(end_offset, stream_end, {subject: header.sequence + header.events}))
        fresh = self._add(subject, header.sequence, header)
        return (not of_tenant or self._add(EVERYBODY, header.stream_sequence, header)) and fresh

    def _add(self, subject: Subject, sequence: int, header: record.Header) -> bool:
        present = self._present.setdefault(subject, RangeSet())
        end = sequence + header.events
        fresh = not present.overlap(sequence, end)
        present.add(sequence, end)
        places = self._places.setdefault(subject, [])
        if places and places[-1][0] == sequence:
            places.pop()  # what lies between frames that adjoin is nobody's edge, and there may be millions
        else:
            places.append((sequence, header.first_offset))
        places.append((end, header.first_offset + header.events))
        return fresh

    def knows(self, subject: Subject) -> bool:
        return subject in self.numbers.next_sequence

    def books(self, state: CursorState, gaps: Mapping[int, Gap], holes: Iterable[Hole]) -> Books:
        start, floor, counters = state.start, state.floor, state.counters
        replays = self._end(state, Lane.REPLAY) - start.replay - state.accepted_replays
        begun = start.tenant + start.backfill + start.replay
        end = sum(self._end(state, lane) for lane in Lane)
        out_of_order = sum(high - low for low, high in state.settled)
        passed = floor.tenant + floor.backfill + floor.replay - begun + out_of_order
        settled = counters.delivered + counters.dead_lettered + counters.dropped + counters.filtered
        dead_lettered, pending = counters.dead_lettered - replays, end - begun - passed
        in_gaps = sum(gap.count for gap in gaps.values())
        imbalance = passed - settled or counters.dropped - in_gaps or min(0, dead_lettered, pending)
        return Books(
            id=state.consumer_id,
            tenant_id=state.tenant_id,
            floor_offset=floor.offset,
            accepted=end - begun - replays,
            delivered=counters.delivered,
            dead_lettered=dead_lettered,
            dropped=counters.dropped,
            filtered=counters.filtered,
            pending=pending,
            unreadable=sum(hole.events for hole in holes),
            gaps=len(gaps),
            imbalance=imbalance,
            balanced=imbalance == 0,
        )

    def holes(self, state: CursorState) -> Iterator[Hole]:
        for lane in Lane:
            subject = _subject(state, lane)
            present = self._present.get(subject, RangeSet())
            for low, high in present.missing(state.floor.sequence(lane), self._end(state, lane)):
                places = self._places.get(subject, [])
                before = max((offset for sequence, offset in places if sequence <= low), default=0)
                behind = min((offset for sequence, offset in places if sequence >= high), default=1 << 63)
                yield Hole(subject, high - low, before, behind)

    def _end(self, state: CursorState, lane: Lane) -> int:
        """The end of what the consumer is to get of a lane."""
        floor = state.floor.sequence(lane)
        if lane is Lane.TENANT and state.end is not None:
            return max(state.end.tenant, floor)
        if lane is Lane.TENANT and state.tenant_id == ALL_TENANTS:
            return max(self.numbers.next_stream_sequence, floor)
        return max(self.numbers.next_sequence.get(_subject(state, lane), 0), floor)


def _subject(state: CursorState, lane: Lane) -> Subject:
    return Subject(lane, state.tenant_id if lane is Lane.TENANT else state.consumer_id)
