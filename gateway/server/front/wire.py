"""An answer as the bytes of HTTP/1.1."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from gateway.server.answers import Answer
from gateway.server.front.head import Head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Wire:
    """Writes answers; knows the time for their ``Date`` and the next request id."""

    def __init__(self, time_s: Callable[[], float]) -> None:
        self._time_s = time_s
        self._second = -1
        self._fixed = b""
        # Half of an id is random for this process, half is counted: they are names, no secrets.
        self._ids = map(f"{secrets.token_hex(8)}{{:016x}}".format, itertools.count(1))

    def request_id(self, head: Head) -> str:
        """The caller's own, or a new one."""
        return head.request_id or self.new_request_id()

    def new_request_id(self) -> str:
        return next(self._ids)

    def accepted(self, head: Head, events: int) -> bytes:
        """``encode`` for the answer that nearly all get: 202 with this many accepted, and the connection stays."""
        body = b'{"accepted":%d,"rejected":0}' % events
        return b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (
            len(body),
            self._common(head.request_id or next(self._ids)),
            body,
        )

    def encode(self, answer: Answer, request_id: str, *, closes: bool, is_http_1_0: bool = False) -> bytes:
        lines = [
            f"HTTP/1.{0 if is_http_1_0 else 1} {answer.status} {_PHRASES[answer.status]}\r\n",
            f"Content-Type: {answer.media_type}\r\n",
            *(f"{name}: {value}\r\n" for name, value in answer.headers.items()),
            f"Content-Length: {len(answer.body)}\r\n",
        ]
        if closes != is_http_1_0:  # what the version does of itself is not said
            lines.append("Connection: close\r\n" if closes else "Connection: keep-alive\r\n")
        return b"%b%b\r\n%b" % ("".join(lines).encode(), self._common(request_id), answer.body)

    def _common(self, request_id: str) -> bytes:
        second = int(self._time_s())
        if second != self._second:
            self._second = second
            date = formatdate(second, usegmt=True)
            self._fixed = f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nDate: {date}\r\n".encode()
        return b"%bX-Request-Id: %b\r\n" % (self._fixed, request_id.encode())
