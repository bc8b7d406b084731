"""Names and keys that nobody can guess."""

from __future__ import annotations

import hashlib
import secrets
import string

API_KEY_PREFIX = "tl_live_"
API_KEY_CHARS = len(API_KEY_PREFIX) + 43

_ALPHABET = string.ascii_letters + string.digits
_ID_CHARS = 24  # of 62: 142 random bits
_PREFIX_CHARS = 12


def new_destination_id() -> str:
    return "siem_" + _random_text()


def new_key_id() -> str:
    return "key_" + _random_text()


def new_activity_id(at_s: float, number: int) -> str:
    """Ids of one process sort as they were made: by time, and by ``number`` within the same microsecond."""
    return f"act_{int(at_s * 1e6):016x}{number % (1 << 32):08x}" + _random_text()


def new_api_key() -> str:
    """``tl_live_`` and 256 random bits as 43 characters."""
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def api_key_digest(key: str) -> str:
    """SHA-256 in hex, the only thing about a key that is stored beside ``api_key_prefix``."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def api_key_prefix(key: str) -> str:
    """What may be shown of a generated key, so that its owner knows it again: 4 of its 43 random characters."""
    return key[:_PREFIX_CHARS]


def _random_text() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))
