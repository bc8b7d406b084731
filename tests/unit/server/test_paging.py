"""Cursors that a caller sends."""

from __future__ import annotations

import base64

import pytest

from gateway.errors import RequestRejected
from gateway.server import paging

PLACES = [(0.0, "key_bootstrap"), (1_782_822_896.789, "siem_" + "Az9" * 8), (1e16, "act_1"), (5e-324, "a-b")]


@pytest.mark.parametrize(("at_s", "item_id"), PLACES)
def test_a_cursor_says_where_a_page_ended(at_s: float, item_id: str) -> None:
    """Time, to the last bit, and id."""
    assert paging.read(paging.cursor(at_s, item_id)) == (at_s, item_id)


def test_without_one_a_list_begins_at_its_start() -> None:
    """None is no place."""
    assert paging.read(None) is None


def encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


NO_BASE64 = ("", "x", "nonsense!", "Zm9v", "ä", "\ud800", "\x00", " " + encoded(b"1.0 act_1"))
NO_ID = (b"1.0 ", b"1.0 \x00", b"1.0 act_\x00", b"1.0 act_\xff", b"1.0 \xed\xa0\x80", b"1.0 \xc3\xa4", b"1.0 act_1\n")
NO_TIME = (b" act_1", b"nan act_1", b"inf act_1", b"1e999 act_1", b"-1e999 act_1", b"1.0.0 act_1", b"1_0 act_1")
TOO_LONG = (b"9" * 5_000 + b" act_1", b"1.0 " + b"a" * 129)


@pytest.mark.parametrize("text", [*NO_BASE64, *map(encoded, (*NO_ID, *NO_TIME, *TOO_LONG))], ids=ascii)
def test_what_no_page_gave_is_refused(text: str) -> None:
    """400, whether it is no base64, no text, no time, or an id that nothing has."""
    with pytest.raises(RequestRejected) as refused:
        paging.read(text)
    assert (refused.value.status, refused.value.errors[0][0]) == (400, "cursor")
