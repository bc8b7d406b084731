"""Counting the events of a directory at rest."""

from __future__ import annotations

import tracemalloc

from gateway.queue import Counters, Subject, SubjectKind
from gateway.queue.wal import record
from gateway.queue.wal.census import Census, Hole
from gateway.queue.wal.cursor import CursorState, Place

A = Subject(SubjectKind.TENANT, "a")


def add(census: Census, sequence: int, *, offset: int) -> None:
    """A frame of one event."""
    frame = record.encode(
        seed=0,
        kind=record.Kind.EVENTS,
        subject=A,
        payload=b"",
        events=1,
        sequence=sequence,
        stream_sequence=sequence,
        first_offset=offset,
    )
    header = record.decode_header(b"".join(frame), 0, 0)
    assert header is not None
    assert census.add(header, A)


def holes(census: Census, floor: int) -> list[Hole]:
    place = Place(0, floor, 0, 0)
    return list(census.holes(CursorState("siem_1", "a", place, place, [], Counters())))


def test_what_is_missing_lies_between_the_frames_around_it() -> None:
    """Frames of others between them make no difference, nor does where the destination stands."""
    census = Census()
    for sequence in (0, 1, 2, 5, 6, 9):
        add(census, sequence, offset=10 * sequence)
    assert holes(census, 0) == [Hole(A, 2, 21, 50), Hole(A, 2, 61, 90)]
    assert holes(census, 4) == [Hole(A, 1, 21, 50), Hole(A, 2, 61, 90)]
    assert holes(census, 9) == []


def test_frames_without_a_hole_take_no_memory() -> None:
    """A large log has many millions of them."""
    census = Census()
    tracemalloc.start()
    try:
        for sequence in range(10_000):
            add(census, sequence, offset=2 * sequence)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 100_000
