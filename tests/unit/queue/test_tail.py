"""The newest frames in memory."""

from __future__ import annotations

import sys

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal.tail import MemoryTail
from gateway.queue.wal.writer import Frame


def test_what_is_forgotten_is_held_by_nothing() -> None:
    """Of each of many tenants not even the last few frames stay beyond the bound: their bytes are let go at once."""
    tail = MemoryTail(100_000, 0)
    payloads = [bytes(10_000) for _ in range(60)]
    alone = sys.getrefcount(payloads[0])
    for number, payload in enumerate(payloads):
        subject = Subject(SubjectKind.TENANT, f"tenant-{number % 3}")
        tail.append(Frame(subject, number, number // 3, number, 1, 0, payload))
    assert tail.first_offset > 40
    forgotten = payloads[: tail.first_offset]
    assert {sys.getrefcount(payload) for payload in forgotten} == {alone + 2}  # the list and the name
    kept = tail.of_tenant(ALL_TENANTS).since(tail.first_offset)
    assert kept is not None
    assert [frame.payload for frame in kept] == payloads[tail.first_offset :]
