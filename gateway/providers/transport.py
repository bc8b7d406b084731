"""The one place where requests to destinations meet the network.

``HttpTransport`` sends what a codec made and returns what came back, whatever its status. Redirects are not followed,
proxies of the environment are not used, replies are not read beyond what the request allows.
"""

from __future__ import annotations

import asyncio
import io
import os
import ssl
import zlib
from concurrent.futures import Executor

import aiohttp
from isal import isal_zlib
from yarl import URL

from gateway import __version__
from gateway.config import Egress
from gateway.errors import ConfigError, ConnectFailed, EgressBlocked, TimedOut, TlsFailed, TransportError
from gateway.providers.codec import Reply, Request
from gateway.providers.egress import GuardedResolver, Lookup, check_url, literal_address, system_lookup

USER_AGENT = f"audit-siem-gateway/{__version__}"
GZIP_LEVEL = 1  # of isal's four: a fifth larger than zlib's default at a tenth of its time
INLINE_BYTES_MAX = 16 << 10  # compressing more than this is worth the way to a thread
COOKIES_MAX = 50

_GZIP_WINDOW_BITS = 31
_DIRECT_BYTES_MAX = 1 << 20  # aiohttp writes larger bodies in pieces only when they come as a file


class HttpTransport:
    """Connections and cookies of one destination. Holds neither socket nor timer before the first ``send``.

    ``executor`` compresses large bodies; None means the loop's own. ``tls`` is a context from ``tls_context``; None
    verifies against the system's authorities. ``lookup`` resolves names.
    """

    def __init__(
        self,
        policy: Egress,
        *,
        executor: Executor | None = None,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
        connect_timeout_s: float = 10.0,
        idle_s: float = 30.0,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._policy = policy
        self._executor = executor
        self._tls = tls
        self._lookup = lookup or system_lookup()
        self._connect_timeout_s = connect_timeout_s
        self._idle_s = idle_s
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._permitted = "", URL()
        self._closed = False

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        """Raises ConnectFailed, TimedOut or TlsFailed when no usable answer came back; EgressBlocked before anything is
        sent.
        """
        url = self._checked(request.url)
        body = await self._compressed(request.body) if request.gzip else request.body
        session = self._session_for(url)
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=self._connect_timeout_s)
        try:
            return await _exchange(session, request, url, body, timeout)
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
            check_url(text, self._policy)
            self._permitted = text, URL(text, encoded=True)
        return self._permitted[1]

    def _session_for(self, url: URL) -> aiohttp.ClientSession:
        if self._closed:
            raise ConnectFailed("the connections of this destination are closed")
        if self._session is None:
            self._session = self._open(url)
        return self._session

    def _open(self, url: URL) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # the worker's limiter is the only one
            resolver=GuardedResolver(self._policy, self._lookup, timeout_s=self._connect_timeout_s),
            ssl=self._tls or True,
            keepalive_timeout=self._idle_s,
        )
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

    async def _compressed(self, body: bytes) -> bytes:
        if len(body) <= INLINE_BYTES_MAX:
            return compress(body)
        return await asyncio.get_running_loop().run_in_executor(self._executor, compress, body)


async def _exchange(
    session: aiohttp.ClientSession, request: Request, url: URL, body: bytes, timeout: aiohttp.ClientTimeout
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
    ) as response:
        content, truncated = await _read(response, request.reply_bytes_max)
        _bound_cookies(session)
        names = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, names, content, truncated)


def compress(body: bytes) -> bytes:
    """One gzip member: several real servers read the first and skip the rest without a word."""
    return bytes(isal_zlib.compress(body, GZIP_LEVEL, _GZIP_WINDOW_BITS))


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """Verify against the system's authorities, and those in ``ca_file`` too. Reads files. Raises ConfigError."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "it holds no certificate in PEM form"
            raise ConfigError(f"delivery.ca_file: {ca_file} cannot be read: {reason}") from error
    return context


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


def explain(error: Exception, url: URL, *, timeout_s: float, connect_timeout_s: float) -> TransportError:
    """Our name for what the client library, the system or the TLS library raised.

    The words name the host as the user wrote it, but neither an address that it resolved to nor a path, where tokens
    may stand.
    """
    host = f"{url.raw_host}:{url.port}"
    kind: type[TransportError] = ConnectFailed
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind, words = (
                TimedOut,
                f"no connection to {host} within {connect_timeout_s:g} s; check address and firewall",
            )
        case TimeoutError():
            kind, words = TimedOut, f"no answer from {host} within {timeout_s:g} s"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            kind, words = TlsFailed, _tls_words(error, host)
        case aiohttp.InvalidURL():
            kind, words = EgressBlocked, f"{url.raw_host} is not a host name or an address in its usual form"
        case aiohttp.ClientConnectorDNSError():
            words = f"the host name {url.raw_host} cannot be resolved; check its spelling and the name servers"
        case aiohttp.ClientConnectorError():
            words = f"cannot connect to {host}: {_system_words(error.os_error)}"
        case aiohttp.ClientResponseError():
            words = f"{host} does not answer in HTTP that can be understood; check the port and the scheme"
        case aiohttp.ClientPayloadError():
            words = f"{host} broke off in the middle of its answer"
        case aiohttp.ServerDisconnectedError() | OSError():
            words = f"{host} closed the connection before it answered"
        case _:
            words = f"the connection to {host} failed"
    return kind(words)


def _tls_words(error: Exception, host: str) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message.rstrip(".")
        return f"the certificate of {host} is not valid: {reason}; delivery.ca_file can add an authority"
    if getattr(cause, "reason", None) == "WRONG_VERSION_NUMBER":
        return f"{host} does not speak TLS; check the port, or whether the endpoint is http://"
    reason = str(getattr(cause, "reason", None) or "handshake failed").replace("_", " ").lower()
    return f"no secure connection to {host}: {reason}"


def _system_words(error: OSError) -> str:
    """The system's words for the error number alone: the library's text holds the resolved address."""
    return os.strerror(error.errno).lower() if error.errno else "none of its addresses can be reached"
