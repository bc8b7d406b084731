"""The one place where requests to destinations meet the network.

``HttpTransport`` sends what a codec made and returns what came back, whatever its status. Redirects are not followed,
proxies of the environment are not used, replies are not read beyond what the request allows.
"""

from __future__ import annotations

import asyncio
import functools
import io
import ssl
import zlib
from concurrent.futures import Executor

import aiohttp
from aiohttp.abc import AbstractResolver
from isal import isal_zlib
from yarl import URL

from gateway import __version__
from gateway.clock import Clock, SystemClock
from gateway.config import Egress
from gateway.errors import ConnectFailed
from gateway.providers.codec import Reply, Request, Settings
from gateway.providers.egress import (
    GuardedResolver,
    Lookup,
    check_url,
    guarded_socket,
    literal_address,
    system_lookup,
)
from gateway.providers.faults import explain
from gateway.providers.tls import Security, Tls, security_for, tls_of
from gateway.providers.trace import Trace, TracedConnector, TracedResolver

USER_AGENT = f"audit-siem-gateway/{__version__}"
GZIP_LEVEL = 1  # of isal's four: a fifth larger than zlib's default at a tenth of its time
INLINE_BYTES_MAX = 16 << 10  # compressing more than this is worth the way to a thread
COOKIES_MAX = 50

_GZIP_WINDOW_BITS = 31
_DIRECT_BYTES_MAX = 1 << 20  # aiohttp writes larger bodies in pieces only when they come as a file


class HttpTransport:
    """Connections and cookies of one destination. Holds neither socket nor timer before the first ``send``.

    ``executor`` compresses large bodies; None means the loop's own. ``tls`` is a context from ``tls_context``; None
    verifies against the system's authorities. ``ca_file`` is what it was made with. ``lookup`` resolves names.
    ``trace`` is filled in with what the first connection came to.
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
        self._lookup = lookup or system_lookup()
        self._connect_timeout_s = connect_timeout_s
        self._idle_s = idle_s
        self._user_agent = user_agent
        self._trace = trace
        self._session: aiohttp.ClientSession | None = None
        self._permitted = "", URL()
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
        session = self._session_for(url)
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=self._connect_timeout_s)
        try:
            return await _exchange(session, request, url, body, timeout, security)
        except (
            aiohttp.ClientError,
            OSError,
            RuntimeError,
        ) as error:  # uvloop tells of some lost sockets by RuntimeError
            raise explain(error, url, timeout_s=timeout_s, connect_timeout_s=self._connect_timeout_s) from error

    async def close(self) -> None:
        """Close every connection; what is in flight fails with ConnectFailed."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _checked(self, text: str) -> URL:
        """Nearly every request goes to the same address, so the last one that was found permitted is remembered."""
        if text != self._permitted[0]:
            self._permitted = text, check_url(text, self._policy)
        return self._permitted[1]

    def _session_for(self, url: URL) -> aiohttp.ClientSession:
        if self._closed:
            raise ConnectFailed("the connections of this destination are closed")
        if self._session is None:
            self._session = self._open(url)
        return self._session

    def _open(self, url: URL) -> aiohttp.ClientSession:
        connector = self._connector()
        # A load balancer's cookie leads the question for acknowledgements to the indexer that gave them out. aiohttp
        # keeps none of a host without a name unless told; this jar serves one host.
        is_literal = literal_address(url.raw_host or "") is not None
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.CookieJar(unsafe=is_literal),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    def _connector(self) -> aiohttp.TCPConnector:
        resolver: AbstractResolver = GuardedResolver(self._policy, self._lookup, timeout_s=self._connect_timeout_s)
        kind = aiohttp.TCPConnector
        if self._trace is not None:
            resolver, kind = TracedResolver(resolver, self._trace), TracedConnector
        connector = kind(
            limit=0,  # the worker's limiter is the only one
            resolver=resolver,
            socket_factory=guarded_socket(self._policy),
            ssl=self._tls or True,
            keepalive_timeout=self._idle_s,
        )
        if isinstance(connector, TracedConnector) and self._trace is not None:
            connector.trace = self._trace
        return connector

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


async def _exchange(
    session: aiohttp.ClientSession,
    request: Request,
    url: URL,
    body: bytes,
    timeout: aiohttp.ClientTimeout,
    security: Security | None,
) -> Reply:
    headers = dict(request.headers)
    if request.gzip:
        headers["Content-Encoding"] = "gzip"
    async with session.request(
        request.method,
        url,
        headers=headers,
        data=io.BytesIO(body) if len(body) > _DIRECT_BYTES_MAX else body or None,
        allow_redirects=False,
        timeout=timeout,
        ssl=security.context if security is not None else True,
        server_hostname=security.server_name if security is not None else None,
    ) as response:
        content, truncated = await _read(response, request.reply_bytes_max)
        _bound_cookies(session)
        names = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, names, content, truncated)


def compress(body: bytes) -> bytes:
    """One gzip member: several real servers read the first and skip the rest without a word."""
    return bytes(isal_zlib.compress(body, GZIP_LEVEL, _GZIP_WINDOW_BITS))


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> tuple[bytes, bool]:
    """The body, cut at ``bytes_max``. A connection with more to read is closed, not drained."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > bytes_max:
            response.close()
            break
    content = b"".join(pieces)
    return _decoded(content, response.headers.get("Content-Encoding", ""), bytes_max, is_cut=size > bytes_max)


def _decoded(content: bytes, encoding: str, bytes_max: int, *, is_cut: bool) -> tuple[bytes, bool]:
    """Some servers and proxies compress although they were asked not to."""
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return content[:bytes_max], is_cut
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # tells gzip and zlib apart by the first bytes
    try:
        decoded = decoder.decompress(content, bytes_max + 1)
    except zlib.error as error:
        raise aiohttp.ClientPayloadError("the reply's compression is damaged") from error
    return decoded[:bytes_max], is_cut or len(decoded) > bytes_max or not decoder.eof


def _bound_cookies(session: aiohttp.ClientSession) -> None:
    if len(session.cookie_jar) > COOKIES_MAX:
        session.cookie_jar.clear()
