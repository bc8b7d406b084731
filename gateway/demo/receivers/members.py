"""Where members and values stand in JSON text, to take an event out of an envelope as the bytes that it was."""

from __future__ import annotations

import json
from collections.abc import Iterator

_decode_value = json.JSONDecoder().raw_decode
_WHITE_SPACE = " \t\r\n"


def top_level_members(text: str) -> Iterator[tuple[str, int, int]]:
    """``(key, start of the key's quotation mark, end of the value)``. Raises ValueError where it is not an object."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("not an object")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        start = at
        key, at = _decode_value(text, at)
        at = _skip(text, at)
        if not isinstance(key, str) or text[at : at + 1] != ":":
            raise ValueError("not a member")
        _, end = _decode_value(text, _skip(text, at + 1))
        yield key, start, end
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)


def split_values(text: str) -> Iterator[str]:
    """The JSON values that stand one after another. Raises ValueError at the first that is none."""
    at = _skip(text, 0)
    while at < len(text):
        _, end = _decode_value(text, at)
        yield text[at:end]
        at = _skip(text, end)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITE_SPACE:
        at += 1
    return at
