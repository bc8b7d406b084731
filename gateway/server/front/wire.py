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
        self._accepted: dict[int, tuple[bytes, bytes]] = {}  # of this second, by the number of events
        # Half of an id is random for this process, half is counted: they are names, no secrets.
        self._ids = map((secrets.token_hex(8).encode() + b"%016x").__mod__, itertools.count(1))

    def request_id(self, head: Head) -> str:
        """The caller's own, or a new one."""
        return head.request_id or self.new_request_id()

    def new_request_id(self) -> str:
        return next(self._ids).decode()

    def accepted(self, head: Head, events: int) -> bytes:
        """``encode`` for the answer that nearly all get: 202 with this many accepted, and the connection stays."""
        self._look_at_the_time()
        start, end = self._accepted.get(events) or self._around_id(events)
        return b"%b%b%b" % (start, head.request_id.encode() or next(self._ids), end)

    def encode(self, answer: Answer, request_id: str, *, closes: bool, is_http_1_0: bool = False) -> bytes:
        lines = [
            f"HTTP/1.{0 if is_http_1_0 else 1} {answer.status} {_PHRASES[answer.status]}\r\n",
            f"Content-Type: {answer.media_type}\r\n",
            *(f"{name}: {value}\r\n" for name, value in answer.headers.items()),
            f"Content-Length: {len(answer.body)}\r\n",
        ]
        if closes != is_http_1_0:  # what the version does of itself is not said
            lines.append("Connection: close\r\n" if closes else "Connection: keep-alive\r\n")
        self._look_at_the_time()
        head = "".join(lines).encode()
        return b"%b%bX-Request-Id: %b\r\n\r\n%b" % (head, self._fixed, request_id.encode(), answer.body)

    def _around_id(self, events: int) -> tuple[bytes, bytes]:
        body = b'{"accepted":%d,"rejected":0}' % events
        head = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        parts = self._accepted[events] = head + self._fixed + b"X-Request-Id: ", b"\r\n\r\n" + body
        return parts

    def _look_at_the_time(self) -> None:
        second = int(self._time_s())
        if second != self._second:
            self._second = second
            date = formatdate(second, usegmt=True)
            self._fixed = f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nDate: {date}\r\n".encode()
            self._accepted.clear()
