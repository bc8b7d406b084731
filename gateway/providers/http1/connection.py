"""One connection: a request goes out, its answer comes back, then perhaps the next."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

from gateway.providers.faults import BrokenOff, NotHttp, refuses_certificate

HEAD_BYTES_MAX = 64 << 10  # also of what comes between the pieces of a body, and behind it
HEADERS_MAX = 128

_JOINED_BYTES_MAX = 64 << 10  # a body up to this is copied behind its head, so that both are one write
_AT_ONCE_BYTES_MAX = 16 << 10  # a body up to this fits into any socket's buffer
_INTERIM, _FINAL = 100, 200  # answers with a status between these are followed by another
_NOT_TAKEN = 300  # from here on an answer may be given without the body having been read


class Exchange(NamedTuple):
    """``head`` ends with its blank line. The answer is read up to ``answer_bytes_max`` of its body."""

    head: bytes
    body: bytes
    answer_bytes_max: int
    has_no_answer_body: bool  # of HEAD


class Answer(NamedTuple):
    """Header names are lower-case, of repeated ones the last is here. ``is_cut``: the body went on."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes
    is_cut: bool


class Connection(asyncio.Protocol):
    """``is_open`` turns false for good when the connection cannot be used again, by whatever cause.

    ``on_lost`` is called once, when the socket is gone.
    """

    __slots__ = (
        *("_answer_bytes_max", "_beside", "_body", "_cookies", "_fields", "_fields_bytes"),
        *(
            "_has_no_body",
            "_headers",
            "_is_at_once",
            "_is_complete",
            "_is_cut",
            "_is_last",
            "_loop",
            "_on_lost",
            "_parser",
            "_status",
            "_timer",
            "_transport",
        ),
        *("_waiter", "idle_since_s", "is_open"),
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self._parser: httptools.HttpResponseParser | None = _lenient(httptools.HttpResponseParser(self))
        self._waiter: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_open = False
        self.idle_since_s = 0.0

    def ask(self, exchange: Exchange, timeout_s: float) -> asyncio.Future[Answer]:
        """Send a request. Of an idle connection, once at a time; the answer has come when the future is done.

        It fails with TimeoutError, BrokenOff, NotHttp, ConnectionResetError or, where the server refuses our
        certificate, ssl.SSLError; then, or when the connection is to be used no more, it has been closed. Who no longer
        wants the answer closes the connection.
        """
        self._waiter = waiter = self._loop.create_future()
        self._timer = self._loop.call_later(timeout_s, self._run_out_of_time)
        self._answer_bytes_max, self._has_no_body = exchange.answer_bytes_max, exchange.has_no_answer_body
        self._is_at_once = len(exchange.body) <= _AT_ONCE_BYTES_MAX
        self._headers: dict[str, str] = {}
        self._cookies: list[str] = []
        self._body = bytearray()  # as one: a server that sends it by twos of bytes makes us hold no more
        self._status = self._beside = self._fields = self._fields_bytes = 0
        self._is_complete = self._is_cut = self._is_last = False
        try:
            self._write(exchange.head, exchange.body)
        except RuntimeError as error:  # uvloop's word for a socket that is gone
            self._fail(ConnectionResetError("lost"), error)
        return waiter

    @property
    def is_idle(self) -> bool:
        """Another request may be sent."""
        return self.is_open and self._waiter is None

    def has_unread(self) -> bool:
        """Whether bytes or an end wait that the loop has not come to read. Asks the system, which takes a microsecond.

        A busy loop sends a request before it reads what came unasked, which would then be taken for the answer.
        """
        held = self._transport.get_extra_info("socket")
        if held is None or held.fileno() < 0:
            return True  # over TLS the socket may be gone a turn of the loop before connection_lost
        waiting = select.poll()
        waiting.register(held, select.POLLIN)
        return bool(waiting.poll(0))

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    def close(self) -> None:
        """At once; what is under way fails."""
        self._fail(ConnectionResetError("closed from here"))

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._parser is None:
            self._abort()  # nothing was asked
            return
        self._beside += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._is_complete:
                self._fail(NotHttp())
                return
            self._is_last = True
        if self._is_complete:
            self._finish()
        elif self._beside > HEAD_BYTES_MAX:
            self._fail(NotHttp())

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self._parser = None  # the two hold each other
        self._on_lost(self)

    # -- what the parser calls

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._is_last = True  # an answer to nothing

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._fields_bytes += len(name) + len(value)
        if self._fields > HEADERS_MAX or self._fields_bytes > HEAD_BYTES_MAX:
            raise NotHttp
        if self._status or self._is_complete:
            return  # behind the body, or of an answer to nothing
        key = name.decode("utf-8", "surrogateescape").lower()
        text = value.decode("utf-8", "surrogateescape").strip(" \t")
        self._headers[key] = text
        if key == "set-cookie":
            self._cookies.append(text)

    def on_headers_complete(self) -> None:
        if self._is_complete or self._parser is None:
            return
        self._status = self._parser.get_status_code()
        if self._status < _INTERIM:
            raise NotHttp
        if self._has_no_body and self._status >= _FINAL:
            self._is_complete = self._is_last = True  # the parser would wait for a body

    def on_body(self, data: bytes) -> None:
        if self._is_complete:
            return
        self._beside = 0
        self._body += data
        if len(self._body) > self._answer_bytes_max:
            self._is_complete = self._is_cut = self._is_last = True

    def on_message_complete(self) -> None:
        if self._is_complete or self._parser is None:
            return
        if self._status < _FINAL:
            self._status = 0
            self._headers.clear()
            self._cookies.clear()
            return
        self._is_complete = True
        self._is_last = not self._parser.should_keep_alive()

    # -- what is sent, and how an exchange ends

    def _write(self, head: bytes, body: bytes) -> None:
        if len(body) <= _JOINED_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def _finish(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._stop_timer()
        if self._is_last or self._may_be_unsent():
            self._abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(Answer(self._status, self._headers, self._cookies, bytes(self._body), self._is_cut))
        self._body.clear()  # an idle connection holds on to nothing

    def _may_be_unsent(self) -> bool:
        """Whether the answer may have come before the end of the request went out: who knows what the server makes of
        the rest. Over TLS nobody tells what waits behind the encryption, so there an answer other than 2xx to more than
        a small body is the last of its connection.
        """
        if self._transport.get_write_buffer_size():
            return True
        may_be_early = self._status >= _NOT_TAKEN and not self._is_at_once
        return may_be_early and self._transport.get_extra_info("ssl_object") is not None

    def _end(self, error: Exception | None) -> None:
        """The server sends no more: to some answers that is the end."""
        if self._waiter is None:
            self._abort()
        elif error is None and self._status and not _has_length(self._headers):
            self._is_last = True
            self._finish()
        elif error is not None and refuses_certificate(error):
            self._fail(error)
        else:
            self._fail(BrokenOff() if self._status else ConnectionResetError("closed by the server"), error)

    def _run_out_of_time(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, fault: Exception, cause: Exception | None = None) -> None:
        waiter, self._waiter = self._waiter, None
        self._stop_timer()
        self._abort()
        if waiter is not None and not waiter.done():
            fault.__cause__ = cause
            waiter.set_exception(fault)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abort(self) -> None:
        if self.is_open:
            self.is_open = False
            self._transport.abort()


def _has_length(headers: dict[str, str]) -> bool:
    """Whether an answer says by itself where it ends."""
    codings = headers.get("transfer-encoding")
    return codings.lower().endswith("chunked") if codings is not None else "content-length" in headers


def _lenient(parser: httptools.HttpResponseParser) -> httptools.HttpResponseParser:
    """Some servers end lines without a carriage return, pad the size of a chunk, or write odd values of headers. It is
    clear all the same what they mean, and nobody but we reads their answers.
    """
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser
