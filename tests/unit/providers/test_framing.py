from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.framing import cut, join_framed

SIZES = st.lists(st.integers(1, 60), max_size=40)


@given(SIZES, st.integers(1, 100), st.integers(1, 10))
def test_cuts_cover_everything_once_and_keep_the_limits(sizes: list[int], bytes_max: int, events_max: int) -> None:
    """Ranges follow each other without a hole; only a single item may be above the size."""
    ranges = list(cut(sizes, bytes_max=bytes_max, events_max=events_max))
    assert [at for start, stop in ranges for at in range(start, stop)] == list(range(len(sizes)))
    for start, stop in ranges:
        assert stop - start <= events_max
        assert sum(sizes[start:stop]) <= bytes_max or stop - start == 1


@given(SIZES, st.integers(1, 100), st.integers(1, 10))
def test_cuts_no_earlier_than_needed(sizes: list[int], bytes_max: int, events_max: int) -> None:
    """The first item of a range would not have fitted into the one before."""
    ranges = list(cut(sizes, bytes_max=bytes_max, events_max=events_max))
    for start, stop in ranges[:-1]:
        assert stop - start == events_max or sum(sizes[start : stop + 1]) > bytes_max


def test_joins_heads_lines_and_tails() -> None:
    """The last tail is another one."""
    assert join_framed([b"<1", b"<2"], [b"a", b"b"], tail=b">,", last=b">") == b"<1a>,<2b>"
