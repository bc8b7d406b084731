"""One table of requests, two ways in: the gateway's own protocol, and the same route on aiohttp.

Both must give the same answers to the same bytes: status, headers, body, and whether the connection goes on. Behind
each case comes one more request, so that it shows.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard
from aiohttp import web

from gateway.config import Activity, Ingest, Queue, RetryPolicy, Server
from gateway.quantity import Bytes, Seconds
from gateway.server.handler import ApiHandler
from tests.conformance.raw_http import GOODBYE, RawAnswer, chunked, request, talk
from tests.events import event, events
from tests.loopback_gateway import Gateway, stored

LINES = b"\n".join(events(3)) + b"\n"
TE = b"Transfer-Encoding: chunked"


class Case(NamedTuple):
    """``statuses`` of all answers but that to the request behind it; ``goes_on``: that one is answered, too."""

    sent: bytes
    statuses: tuple[int, ...]
    goes_on: bool = True
    stored: int = 0
    end: bool = False
    with_aiohttp: bool = True


def length(value: bytes, *more: bytes) -> bytes:
    return request(b"Content-Length: " + value, *more) + event()


def te(*headers: bytes, body: bytes | None = None) -> bytes:
    return request(*headers) + (chunked(event()) if body is None else body)


OK, BAD = (202,), (400,)
CASES = {
    # -- what is taken
    "one event": Case(request(body=event()), OK, stored=1),
    "lines": Case(request(body=LINES), OK, stored=3),
    "lines, carriage returns": Case(request(body=LINES.replace(b"\n", b"\r\n")), OK, stored=3),
    "json object": Case(request(content_type=b"application/json", body=event()), OK, stored=1),
    "json array": Case(request(content_type=b"application/json", body=b"[" + event() + b"]"), OK, stored=1),
    "json with a charset": Case(request(content_type=b'application/json; charset="UTF-8"', body=event()), OK, stored=1),
    "two lines as json": Case(request(content_type=b"application/json", body=event() + b"\n" + event(2)), BAD),
    "some bad": Case(request(body=event() + b"\nx\n"), (207,), stored=1),
    "all bad": Case(request(body=b"x\ny\n"), BAD),
    "one bad": Case(request(body=b"x"), BAD),
    "nothing": Case(request(body=b""), BAD),
    "no length": Case(request(), BAD),
    "blank lines": Case(request(body=b"\n\n \n"), BAD),
    "two tenants": Case(request(body=event() + b"\n" + event(2, tenant_id="other")), OK, stored=2),
    "large": Case(request(body=b"\n".join(events(500))), OK, stored=500),
    "gzip": Case(request(b"Content-Encoding: gzip", body=gzip.compress(LINES)), OK, stored=3),
    "zstd": Case(request(b"Content-Encoding: ZSTD", body=zstandard.compress(LINES)), OK, stored=3),
    "deflate": Case(request(b"Content-Encoding: deflate", body=zlib.compress(LINES)), OK, stored=3),
    "identity": Case(request(b"Content-Encoding: identity", body=LINES), OK, stored=3),
    "empty encoding": Case(request(b"Content-Encoding:", body=LINES), OK, stored=3),
    "broken gzip": Case(request(b"Content-Encoding: gzip", body=gzip.compress(LINES)[:-3]), BAD),
    "unknown encoding": Case(request(b"Content-Encoding: br", body=LINES), (415,)),
    "chunked": Case(te(TE, body=chunked(LINES[:10], LINES[10:])), OK, stored=3),
    "chunk extensions": Case(te(TE, body=b'%x;a=b;c="d"\r\n%b\r\n0;e\r\n\r\n' % (len(LINES), LINES)), OK, stored=3),
    "chunk size with zeros": Case(te(TE, body=b"000%X\r\n%b\r\n0\r\n\r\n" % (len(LINES), LINES)), OK, stored=3),
    "trailers": Case(te(TE, body=chunked(LINES, trailers=b"X-Check: 1\r\nY: 2\r\n")), OK, stored=3),
    # -- who may
    "no key": Case(request(key=None, body=event()), (401,)),
    "unknown key": Case(request(key=b"tl_live_x", body=event()), (401,)),
    "strange key": Case(request(key=b"\xe9\xff", body=event()), (401,)),
    "bearer": Case(request(b"Authorization: Bearer tl_live_operator", key=None, body=event()), OK, stored=1),
    "two keys, the first counts": Case(request(b"X-API-Key: tl_live_x", body=event()), OK, stored=1),
    "unknown key, large body": Case(request(key=b"x", body=LINES * 900), (401,)),
    "unknown key, chunks": Case(request(TE, key=b"x") + chunked(LINES), (401,)),
    # -- of what kind
    "no content type": Case(request(content_type=None, body=event()), (415,)),
    "text": Case(request(content_type=b"text/plain", body=event()), (415,)),
    "strange content type": Case(request(content_type=b"application/json;;==", body=event()), OK, stored=1),
    "a content type of nothing but comments": Case(request(content_type=b"(" * 4000, body=event()), (415,)),
    "a content type of nothing but parameters": Case(request(content_type=b"a/b" + b";" * 4000, body=event()), (415,)),
    "a short one of comments": Case(request(content_type=b"(" * 128, body=event()), (415,)),
    "latin": Case(request(content_type=b"application/json; charset=latin-1", body=event()), (415,)),
    # -- the request line
    "query": Case(request(target=b"/v1/audit/events?a=1&b", body=event()), OK, stored=1),
    "percent": Case(request(target=b"/v1/audit/%65vents", body=event()), OK, stored=1),
    "absolute form": Case(request(target=b"http://gateway/v1/audit/events", body=event()), OK, stored=1),
    "slash at the end": Case(request(target=b"/v1/audit/events/", body=event()), (404,)),
    "two slashes": Case(request(target=b"/v1//audit/events", body=event()), (404,)),
    "get": Case(request(method=b"GET"), (405,)),
    "put": Case(request(method=b"PUT", body=event()), (405,)),
    "options": Case(request(method=b"OPTIONS"), (405,)),
    "unknown method": Case(request(method=b"BREW", body=event()), BAD, goes_on=False),
    "lower case method": Case(request(method=b"post", body=event()), BAD, goes_on=False),
    "no version": Case(b"POST /v1/audit/events\r\n\r\n", (400,), goes_on=False),
    "http 2": Case(request(version=b"HTTP/2.0", body=event()), (400,), goes_on=False),
    "http 1.2": Case(request(version=b"HTTP/1.2", body=event()), BAD, goes_on=False),
    "http 1.0": Case(request(version=b"HTTP/1.0", body=event()), OK, goes_on=False, stored=1),
    "http 1.0 without host": Case(request(version=b"HTTP/1.0", host=None, body=event()), OK, goes_on=False, stored=1),
    "http 1.0 kept": Case(request(b"Connection: keep-alive", version=b"HTTP/1.0", body=event()), OK, stored=1),
    "http 1.0 kept, nothing": Case(request(b"Connection: keep-alive", version=b"HTTP/1.0", body=b""), BAD),
    "http 1.0 kept, no length": Case(request(b"Connection: keep-alive", version=b"HTTP/1.0"), BAD),
    "http 1.0, nothing": Case(request(version=b"HTTP/1.0", body=b""), BAD, goes_on=False),
    "rubbish": Case(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", BAD, goes_on=False),
    "empty lines before": Case(b"\r\n\r\n" + request(body=event()), OK, stored=1),
    "tabs": Case(request(method=b"POST\t", body=event()), BAD, goes_on=False),
    "nul in the path": Case(request(target=b"/v1/audit/events\0", body=event()), BAD, goes_on=False),
    # -- headers
    "close": Case(request(b"Connection: close", body=event()), OK, goes_on=False, stored=1),
    "close, refused": Case(request(b"Connection: close", key=None, body=event()), (401,), goes_on=False),
    "close, nothing": Case(request(b"Connection: close", body=b""), BAD, goes_on=False),
    "close, no length": Case(request(b"Connection: close"), BAD, goes_on=False),
    "close, chunks": Case(te(b"Connection: close", TE), OK, goes_on=False, stored=1),
    "request id": Case(request(b"X-Request-Id: mine-1", body=event()), OK, stored=1),
    "strange request id": Case(request(b"X-Request-Id: a b", body=event()), OK, stored=1),
    "expect": Case(request(b"Expect: 100-continue", body=event()), (100, 202), stored=1),
    "expect, refused": Case(request(b"Expect: 100-continue", key=None, body=event()), (401,)),
    "expect something": Case(request(b"Expect: wonders", body=event()), (417,)),
    "expect in http 1.0": Case(
        request(b"Expect: 100-continue", version=b"HTTP/1.0", body=event()), OK, goes_on=False, stored=1
    ),
    "no host": Case(request(host=None, body=event()), BAD, goes_on=False),
    "two hosts": Case(request(b"Host: other", body=event()), BAD, goes_on=False),
    "bare line feed": Case(request(b"X: a\nY: b", body=event()), BAD, goes_on=False),
    "bare carriage return": Case(request(b"X: a\rY: b", body=event()), BAD, goes_on=False),
    "only line feeds": Case(request(body=event()).replace(b"\r\n", b"\n"), BAD, goes_on=False),
    "space before the colon": Case(request(b"X-A : b", body=event()), BAD, goes_on=False),
    "folded": Case(request(b"X-A: b\r\n c", body=event()), BAD, goes_on=False),
    "no colon": Case(request(b"X-A", body=event()), BAD, goes_on=False),
    "no name": Case(request(b": b", body=event()), BAD, goes_on=False),
    "nul in a value": Case(request(b"X-A: \0", body=event()), BAD, goes_on=False),
    "nul in a name": Case(request(b"X\0A: b", body=event()), BAD, goes_on=False),
    "line too long": Case(request(b"X-A: " + b"b" * 9_000, body=event()), (431,), goes_on=False),
    "target too long": Case(request(target=b"/" + b"b" * 9_000, body=event()), (431,), goes_on=False),
    "too many headers": Case(request(*[b"X-A: b"] * 200, body=event()), (431,), goes_on=False),
    # -- where the body ends, and what smugglers try
    "both lengths": Case(length(b"5", TE), BAD, goes_on=False),
    "both lengths, the other way": Case(request(TE, b"Content-Length: 5") + chunked(event()), BAD, goes_on=False),
    "length twice": Case(length(b"%d" % len(event()), b"Content-Length: %d" % len(event())), BAD, goes_on=False),
    "two lengths": Case(length(b"5", b"Content-Length: 6"), BAD, goes_on=False),
    "list of lengths": Case(length(b"5, 5"), BAD, goes_on=False),
    "signed length": Case(length(b"+5"), BAD, goes_on=False),
    "negative length": Case(length(b"-5"), BAD, goes_on=False),
    "hexadecimal length": Case(length(b"0x5"), BAD, goes_on=False),
    "empty length": Case(length(b""), BAD, goes_on=False),
    "endless length": Case(length(b"9" * 30), BAD, goes_on=False),
    "length with underscores": Case(length(b"1_0"), BAD, goes_on=False),
    "gzip, chunked": Case(te(b"Transfer-Encoding: gzip, chunked"), BAD, goes_on=False),
    "chunked, gzip": Case(te(b"Transfer-Encoding: chunked, gzip"), BAD, goes_on=False),
    "chunked twice": Case(te(TE, TE), BAD, goes_on=False),
    "xchunked": Case(te(b"Transfer-Encoding: xchunked"), BAD, goes_on=False),
    "chunked with a parameter": Case(te(b"Transfer-Encoding: chunked;q=1"), BAD, goes_on=False),
    "identity coding": Case(te(b"Transfer-Encoding: identity"), BAD, goes_on=False),
    "chunked behind a tab": Case(te(b"Transfer-Encoding:\tchunked", body=chunked(event())), OK, stored=1),
    "chunked behind a strange space": Case(te(b"Transfer-Encoding: \x0bchunked"), BAD, goes_on=False),
    "space in the name": Case(te(b"Transfer-Encoding : chunked"), BAD, goes_on=False),
    "chunked in capitals": Case(te(b"Transfer-Encoding: CHUNKED", body=chunked(event())), OK, stored=1),
    "http 1.0 with chunks": Case(request(TE, version=b"HTTP/1.0") + chunked(event()), BAD, goes_on=False),
    "chunk size too long": Case(te(TE, body=b"f" * 17 + b"\r\nx"), BAD, goes_on=False),
    "chunk size signed": Case(te(TE, body=b"+5\r\nhello\r\n0\r\n\r\n"), BAD, goes_on=False),
    "chunk size 0x": Case(te(TE, body=b"0x5\r\nhello\r\n0\r\n\r\n"), BAD, goes_on=False),
    "chunk size empty": Case(te(TE, body=b"\r\nhello\r\n0\r\n\r\n"), BAD, goes_on=False),
    "chunk longer than said": Case(te(TE, body=b"3\r\nhello\r\n0\r\n\r\n"), BAD, goes_on=False),
    "chunk without its line end": Case(te(TE, body=b"5\r\nhello0\r\n\r\n"), BAD, goes_on=False),
    "chunk with line feeds": Case(te(TE, body=b"5\nhello\n0\n\n"), BAD, goes_on=False),
    "trailer that is none": Case(te(TE, body=chunked(event(), trailers=b"no colon\r\n")), BAD, goes_on=False),
    # -- cut off
    "cut in the body": Case(request(b"Content-Length: 500") + event()[:100], BAD, goes_on=False, end=True),
    "cut in a large body": Case(request(b"Content-Length: 500000") + event(), BAD, goes_on=False, end=True),
    "cut in a chunk": Case(request(TE) + b"100\r\n" + event()[:100], BAD, goes_on=False, end=True),
    "cut in the head": Case(request(body=event())[:50], (), goes_on=False, end=True),
    "half closed": Case(request(body=event()), OK, goes_on=False, stored=1, end=True),
    "half closed, chunks": Case(request(TE) + chunked(LINES), OK, goes_on=False, stored=3, end=True),
    # -- several
    "pipelined": Case(b"".join(request(body=event(n)) for n in range(9)), (202,) * 9, stored=9),
    "pipelined, mixed": Case(
        request(body=event()) + request(key=None, body=event()) + request(TE) + chunked(LINES) + request(body=b"x"),
        (202, 401, 202, 400),
        stored=4,
    ),
    "pipelined with other routes": Case(
        request(body=event())
        + request(method=b"GET", target=b"/healthz")
        + request(body=event(2))
        + request(method=b"GET", target=b"/v1/audit/nowhere")
        + request(body=event(3)),
        (202, 200, 202, 404, 202),
        stored=3,
    ),
    # aiohttp gives up the requests that came in one piece with broken bytes behind them
    "pipelined behind the last": Case(
        request(b"Connection: close", body=event()) + request(body=event(2)), OK, False, stored=1, with_aiohttp=False
    ),
    "pipelined behind the last, which is empty": Case(
        request(b"Connection: close", body=b"") + request(body=event()), BAD, False, with_aiohttp=False
    ),
    "rubbish behind a request": Case(
        request(body=event()) + b"\0\0\0\r\n\r\n", (202, 400), False, stored=1, with_aiohttp=False
    ),
    "body longer than said": Case(request(b"Content-Length: 40") + event(), (400, 400), False, with_aiohttp=False),
}


class Ways(NamedTuple):
    gateway: Gateway
    front: int
    aiohttp: int


@pytest.fixture
async def ways(tmp_path: Path) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as resources:
        gateway = Gateway(tmp_path / "data")
        await gateway.build(
            resources,
            ingest=Ingest(),
            server=Server(body_timeout_s=Seconds(5)),
            queue=Queue(segment_bytes=Bytes(1 << 20)),
            retry=RetryPolicy(),
            activity=Activity(emit=False),
        )
        runner = web.AppRunner(gateway.app, handle_signals=False)
        await runner.setup()
        made = runner.server
        assert made is not None
        server = await asyncio.get_running_loop().create_server(
            lambda: ApiHandler(made, lambda: None, keep_alive_s=5, unread_s=5), "127.0.0.1", 0
        )
        resources.push_async_callback(runner.cleanup)
        resources.callback(server.close)
        yield Ways(gateway, gateway.port, server.sockets[0].getsockname()[1])


def comparable(answer: RawAnswer, case: Case) -> RawAnswer:
    """Without what differs from one request to the next. Whether a client's end was seen before the answer, and so
    whether that says ``close``, is chance.
    """
    chance = {"date", "connection"} if case.end else {"date"}
    headers = {name: value for name, value in answer.headers.items() if name not in chance}
    if len(headers.get("x-request-id", "")) == 32:
        headers["x-request-id"] = "made"
    return answer._replace(headers=headers)


@pytest.mark.parametrize("name", CASES)
async def test_both_ways_answer_alike(ways: Ways, name: str) -> None:
    """Status, headers, body, what is stored, and whether the connection goes on."""
    case = CASES[name]
    consumer = await ways.gateway.watch()
    said: list[list[RawAnswer]] = []
    for port in (ways.front, ways.aiohttp) if case.with_aiohttp else (ways.front,):
        found = await talk(port, case.sent + GOODBYE if case.goes_on else case.sent, end=case.end)
        expected = [*case.statuses, *([200] if case.goes_on else [])]
        assert [answer.status for answer in found] == expected
        assert len(await stored(consumer)) == case.stored
        said.append([comparable(answer, case) for answer in found])
        for answer in said[-1]:
            assert "server" not in answer.headers
            if answer.status >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
    if not case.goes_on and said[0] and said[0][-1].status in (400, 431):
        said = [found[:-1] for found in said]  # what is wrong with the framing each way says in its own words
    assert all(found == said[0] for found in said)
