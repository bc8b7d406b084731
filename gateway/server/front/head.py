"""The head of a request: httptools reads it, and what it leaves open is refused here.

Nothing that two readers might read differently gets through: llhttp refuses both lengths at once, a length twice, a
strange one, bare line feeds, folded lines and spaces before colons; other transfer encodings than ``chunked`` and a
missing or repeated ``Host`` are refused below.
"""

from __future__ import annotations

import httptools
import msgspec

from gateway.destinations.ids import api_key_digest
from gateway.errors import RequestRejected
from gateway.server.auth import presented_key
from gateway.server.body import encoding_of
from gateway.server.ingest import is_ndjson
from gateway.server.problems import plain_request_id

INGEST_PATH = b"/v1/audit/events"
HEAD_BYTES_MAX = 32 << 10
LINE_BYTES_MAX = 8_190
HEADERS_MAX = 100
SMALL_BYTES = 64 << 10
CHUNKED = -1

_INTERESTING = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"expect"),
        *(b"x-api-key", b"authorization", b"x-request-id"),
    }
)


class Head(msgspec.Struct, frozen=True, gc=False):
    """``is_ingest`` is False for everything that aiohttp serves; the other members then mean nothing.

    ``length`` is that of the body, or CHUNKED. ``is_small`` marks a request that may go the short way when its body is
    at hand: of a known kind, without an encoding, short. ``key_digest`` is None where no key was presented.
    """

    is_ingest: bool
    keeps_alive: bool = False
    is_http_1_0: bool = False
    length: int = 0
    is_small: bool = False
    is_ndjson: bool = False
    key_digest: str | None = None
    request_id: str = ""
    content_type: str | None = None
    encoding: str = ""
    expect: str = ""


NO_HEAD = Head(is_ingest=False)


class _Fields:
    """What httptools calls while it reads."""

    def __init__(self) -> None:
        self.parser: httptools.HttpRequestParser | None = None  # until the end of the head
        self.target = b""
        self.count = 0
        self.hosts = 0
        self.first: dict[bytes, bytes] = {}
        self.is_complete = False
        self.keeps_alive = False

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count += 1
        name = name.lower()
        if name in _INTERESTING:
            self.first.setdefault(name, value)
            self.hosts += name == b"host"

    def on_headers_complete(self) -> None:
        self.is_complete = True
        if self.parser is not None:  # it forgets what Connection says as soon as a request without a body is complete
            self.keeps_alive = self.parser.should_keep_alive()
            self.parser = None

    def text(self, name: bytes) -> str | None:
        value = self.first.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape").strip(" \t")


def read(raw: bytes) -> Head:
    """``raw`` ends with the empty line. Raises RequestRejected, after which the connection must be closed."""
    _check_size(raw)
    fields = _Fields()
    fields.parser = parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        return NO_HEAD
    except httptools.HttpParserError as error:
        raise _no_http(error) from None
    if not fields.is_complete:
        raise RequestRejected("this is not HTTP/1.1: the head does not end where its empty line is", status=400)
    if fields.count > HEADERS_MAX:
        raise RequestRejected(f"there are more than {HEADERS_MAX} headers", status=431)
    refuse_ambiguous(parser.get_http_version(), fields.hosts, fields.text(b"transfer-encoding"))
    if parser.get_method() != b"POST" or fields.target.partition(b"?")[0] != INGEST_PATH:
        return NO_HEAD
    return _ingest_head(parser, fields)


def refuse_if_hopeless(start: bytes) -> None:
    """Of the start of a head: raises RequestRejected for what no further bytes can make one."""
    if len(start) > HEAD_BYTES_MAX:
        raise too_large()
    try:
        httptools.HttpRequestParser(_Fields()).feed_data(start)
    except httptools.HttpParserError as error:
        raise _no_http(error) from None


def too_large() -> RequestRejected:
    return RequestRejected(f"the head has more than {HEAD_BYTES_MAX} bytes", status=431)


def _check_size(raw: bytes) -> None:
    if len(raw) > HEAD_BYTES_MAX:
        raise too_large()
    if len(raw) <= LINE_BYTES_MAX:
        return
    if max(map(len, raw.split(b"\r\n"))) > LINE_BYTES_MAX:
        raise RequestRejected(f"a line of the head has more than {LINE_BYTES_MAX} bytes", status=431)


def refuse_ambiguous(version: str, hosts: int, transfer_encoding: str | None) -> None:
    """What two readers might read differently, though it is well-formed. Raises RequestRejected."""
    if version not in ("1.0", "1.1"):
        raise RequestRejected("only HTTP/1.1 and HTTP/1.0 are spoken here", status=400)
    if hosts > 1 or (version == "1.1" and not hosts):
        raise RequestRejected("there must be one Host header", status=400)
    if transfer_encoding is not None and (transfer_encoding.lower() != "chunked" or version == "1.0"):
        raise RequestRejected("the only Transfer-Encoding that is read is chunked, in HTTP/1.1", status=400)


def _ingest_head(parser: httptools.HttpRequestParser, fields: _Fields) -> Head:
    is_chunked = b"transfer-encoding" in fields.first
    length = CHUNKED if is_chunked else int(fields.first.get(b"content-length", b"0"))
    content_type = fields.text(b"content-type")
    encoding = encoding_of(fields.text(b"content-encoding") or "")
    is_http_1_0 = parser.get_http_version() == "1.0"
    expect = "" if is_http_1_0 else (fields.text(b"expect") or "").lower()
    key = presented_key(fields.text(b"x-api-key"), fields.text(b"authorization"))
    try:
        is_lines, is_known = is_ndjson(content_type), True
    except RequestRejected:
        is_lines = is_known = False
    return Head(
        is_ingest=True,
        keeps_alive=fields.keeps_alive,
        is_http_1_0=is_http_1_0,
        length=length,
        is_small=is_known and encoding == "identity" and 0 < length <= SMALL_BYTES and not expect,
        is_ndjson=is_lines,
        key_digest=None if key is None else api_key_digest(key),
        request_id=plain_request_id(fields.text(b"x-request-id") or ""),
        content_type=content_type,
        encoding=encoding,
        expect=expect,
    )


def _no_http(error: Exception) -> RequestRejected:
    """In the parser's own words, which hold nothing of the request."""
    return RequestRejected(f"this is not proper HTTP/1.1 ({error})", status=400)
