"""What one ``take`` hands out: events of several frames, within a number of events and of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from gateway.queue import Records


class Taking:
    """What one ``take`` gathers, and how much room is left in it."""

    def __init__(self, events_max: int, bytes_max: int) -> None:
        self.positions: list[int] = []
        self.lines: list[bytes] = []
        self.oldest_us = 0
        self.passed = 0  # events that were read past and not handed out: settled before, or left out by the filter
        self.events_left = events_max
        self.bytes_left = bytes_max

    def full(self) -> bool:
        return self.events_left <= 0 or self.bytes_left <= 0

    def add(self, position: int, lines: Sequence[bytes], time_us: int) -> int:
        """Add the first of the lines, as many as there is room for, and return how many. One goes into an empty batch,
        however large.
        """
        if len(lines) > self.events_left:
            lines = lines[: self.events_left]
        size = sum(map(len, lines))
        if size > self.bytes_left:
            lines = lines[: self._fitting(lines)]
            size = sum(map(len, lines))
        if lines:
            self.oldest_us = self.oldest_us or time_us
            self.positions += range(position, position + len(lines))
            self.lines += lines
            self.events_left -= len(lines)
            self.bytes_left -= size
        return len(lines)

    def _fitting(self, lines: Sequence[bytes]) -> int:
        """How many of the lines have room, where not all have."""
        sizes = enumerate(accumulate(map(len, lines)))
        index = next((index for index, size in sizes if size > self.bytes_left), 0)
        return max(index, 0 if self.lines else 1)

    def records(self) -> Records | None:
        return Records(self.positions, self.lines, self.oldest_us / 1e6) if self.lines else None
