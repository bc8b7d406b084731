"""aiohttp's protocol for one connection, with our answers to what is no HTTP."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from gateway.server.front.head import HEADERS_MAX, LINE_BYTES_MAX
from gateway.server.problems import dress, problem

_REFUSED_DETAILS = {
    400: "this is not proper HTTP/1.1",
    431: "the head is too large",
    500: "the gateway could not do this; its log says why",
}


class ApiHandler(web.RequestHandler):
    """``on_lost`` is called when the connection has ended.

    Bodies are not decompressed here: ``gateway.server.body`` does that with a bound on every step.
    """

    __slots__ = ("_on_lost",)

    def __init__(self, server: web.Server, on_lost: Callable[[], None], *, keep_alive_s: float) -> None:
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

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._on_lost()

    def eof_received(self) -> bool:  # type: ignore[override] # the library's own gives nothing, which is False
        """A client that has sent all it wants to still gets its answers; there is no half of a TLS connection."""
        if self.ssl_context is not None or not (self._messages or self._request_in_progress):
            return False
        self._close = True  # behind the answers
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A client's fault costs no line in the log; a fault of ours never comes as far as here."""
        if isinstance(exc, LineTooLong):
            status = 431
        if status >= 500:
            self.log_exception("a fault outside of the handlers", exc_info=exc)
        response = problem(status, _REFUSED_DETAILS.get(status, "the request could not be served"))
        dress(response, secrets.token_hex(16), "/v1/")
        response.force_close()
        return response
