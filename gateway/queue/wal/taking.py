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
        self.events_left = events_max
        self.bytes_left = bytes_max

    def full(self) -> bool:
        return self.events_left <= 0 or self.bytes_left <= 0

    def fit(self, lines: Sequence[bytes], payload_bytes: int) -> int:
        """How many of the lines still fit; at least one goes into an empty batch, however large."""
        count = min(len(lines), self.events_left)
        if payload_bytes <= self.bytes_left and count == len(lines):
            return count
        for index, size in enumerate(accumulate(map(len, lines[:count]))):
            if size > self.bytes_left:
                return max(index, 0 if self.lines else 1)
        return count

    def add(self, position: int, lines: Sequence[bytes], time_us: int) -> None:
        self.oldest_us = self.oldest_us or time_us
        self.positions += range(position, position + len(lines))
        self.lines += lines
        self.events_left -= len(lines)
        self.bytes_left -= sum(map(len, lines))

    def records(self) -> Records | None:
        return Records(self.positions, self.lines, self.oldest_us / 1e6) if self.lines else None
