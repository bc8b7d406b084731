from __future__ import annotations

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
    assert ranges.overlap(5, 50) == len(model & set(range(5, 50)))
    assert ranges.first_in(5, 50) == min(model & set(range(5, 50)), default=None)
    assert all((n in ranges) == (n in model) for n in range(85))


def test_adjacent_ranges_become_one() -> None:
    """A set that is filled out of order ends as one run."""
    ranges = RangeSet([(0, 2), (4, 6)])
    ranges.add(2, 4)
    assert list(ranges) == [(0, 6)]
