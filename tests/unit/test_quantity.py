from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quantity import format_bytes, format_seconds, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("5m", 300),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1.5 h", 5_400),
        ("3", 3),
        (0.25, 0.25),
    ],
)
def test_durations_are_read_as_people_write_them(text: object, seconds: float) -> None:
    """Every unit, a fraction, a bare number and a number of TOML give the right number of seconds."""
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 << 20),
        ("10GB", 10**10),
        ("10gb", 10**10),
        ("1.5KiB", 1_536),
        ("17", 17),
        (17, 17),
        ("2 TiB", 2 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: object, size: int) -> None:
    """Powers of 1024 and of 1000 are told apart, and a bare number is bytes."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "value", ["", "ten", "10 parsecs", "-5s", "1e3s", True, None, float("nan"), float("inf"), -1, [1], "9" * 400]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    """Nothing is guessed: an unknown unit, a sign, or a value that is no number raises, for sizes too."""
    with pytest.raises(ValueError, match=r"not|neither"):
        parse_seconds(value)
    with pytest.raises(ValueError, match=r"not|neither"):
        parse_bytes(value)


def test_a_size_must_be_whole_bytes() -> None:
    """Half a byte is refused, not rounded."""
    with pytest.raises(ValueError, match="whole number"):
        parse_bytes("0.5B")


@given(st.integers(min_value=0, max_value=10**9))
def test_formatted_durations_read_back(milliseconds: int) -> None:
    """What is printed for a duration gives the same duration when it is read."""
    assert parse_seconds(format_seconds(milliseconds / 1_000)) == pytest.approx(milliseconds / 1_000, rel=1e-9)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_formatted_sizes_read_back(size: int) -> None:
    """What is printed for a size gives the same size when it is read."""
    assert parse_bytes(format_bytes(size)) == size
