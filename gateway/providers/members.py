"""Top-level members of an event, found and renamed in its bytes without touching anything else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import msgspec

# A string with the colon that makes it a key, or a bracket: all that is needed to follow the nesting of valid JSON.
_TOKEN = re.compile(rb'("(?:[^"\\]|\\.)*+")(\s*+:)?|[{\[]|[}\]]', re.DOTALL)


def top_level_keys(line: bytes) -> Iterator[tuple[int, int, str]]:
    """Where each key of the outermost object begins and ends (quotes included), and what it says once unescaped."""
    depth = 0
    for token in _TOKEN.finditer(line):
        if token[1] is None:
            depth += 1 if token[0] in b"{[" else -1
        elif depth == 1 and token[2] is not None:
            yield token.start(1), token.end(1), _unescape(token[1])


def rename_members(line: bytes, names: Collection[str], prefix: str) -> bytes:
    """Put ``prefix`` before each of these top-level keys, and underscores before that where the new key exists already.

    Values, order, white space, nested members and all other keys stay as they are.
    """
    keys = list(top_level_keys(line))
    taken = {key for _, _, key in keys}
    pieces: list[bytes] = []
    end_of_last = 0
    for start, end, key in keys:
        if key in names:
            pieces += line[end_of_last:start], msgspec.json.encode(_free_name(prefix + key, taken))
            end_of_last = end
    pieces.append(line[end_of_last:])
    return b"".join(pieces)


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"_{name}"
    taken.add(name)
    return name


def _unescape(token: bytes) -> str:
    try:
        return msgspec.json.decode(token, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return token.decode("utf-8", "replace")
