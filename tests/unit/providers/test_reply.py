from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.codec import Delivered, Misconfigured, Outcome, Reply, Retry, Split
from gateway.providers.reply import (
    AFTER_S_MAX,
    body_words,
    by_status,
    http_date_s,
    read_json,
    retry_after_s,
    seconds_header,
    shown,
)
from tests.provider_cases import NOW_S, reply


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Delivered),
        (204, Delivered),
        (301, Misconfigured),
        (401, Misconfigured),
        (404, Misconfigured),
        (408, Retry),
        (413, Split),
        (418, Misconfigured),
        (425, Retry),
        (429, Retry),
        (500, Retry),
        (501, Misconfigured),
        (503, Retry),
        (599, Retry),
    ],
)
def test_every_status_has_a_verdict(status: int, kind: type[Outcome]) -> None:
    """Without a provider's own table the status decides."""
    assert isinstance(by_status(reply(status), NOW_S), kind)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("Tue, 30 Jun 2026 12:36:00 GMT", 60.0),
        ("Tue, 30 Jun 2026 12:00:00 GMT", 0.0),
        ("9" * 12, AFTER_S_MAX),
        ("9" * 500, None),
        ("-5", None),
        ("soon", None),
        ("", None),
    ],
)
def test_reads_retry_after(value: str, seconds: float | None) -> None:
    """Delta-seconds and HTTP-dates count, a date in the past is now, anything else is nothing."""
    assert retry_after_s(reply(429, retry_after=value), NOW_S) == seconds


def test_measures_a_retry_date_by_the_servers_clock() -> None:
    """Where the server says its own time, a wrong clock of ours does not matter."""
    answer = reply(429, retry_after="Tue, 30 Jun 2026 12:36:00 GMT", date="Tue, 30 Jun 2026 12:35:30 GMT")
    assert retry_after_s(answer, now_s=0.0) == 30.0


def test_a_throttled_retry_carries_the_wish() -> None:
    """429 with Retry-After asks for less concurrency and says when."""
    outcome = by_status(reply(429, retry_after="7"), NOW_S)
    assert isinstance(outcome, Retry)
    assert (outcome.throttled, outcome.after_s) == (True, 7.0)


def test_black_out_secrets_and_control_characters() -> None:
    """Words that are shown stand on one line, are cut, and hold no credential."""
    words = shown("bad token s3cret\r\nset-cookie: x\x00" + "y" * 900, ["s3cret", ""])
    assert words.startswith("bad token *** set-cookie: x y")
    assert len(words) == 500


def test_a_page_of_html_has_no_words() -> None:
    """An error page says nothing; a plain text does."""
    assert body_words(reply(502, b"<html><body>Bad gateway</body></html>")) == ""
    assert body_words(reply(400, b" no such field\n")) == "no such field"


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(["retry-after", "date", "x"]), st.text(max_size=40)))
def test_nothing_that_comes_back_raises(body: bytes, headers: dict[str, str]) -> None:
    """Hostile headers and bodies are read as nothing."""
    answer = Reply(429, headers, body)
    by_status(answer, NOW_S, words=body_words(answer))
    seconds_header(answer, "x")
    assert http_date_s(headers.get("date", "")) is None or headers["date"]
    read_json(body, dict)


def test_survives_deep_nesting() -> None:
    """A body that nests too deeply is unreadable, not a crash."""
    assert read_json(b"[" * 100_000 + b"]" * 100_000, dict) is None
