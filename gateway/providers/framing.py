"""Putting events into bodies: where to cut, and how to join without copying an event more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

GZIP_BYTES_MIN = 1024


def cut(sizes: Sequence[int], *, bytes_max: int, events_max: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges ``(start, stop)`` that keep both limits. What is too large for any range gets its own."""
    if sum(sizes) <= bytes_max and len(sizes) <= events_max:
        if sizes:
            yield 0, len(sizes)
        return
    start, total_bytes = 0, 0
    for at, size in enumerate(sizes):
        if at > start and (total_bytes + size > bytes_max or at - start >= events_max):
            yield start, at
            start, total_bytes = at, 0
        total_bytes += size
    yield start, len(sizes)


def join_framed(heads: Sequence[bytes], lines: Sequence[bytes], *, tail: bytes, last: bytes) -> bytes:
    """``head line tail head line tail …`` with ``last`` in place of the last tail, for at least one event."""
    parts = [tail] * (3 * len(lines))
    parts[0::3] = heads
    parts[1::3] = lines
    parts[-1] = last
    return b"".join(parts)
