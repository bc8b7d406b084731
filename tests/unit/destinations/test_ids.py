"""Ids and API keys: their form, and what of a key is kept."""

from __future__ import annotations

import hashlib
import re

from gateway.destinations.ids import api_key_digest, api_key_prefix, new_api_key, new_destination_id, new_key_id


def test_ids_have_the_promised_form() -> None:
    """A destination's id is siem_ and 20 characters or more, letters and digits, and never the same twice."""
    ids = {new_destination_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"siem_[A-Za-z0-9]{22,}", text) for text in ids)
    assert re.fullmatch(r"key_[A-Za-z0-9]{22,}", new_key_id())


def test_a_key_holds_256_random_bits() -> None:
    """tl_live_ and 43 URL-safe characters, no two alike."""
    keys = {new_api_key() for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(r"tl_live_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_only_digest_and_prefix_are_kept_of_a_key() -> None:
    """SHA-256 in hex, and the first 12 characters."""
    key = "tl_live_" + "a" * 43
    assert api_key_digest(key) == hashlib.sha256(key.encode()).hexdigest()
    assert api_key_prefix(key) == "tl_live_aaaa"


def test_what_is_no_text_has_a_digest_too() -> None:
    """A header may hold any bytes; they meet no key and raise nothing."""
    assert len(api_key_digest(b"\xff\xfe".decode("utf-8", "surrogateescape"))) == 64
