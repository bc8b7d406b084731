"""Sets of integers that come in long runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence


class RangeSet:
    """Half-open ranges, disjoint, ascending and never adjacent. Costs grow with the number of runs, not of members."""

    __slots__ = ("_ends", "_members", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._members = 0
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number < self._ends[at]

    def runs(self) -> int:
        return len(self._starts)

    def members(self) -> int:
        return self._members

    def first(self) -> int:
        return self._starts[0]

    def add(self, start: int, end: int) -> None:
        if start >= end:
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._members += end - start - self._members_of(low, high)
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def remove(self, start: int, end: int) -> None:
        if start >= end:
            return
        low = bisect_right(self._ends, start)
        high = bisect_left(self._starts, end)
        if low >= high:
            return
        kept = [(self._starts[low], start), (end, self._ends[high - 1])]
        kept = [(first, last) for first, last in kept if first < last]
        self._members += sum(last - first for first, last in kept) - self._members_of(low, high)
        self._starts[low:high] = [first for first, _ in kept]
        self._ends[low:high] = [last for _, last in kept]

    def missing(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The runs of [start, end) that are not in the set."""
        at = bisect_right(self._ends, start)
        while start < end:
            next_start = self._starts[at] if at < len(self._starts) else end
            if start < next_start:
                yield start, min(next_start, end)
            if at == len(self._starts):
                return
            start = max(start, self._ends[at])
            at += 1

    def overlap(self, start: int, end: int) -> int:
        """How many members lie in [start, end). Costs the runs that lie inside, or outside where those are fewer."""
        low, high = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if start >= end or low >= high:
            return 0
        if high - low <= len(self._starts) // 2:
            whole = self._members_of(low, high)
        else:
            whole = self._members - self._members_of(0, low) - self._members_of(high, len(self._starts))
        return whole - max(0, start - self._starts[low]) - max(0, self._ends[high - 1] - end)

    def first_in(self, start: int, end: int) -> int | None:
        """The lowest member in [start, end)."""
        at = bisect_right(self._ends, start)
        if at == len(self._starts) or self._starts[at] >= end:
            return None
        return max(self._starts[at], start)

    def _members_of(self, low: int, high: int) -> int:
        """Those of the runs from one index to another."""
        return sum(self._ends[low:high]) - sum(self._starts[low:high])


def runs_of(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending distinct numbers as half-open runs."""
    if not numbers:
        return
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        yield numbers[0], numbers[-1] + 1
        return
    start = previous = numbers[0]
    for number in numbers[1:]:
        if number != previous + 1:
            yield start, previous + 1
            start = number
        previous = number
    yield start, previous + 1
