from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.timestamp import PerSecond, epoch_micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-06-30T12:34:56.789Z", 1_782_822_896_789_000),
        ("2026-06-30T12:34:56Z", 1_782_822_896_000_000),
        ("2026-06-30t12:34:56.5z", 1_782_822_896_500_000),
        ("2026-06-30 18:04:56.789+05:30", 1_782_822_896_789_000),
        ("2026-06-30T04:34:56.789-08:00", 1_782_822_896_789_000),
        ("2026-06-30T12:34:56.123456789Z", 1_782_822_896_123_456),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2016-12-31T23:59:60.25Z", 1_483_228_800_250_000),
        ("1969-12-31T23:59:59.5Z", -500_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000),
    ],
)
def test_reads_every_form_of_rfc3339(text: str, micros: int) -> None:
    """Offsets, any fraction, leap seconds and years outside datetime's range become exact microseconds."""
    assert epoch_micros(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-06-30T12:34:56",
        "2026-02-30T00:00:00Z",
        "2026-06-30T24:00:00Z",
        "2026-06-30T12:60:00Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_says_none_for_what_is_no_time(text: str) -> None:
    """A text that is no RFC 3339 time is None, not an exception."""
    assert epoch_micros(text) is None


@given(st.integers(-62_135_510_400, 253_402_127_999), st.integers(0, 999_999), st.integers(-1439, 1439))
def test_agrees_with_datetime(seconds: int, micros: int, offset_minutes: int) -> None:
    """Whatever datetime writes down, in any zone, is read back as the same microseconds."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=micros)
    text = moment.astimezone(timezone(timedelta(minutes=offset_minutes))).isoformat()
    assert epoch_micros(text) == seconds * 1_000_000 + micros


@given(st.text(max_size=40))
def test_never_raises(text: str) -> None:
    """No text makes it raise."""
    assert epoch_micros(text) is None or text.isascii()


def test_works_a_second_out_once() -> None:
    """A second that was looked up is not worked out again; what is no time is handed on as None."""
    seen: list[int | None] = []

    def work_out(second: int | None) -> int:
        seen.append(second)
        return len(seen)

    seconds = PerSecond(work_out)
    assert [seconds[text] for text in ("2026-06-30T12:34:56", "nonsense", "2026-06-30T12:34:56")] == [1, 2, 1]
    assert seen == [1_782_822_896, None]
