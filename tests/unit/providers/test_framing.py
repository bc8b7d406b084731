from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.framing import bodies, cut, join_rows

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


ROWS = st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=40)


@given(ROWS, st.integers(1, 100), st.integers(1, 10))
def test_bodies_are_the_rows_of_their_ranges(rows: list[tuple[bytes, bytes]], bytes_max: int, events_max: int) -> None:
    """Every body keeps the limits, unless it is one row; together they hold every row once and in order."""
    columns = ([head for head, _ in rows], b":", [line for _, line in rows], b",\n")
    end = 0
    for start, stop, body in bodies(columns, len(rows), last=b",", bytes_max=bytes_max, events_max=events_max):
        assert start == end
        assert body + b"\n" == b"".join(b"%b:%b,\n" % row for row in rows[start:stop])
        assert stop - start <= events_max
        assert len(body) <= bytes_max or stop - start == 1
        end = stop
    assert end == len(rows)


def test_joins_rows() -> None:
    """What comes first and what comes last is not that of the other rows."""
    assert join_rows(([b"1", b"2", b"3"], b"=", [b"a", b"b", b"c"], b","), 1, 3, first=b"<", last=b">") == b"<2=b,3=c>"
