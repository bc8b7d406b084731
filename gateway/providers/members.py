"""Top-level members of an event, found and renamed in its bytes without touching anything else.

A key is written here as it stands between the quotes of JSON, without escapes: ``b"timestamp"``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# A key, the part of it from its first escape, and its value or the bracket that opens it. The line is known to be JSON.
_MEMBER = re.compile(
    rb'[\s,]*+"([^"\\]*+((?:\\.[^"\\]*+)*+))"\s*+:\s*+(?:' + _STRING + rb'|[^",{}\[\]]++|([{\[]))', re.DOTALL
)
_UP_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+[{}\[\]]', re.DOTALL)

Key = tuple[int, int, bytes]  # begin and end in the line, quotes included, and the key


def top_level_keys(line: bytes) -> list[Key]:
    """The keys of the outermost object, in order, repeated ones too."""
    keys: list[Key] = []
    at = 1
    while (member := _MEMBER.match(line, at)) is not None:
        key, escaped, bracket = member.groups()
        start, end = member.span(1)
        keys.append((start - 1, end + 1, _unescaped(key) if escaped else key))
        at = member.end() if bracket is None else _end_of_container(line, member.start(3))
    return keys


def rename_members(line: bytes, keys: Sequence[Key], names: Collection[bytes], prefix: bytes) -> bytes:
    """Put ``prefix`` before each of the line's keys that is in ``names``, and underscores where such a key exists.

    Values, order, white space, nested members and all other keys stay as they are.
    """
    taken = {key for _, _, key in keys}
    pieces: list[bytes] = []
    end_of_last = 0
    for start, end, key in keys:
        if key in names:
            pieces += line[end_of_last:start], b'"%b"' % _free_name(prefix + key, taken)
            end_of_last = end
    pieces.append(line[end_of_last:])
    return b"".join(pieces)


def _end_of_container(line: bytes, at: int) -> int:
    depth = 0
    for run in _UP_TO_BRACKET.finditer(line, at):
        depth += 1 if line[run.end() - 1] in b"{[" else -1
        if depth == 0:
            return run.end()
    return len(line)


def _free_name(name: bytes, taken: set[bytes]) -> bytes:
    while name in taken:
        name = b"_" + name
    taken.add(name)
    return name


def _unescaped(key: bytes) -> bytes:
    try:
        return msgspec.json.decode(b'"%b"' % key, type=str).encode()
    except (msgspec.DecodeError, UnicodeError):
        return key
