"""Heads: what is read from them, and that damaged ones are refused and nothing worse."""

from __future__ import annotations

import random

import pytest

from gateway.destinations.ids import api_key_digest
from gateway.errors import RequestRejected
from gateway.server.front.head import CHUNKED, HEAD_BYTES_MAX, SMALL_BYTES, read, refuse_if_hopeless
from tests.conformance.raw_http import request
from tests.conformance.test_ingest import CASES


def test_what_the_short_way_needs_is_read() -> None:
    """The length, the kind, the key as its digest, and whether the connection goes on."""
    head = read(request(b"X-Request-Id: mine", b"Content-Length: 7"))
    assert (head.is_ingest, head.is_small, head.is_ndjson, head.keeps_alive, head.length) == (True, True, True, True, 7)
    assert (head.key_digest, head.request_id) == (api_key_digest("tl_live_operator"), "mine")


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ((b"Transfer-Encoding: chunked",), b"application/json"),
        ((b"Content-Length: 7", b"Content-Encoding: gzip"), b"application/json"),
        ((b"Content-Length: 7", b"Expect: 100-continue"), b"application/json"),
        ((b"Content-Length: 7",), b"text/plain"),
        ((b"Content-Length: %d" % (SMALL_BYTES + 1),), b"application/json"),
        ((b"Content-Length: 0",), b"application/json"),
        ((), b"application/json"),
    ],
)
def test_everything_else_goes_the_long_way(headers: tuple[bytes, ...], content_type: bytes) -> None:
    """Chunks, encodings, expectations, other types, long bodies and none."""
    head = read(request(*headers, content_type=content_type))
    assert (head.is_ingest, head.is_small) == (True, False)
    assert (head.length == CHUNKED) == (b"Transfer-Encoding: chunked" in headers)


@pytest.mark.parametrize("length", [(), (b"Content-Length: 0",), (b"Content-Length: 7",)])
@pytest.mark.parametrize(
    ("version", "connection", "goes_on"),
    [
        (b"HTTP/1.1", (), True),
        (b"HTTP/1.1", (b"Connection: close",), False),
        (b"HTTP/1.1", (b"Connection: keep-alive",), True),
        (b"HTTP/1.1", (b"Connection: x, Close",), False),
        (b"HTTP/1.0", (), False),
        (b"HTTP/1.0", (b"Connection: close",), False),
        (b"HTTP/1.0", (b"Connection: keep-alive",), True),
    ],
)
def test_whether_the_connection_goes_on(
    length: tuple[bytes, ...], version: bytes, connection: tuple[bytes, ...], goes_on: bool
) -> None:
    """As the version and ``Connection`` say, whatever body there is, also none."""
    assert read(request(*length, *connection, version=version)).keeps_alive is goes_on


@pytest.mark.parametrize(
    "raw",
    [
        request(method=b"GET"),
        request(target=b"/v1/audit/siem"),
        request(target=b"/v1/audit/eventsx"),
        request(target=b"http://a/v1/audit/events"),
        request(b"Connection: upgrade", b"Upgrade: websocket"),
        request(method=b"CONNECT", target=b"a:1"),
    ],
)
def test_other_routes_are_not_ours(raw: bytes) -> None:
    """They are aiohttp's, whatever they are."""
    assert not read(raw).is_ingest


def test_a_head_that_cannot_become_one_is_refused_early() -> None:
    """Nobody waits for the end of what is no HTTP; what still may become a head is waited for."""
    whole = request(body=b"x")
    for size in range(1, len(whole) - 1):
        refuse_if_hopeless(whole[:size])
    for start in (b"\x16\x03\x01", b"hello ", b"GET / HTTP/1.1\nHost: a\n\n", b"x" * (HEAD_BYTES_MAX + 1)):
        with pytest.raises(RequestRejected):
            refuse_if_hopeless(start)


def test_damaged_heads_are_read_or_refused(soak: bool) -> None:
    """Random damage to every head of the table: a head or a RequestRejected, never another exception."""
    generator = random.Random(11)
    heads = [case.sent.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for case in CASES.values()]
    refused = 0
    rounds = 400_000 if soak else 8_000
    for _ in range(rounds):
        raw = bytearray(generator.choice(heads))
        for _ in range(generator.randrange(1, 4)):
            at = generator.randrange(len(raw))
            match generator.randrange(4):
                case 0:
                    raw[at] = generator.randrange(256)
                case 1:
                    del raw[at : at + generator.randrange(1, 9)]
                case 2:
                    raw[at:at] = generator.choice([b"\r\n", b"\n", b"\0", b":", b" ", b"\t", b"chunked", b"9" * 30])
                case 3:
                    raw[at:at] = raw[at : at + 20]
            raw = raw or bytearray(b"x")
        try:
            read(bytes(raw) + b"\r\n\r\n")
        except RequestRejected:
            refused += 1
    assert rounds // 4 < refused < rounds
