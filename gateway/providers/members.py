"""Top-level members of an event, found and renamed in its bytes without touching anything else."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# A key and its value, where that is no object or array. What is matched is known to be valid JSON.
_MEMBER = re.compile(rb"[\s,]*+(" + _STRING + rb")\s*+:\s*+(?:" + _STRING + rb'|[^",{}\[\]]++)?', re.DOTALL)
_UP_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+[{}\[\]]', re.DOTALL)


class Key(msgspec.Struct, frozen=True, gc=False):
    """Where a key begins and ends, quotes included, and what it says once unescaped."""

    start: int
    end: int
    name: str


def top_level_keys(line: bytes) -> list[Key]:
    """The keys of the outermost object, in order, repeated ones too."""
    keys: list[Key] = []
    at = 1
    while (member := _MEMBER.match(line, at)) is not None:
        keys.append(Key(member.start(1), member.end(1), _unescape(member[1])))
        at = member.end()
        if line[at] in b"{[":
            at = _end_of_container(line, at)
    return keys


def rename_members(line: bytes, keys: Sequence[Key], names: Collection[str], prefix: str) -> bytes:
    """Put ``prefix`` before each of the line's keys that is in ``names``, and underscores where such a key exists.

    Values, order, white space, nested members and all other keys stay as they are.
    """
    taken = {key.name for key in keys}
    pieces: list[bytes] = []
    end_of_last = 0
    for key in keys:
        if key.name in names:
            pieces += line[end_of_last : key.start], msgspec.json.encode(_free_name(prefix + key.name, taken))
            end_of_last = key.end
    pieces.append(line[end_of_last:])
    return b"".join(pieces)


def _end_of_container(line: bytes, at: int) -> int:
    depth = 0
    for run in _UP_TO_BRACKET.finditer(line, at):
        depth += 1 if line[run.end() - 1] in b"{[" else -1
        if depth == 0:
            return run.end()
    return len(line)


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"_{name}"
    taken.add(name)
    return name


def _unescape(token: bytes) -> str:
    if b"\\" not in token:
        return token[1:-1].decode("utf-8", "replace")
    try:
        return msgspec.json.decode(token, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return token.decode("utf-8", "replace")
