"""aiohttp's protocol for one connection, with our answers to what is no HTTP."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from gateway.errors import RequestRejected
from gateway.server.front.head import HEADERS_MAX, LINE_BYTES_MAX, refuse_ambiguous
from gateway.server.problems import Handler, answer_to, dress, problem_answer

_REFUSED_DETAILS = {
    400: "this is not proper HTTP/1.1",
    431: "the head is too large",
    500: "the gateway could not do this; its log says why",
}


_TOO_MANY = "Too many headers"  # how aiohttp says it; there is no type for it


class ApiHandler(web.RequestHandler):
    """``on_lost`` is called when the connection has ended. A client that takes nothing of its answers for ``unread_s``
    is cut off: the library would wait for it, and hold its connection, for as long as it likes.

    Bodies are not decompressed here: ``gateway.server.body`` does that with a bound on every step.
    """

    __slots__ = ("_has_taken", "_looking", "_on_lost", "_unread_bytes", "_unread_s", "has_ended")

    def __init__(
        self, server: web.Server, on_lost: Callable[[], None], *, keep_alive_s: float, unread_s: float
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # none is what switches it off
            auto_decompress=False,
            keepalive_timeout=keep_alive_s,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            read_bufsize=1 << 18,
        )
        self._on_lost = on_lost
        self._unread_s = unread_s
        self._unread_bytes = 0
        self._has_taken = False
        self._looking: asyncio.TimerHandle | None = None
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._looking = self._loop.call_later(self._unread_s, self._look)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)
        self._on_lost()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._has_taken = True

    def _look(self) -> None:
        """Whether something of what waits to be sent has gone since the last look; also when all has been answered and
        the connection would end behind it.
        """
        if self.transport is None:
            return
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes >= self._unread_bytes > 0 and not self._has_taken:
            self.transport.abort()
            return
        self._unread_bytes, self._has_taken = unread_bytes, False
        self._looking = self._loop.call_later(self._unread_s, self._look)

    @property
    def idle_since_s(self) -> float | None:
        """Since when it waits for a request; None while it does not."""
        if self._waiter is None or self._waiter.done():
            return None
        return self._next_keepalive_close_time - self._keepalive_timeout

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def eof_received(self) -> bool:  # type: ignore[override] # the library's own gives nothing, which is False
        """A client that has sent all it wants to still gets its answers; there is no half of a TLS connection."""
        is_idle = self._waiter is not None and not self._waiter.done()
        if self.ssl_context is not None or is_idle:
            return False
        self.has_ended = True
        self._close = not self._messages  # behind the answer; with more to serve, behind the last of them
        if self._current_request is not None:
            self.end_body(self._current_request)
        return True

    @property
    def serves_its_last(self) -> bool:
        return self.has_ended and not self._messages

    def end_body(self, request: web.BaseRequest) -> None:
        """Of a client that sends no more: what is missing of the body is not waited for."""
        if self.has_ended and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("the client sends no more"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A client's fault costs no line in the log; a fault of ours never comes as far as here."""
        if isinstance(exc, LineTooLong) or (isinstance(exc, BadHttpMessage) and exc.message.startswith(_TOO_MANY)):
            status = 431
        if status >= 500:
            self.log_exception("a fault outside of the handlers", exc_info=exc)
        answer = problem_answer(status, _REFUSED_DETAILS.get(status, "the request could not be served"))
        response = _Unsigned(status=answer.status, body=answer.body, content_type=answer.media_type)
        dress(response, secrets.token_hex(16), "/v1/")
        response.force_close()
        return response


class _Unsigned(web.Response):
    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        await without_software(None, self)


async def without_software(_: object, response: web.StreamResponse) -> None:
    """Which library answers, in which version, is nobody's business."""
    response.headers.popall("Server", None)


@web.middleware
async def proper_http_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the front refuses of the first request on a connection is refused of the later ones."""
    version = f"{request.version.major}.{request.version.minor}"
    try:
        hosts = request.headers.getall("Host", ())
        refuse_ambiguous(version, len(hosts), request.headers.get("Transfer-Encoding"))
    except RequestRejected as error:
        refused = answer_to(error).response()
        refused.force_close()
        return refused
    protocol = request.protocol
    if isinstance(protocol, ApiHandler):
        protocol.end_body(request)
    response = await handler(request)
    if isinstance(protocol, ApiHandler) and protocol.serves_its_last:
        response.force_close()
    return response
