"""Putting events into bodies: where to cut, and how to join without copying an event more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

GZIP_BYTES_MIN = 1024

Column = bytes | Sequence[bytes]


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


def bodies(
    columns: Sequence[Column], count: int, *, last: bytes, bytes_max: int, events_max: int
) -> Iterator[tuple[int, int, bytes]]:
    """``(start, stop, body)`` of the ranges into which ``count`` rows are cut; see ``join_rows`` and ``cut``.

    Nearly always one body holds them all, and then no row is measured.
    """
    if 0 < count <= events_max:
        body = join_rows(columns, 0, count, last=last)
        if len(body) <= bytes_max or count == 1:
            yield 0, count, body
            return
    sizes = [sum(map(len, row)) for row in zip(*(_filled(column, count) for column in columns), strict=True)]
    for start, stop in cut(sizes, bytes_max=bytes_max, events_max=events_max):
        yield start, stop, join_rows(columns, start, stop, last=last)


def join_rows(columns: Sequence[Column], start: int, stop: int, *, last: bytes, first: bytes = b"") -> bytes:
    """``first``, then the rows from ``start`` to ``stop`` one behind another, each one value of every column in turn.

    A column that is one ``bytes`` has it in every row. ``last`` takes the place of the last value of all.
    """
    width, count = len(columns), stop - start
    parts: list[bytes] = [first] * (width * count + 1)
    for at, column in enumerate(columns, 1):
        parts[at::width] = [column] * count if isinstance(column, bytes) else column[start:stop]
    parts[-1] = last
    return b"".join(parts)


def _filled(column: Column, count: int) -> Sequence[bytes]:
    return [column] * count if isinstance(column, bytes) else column
