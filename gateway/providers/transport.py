"""The one place where requests to destinations meet the network.

``HttpTransport`` sends what a codec made and returns what came back, whatever its status. Redirects are not followed,
proxies of the environment are not used, replies are not read beyond what the request allows.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import zlib
from concurrent.futures import Executor
from typing import NamedTuple

from isal import isal_zlib
from yarl import URL

from gateway import __version__
from gateway.clock import Clock, SystemClock
from gateway.config import Egress
from gateway.errors import ConnectFailed
from gateway.providers.codec import Reply, Request, Settings
from gateway.providers.egress import Lookup, check_url
from gateway.providers.faults import BrokenOff, WireFault, explain
from gateway.providers.http1.connection import Answer, Connection, Exchange
from gateway.providers.http1.cookies import Cookies
from gateway.providers.http1.dial import Dialler
from gateway.providers.http1.head import closing, opening
from gateway.providers.http1.pool import Key, Pool
from gateway.providers.lookup import SystemLookup
from gateway.providers.tls import Security, Tls, security_for, tls_of
from gateway.providers.trace import Trace

USER_AGENT = f"audit-siem-gateway/{__version__}"
GZIP_LEVEL = 1  # of isal's four: a fifth larger than zlib's default at a tenth of its time
INLINE_BYTES_MAX = 16 << 10  # compressing more than this is worth the way to a thread

_GZIP_WINDOW_BITS = 31
_EITHER_WINDOW_BITS = zlib.MAX_WBITS | 32  # tells gzip and zlib apart by the first bytes
_RAW_WINDOW_BITS = -zlib.MAX_WBITS
_MEMBER = b"\x1f\x8b"
_MEMBERS_MAX = 64  # each costs a copy of what follows it
_DAMAGED = "the reply's compression is damaged"
_CLOSED = "the connections of this destination are closed"


class HttpTransport:
    """Connections and cookies of one destination. Holds neither socket nor timer before the first ``send``.

    ``executor`` compresses large bodies; None means the loop's own. ``tls`` is a context from ``tls_context``; None
    verifies against the system's authorities. ``ca_file`` is what it was made with. ``lookup`` resolves names; None
    means the system's resolver, in threads that no other transport shares. ``trace`` is filled in with what the first
    connection came to.
    """

    def __init__(
        self,
        policy: Egress,
        *,
        executor: Executor | None = None,
        tls: ssl.SSLContext | None = None,
        ca_file: str = "",
        lookup: Lookup | None = None,
        clock: Clock | None = None,
        connect_timeout_s: float = 10.0,
        idle_s: float = 30.0,
        user_agent: str = USER_AGENT,
        trace: Trace | None = None,
    ) -> None:
        self._policy = policy
        self._executor = executor
        self._tls = tls
        self._ca_file = ca_file
        self._clock = clock or SystemClock()
        self._lookup = lookup or SystemLookup()
        self._connect_timeout_s = connect_timeout_s
        self._idle_s = idle_s
        self._user_agent = user_agent
        self._trace = trace
        self._wire: _Wire | None = None
        self._cookies: Cookies | None = None  # a destination that sets none pays nothing for them
        self._permitted = "", URL()
        self._opening: tuple[object, bytes] = (), b""
        self._closed = False

    def secured(self, settings: Settings) -> HttpTransport | SecuredTransport:
        """Sends over this transport's connections as the TLS fields of ``settings`` ask. Closed with this one."""
        tls = tls_of(settings)
        return self if tls == Tls() else SecuredTransport(self, tls)

    async def security_of(self, tls: Tls) -> Security:
        """What a connection with this TLS is made with. Raises TlsFailed."""
        make = functools.partial(
            security_for, tls, policy=self._policy, ca_file=self._ca_file, now_s=self._clock.time_s()
        )
        return await asyncio.get_running_loop().run_in_executor(self._executor, make)

    async def send(self, request: Request, *, timeout_s: float, security: Security | None = None) -> Reply:
        """Raises ConnectFailed, TimedOut or TlsFailed when no usable answer came back; EgressBlocked before anything is
        sent, and TlsFailed where ``security`` cannot be had.
        """
        url = self._checked(request.url)
        if security is not None:
            security.check(url.scheme, self._clock.time_s())
        body = await self._compressed(request.body) if request.gzip else request.body
        wire = self._wire_in_use()
        try:
            return await self._exchange(wire, request, url, body, timeout_s, security)
        # uvloop tells of some lost sockets by RuntimeError; a name that cannot be coded is a UnicodeError
        except (WireFault, OSError, RuntimeError, UnicodeError) as error:
            if self._closed:
                raise ConnectFailed(_CLOSED) from error
            raise explain(error, url, timeout_s=timeout_s, connect_timeout_s=self._connect_timeout_s) from error

    async def close(self) -> None:
        """Close every connection; what is in flight fails with ConnectFailed."""
        self._closed = True
        if self._wire is not None:
            self._wire.dialler.close()
            self._wire.pool.close()
            await asyncio.sleep(0)  # the loop lets go of the sockets in its next turn

    def _checked(self, text: str) -> URL:
        """Nearly every request goes to the same address, so the last one that was found permitted is remembered."""
        if text != self._permitted[0]:
            self._permitted = text, check_url(text, self._policy)
        return self._permitted[1]

    def _wire_in_use(self) -> _Wire:
        if self._closed:
            raise ConnectFailed(_CLOSED)
        if self._wire is None:
            loop = asyncio.get_running_loop()
            dialler = Dialler(
                loop,
                self._policy,
                self._lookup,
                tls=self._tls,
                connect_timeout_s=self._connect_timeout_s,
                trace=self._trace,
            )
            self._wire = _Wire(loop, Pool(loop, idle_s=self._idle_s), dialler)
        return self._wire

    async def _exchange(
        self, wire: _Wire, request: Request, url: URL, body: bytes, timeout_s: float, security: Security | None
    ) -> Reply:
        exchange = Exchange(
            self._head(request, url, len(body)), body, request.reply_bytes_max, request.method == "HEAD"
        )
        key = Key(url.scheme, url.raw_host or "", url.port or 0, security)
        connection = wire.pool.take(key)
        if connection is None:
            began_s = wire.loop.time()
            connection = await self._connected(wire, url, security, timeout_s)
            timeout_s -= wire.loop.time() - began_s
        try:
            answer = await connection.ask(exchange, timeout_s)
        finally:
            wire.pool.give_back(key, connection)
        if answer.cookies:
            self._keep_cookies(answer, url)
        content, truncated = _decoded(answer, request.reply_bytes_max)
        return Reply(answer.status, answer.headers, content, truncated)

    async def _connected(self, wire: _Wire, url: URL, security: Security | None, timeout_s: float) -> Connection:
        connection = wire.pool.make()
        await wire.dialler.dial(connection, url, security, timeout_s=timeout_s)
        wire.pool.add(connection)
        if self._closed:
            connection.close()
        if not connection.is_idle:
            raise ConnectionResetError("lost as soon as it was made")
        return connection

    def _head(self, request: Request, url: URL, body_bytes: int) -> bytes:
        """Requests that differ in their body alone share the work."""
        made_of = request.headers, request.url, request.method, request.gzip
        if made_of != self._opening[0]:
            self._opening = made_of, opening(request, url, self._user_agent)
        cookies = self._cookies.header(url) if self._cookies is not None else b""
        return self._opening[1] + cookies + closing(request.method, body_bytes)

    def _keep_cookies(self, answer: Answer, url: URL) -> None:
        if self._cookies is None:
            self._cookies = Cookies(url)
        self._cookies.keep(answer.cookies, url)

    async def _compressed(self, body: bytes) -> bytes:
        if len(body) <= INLINE_BYTES_MAX:
            return compress(body)
        return await asyncio.get_running_loop().run_in_executor(self._executor, compress, body)


class SecuredTransport:
    """A transport's connections with the TLS of one destination's settings, made ready by the first ``send``."""

    def __init__(self, transport: HttpTransport, tls: Tls) -> None:
        self._transport = transport
        self._tls = tls
        self._security: Security | None = None

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        """As ``HttpTransport.send``."""
        if self._security is None:
            self._security = await self._transport.security_of(self._tls)
        return await self._transport.send(request, timeout_s=timeout_s, security=self._security)


class _Wire(NamedTuple):
    """What the first request brings into being."""

    loop: asyncio.AbstractEventLoop
    pool: Pool
    dialler: Dialler


def compress(body: bytes) -> bytes:
    """One gzip member: several real servers read the first and skip the rest without a word."""
    return bytes(isal_zlib.compress(body, GZIP_LEVEL, _GZIP_WINDOW_BITS))


def _decoded(answer: Answer, bytes_max: int) -> tuple[bytes, bool]:
    """The body, cut at ``bytes_max``. Some servers and proxies compress although they were asked not to."""
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if not answer.body or encoding not in {"gzip", "x-gzip", "deflate"}:
        return answer.body[:bytes_max], answer.is_cut
    try:
        decoded, is_whole = _inflated(answer.body, bytes_max, _EITHER_WINDOW_BITS)
    except zlib.error as error:
        if encoding != "deflate":
            raise BrokenOff(_DAMAGED) from error
        try:
            decoded, is_whole = _inflated(answer.body, bytes_max, _RAW_WINDOW_BITS)  # as many servers take the word
        except zlib.error:
            raise BrokenOff(_DAMAGED) from error
    return decoded[:bytes_max], answer.is_cut or not is_whole


def _inflated(body: bytes, bytes_max: int, window_bits: int) -> tuple[bytes, bool]:
    """At most one byte beyond ``bytes_max``, and whether that is all there is. What follows the last member of gzip and
    is none is padding.
    """
    found, rest = bytearray(), body
    for _ in range(_MEMBERS_MAX):
        decoder = zlib.decompressobj(window_bits)
        found += decoder.decompress(rest, bytes_max + 1 - len(found))
        if not decoder.eof or len(found) > bytes_max:
            return bytes(found), False
        rest = decoder.unused_data
        if not rest.startswith(_MEMBER):
            return bytes(found), True
    return bytes(found), False
