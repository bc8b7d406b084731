"""Where a body ends: a stated length, or chunks. States over bytes, strict about every byte of the framing."""

from __future__ import annotations

import re
from typing import Protocol

from gateway.errors import RequestRejected

CHUNK_LINE_BYTES_MAX = 4 << 10  # a size with its extensions, or a trailer
TRAILERS_BYTES_MAX = 8 << 10
CHUNK_BYTES_MAX = 1 << 53

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class Framing(Protocol):
    is_complete: bool

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The parts of the body in ``data``, and what lies behind its end. Raises RequestRejected."""


class Length:
    def __init__(self, length: int) -> None:
        self._left = length
        self.is_complete = not length

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        taken = data[: self._left]
        self._left -= len(taken)
        self.is_complete = not self._left
        return [taken] if taken else [], data[len(taken) :]


class Chunked:
    """A chunk of any size goes through as it comes; of the lines between them a bounded number of bytes is held."""

    def __init__(self) -> None:
        self.is_complete = False
        self._left = 0  # of the chunk, with the line end behind it
        self._line = b""
        self._in_trailers = False
        self._trailers_bytes = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        parts: list[bytes] = []
        data, self._line = self._line + data, b""
        at = 0
        while at < len(data) and not self.is_complete:
            if self._left:
                at = self._take(data, at, parts)
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line = self._unfinished(data[at:])
                return parts, b""
            self._read_line(data[at : end + 1])
            at = end + 1
        return parts, data[at:]

    def _take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        """Of the chunk and its line end: the last two bytes of what is left are CR and LF."""
        content = data[at : at + max(0, self._left - 2)]
        if content:
            parts.append(content)
            self._left -= len(content)
            at += len(content)
        while at < len(data) and 0 < self._left <= 2:
            if data[at] != b"\r\n"[2 - self._left]:
                raise _broken("a chunk is longer than its size says")
            self._left -= 1
            at += 1
        return at

    def _read_line(self, line: bytes) -> None:
        if len(line) > CHUNK_LINE_BYTES_MAX or not line.endswith(b"\r\n"):
            raise _broken("a line between the chunks is too long, or does not end with CR and LF")
        text = line[:-2]
        if self._in_trailers:
            self._read_trailer(text)
            return
        match = _SIZE_LINE.fullmatch(text)
        if match is None or (size := int(match[1], 16)) > CHUNK_BYTES_MAX:
            raise _broken("a chunk has no proper size")
        self._left = size + 2 if size else 0
        self._in_trailers = not size

    def _read_trailer(self, text: bytes) -> None:
        """Nothing is done with them."""
        if not text:
            self.is_complete = True
            return
        self._trailers_bytes += len(text)
        if self._trailers_bytes > TRAILERS_BYTES_MAX or _TRAILER.fullmatch(text) is None:
            raise _broken("the trailers are too long, or are none")

    def _unfinished(self, line: bytes) -> bytes:
        if len(line) > CHUNK_LINE_BYTES_MAX:
            raise _broken("a line between the chunks is too long")
        if not self._in_trailers and re.fullmatch(rb"[0-9A-Fa-f]{0,16}(?:[ \t;].*|\r)?", line, re.DOTALL) is None:
            raise _broken("a chunk has no proper size")
        return line


def _broken(what: str) -> RequestRejected:
    return RequestRejected(f"the body is not framed as its headers say, or was cut off: {what}", status=400)
