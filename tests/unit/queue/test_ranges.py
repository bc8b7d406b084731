from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.queue.ranges import RangeSet, runs_of

Operations = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 60), st.integers(0, 20)), max_size=40
)


@given(Operations)
def test_behaves_like_a_set_of_integers(operations: list[tuple[str, int, int]]) -> None:
    """Whatever is added and removed, members, runs and holes are those of a plain set."""
    ranges, model = RangeSet(), set[int]()
    for name, start, length in operations:
        numbers = range(start, start + length)
        if name == "add":
            ranges.add(start, start + length)
            model.update(numbers)
        else:
            ranges.remove(start, start + length)
            model.difference_update(numbers)
        assert [n for low, high in ranges for n in range(low, high)] == sorted(model)
        assert ranges.members() == len(model)
        assert list(ranges) == list(runs_of(sorted(model)))
    assert [n for low, high in ranges.missing(5, 50) for n in range(low, high)] == [
        n for n in range(5, 50) if n not in model
    ]
    for start, end in ((5, 50), (0, 90), (20, 22), (30, 30), (31, 30)):
        assert ranges.overlap(start, end) == len(model & set(range(start, end)))
    assert ranges.first_in(5, 50) == min(model & set(range(5, 50)), default=None)
    assert all((n in ranges) == (n in model) for n in range(85))


def test_adjacent_ranges_become_one() -> None:
    """A set that is filled out of order ends as one run."""
    ranges = RangeSet([(0, 2), (4, 6)])
    ranges.add(2, 4)
    assert list(ranges) == [(0, 6)]


class Watched(list[int]):
    """Counts what is read of it."""

    read = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.read += len(found) if isinstance(at, slice) else 1
        return found


def test_counting_members_costs_little_where_most_of_them_are_counted() -> None:
    """Who asks again and again how many wait behind a place asks of all runs but a few."""
    ranges = RangeSet((number, number + 1) for number in range(0, 8192, 2))
    starts, ends = Watched(ranges._starts), Watched(ranges._ends)
    ranges._starts, ranges._ends = starts, ends
    assert ranges.overlap(21, 9000) == 4096 - 11
    assert ranges.overlap(0, 8180) == 4096 - 6
    assert ranges.overlap(4000, 4020) == 10
    assert ranges.members() == 4096
    assert starts.read + ends.read < 300
