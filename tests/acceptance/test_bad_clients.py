"""Clients that do harm, on purpose or not. While each of them goes on, others are served as if it were not there."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zstandard

from tests.acceptance.audit_events import event, events
from tests.acceptance.gateway_process import OPERATOR_KEY, GatewayProcess, StartGateway
from tests.conformance.raw_http import RawAnswer, answers, request, talk

KEY = OPERATOR_KEY.encode()
MIB = 1 << 20
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def port_of(gateway: GatewayProcess) -> int:
    return int(gateway.address.rpartition(":")[2])


def post(*headers: bytes, body: bytes | None = None) -> bytes:
    return request(*headers, key=KEY, body=body)


@asynccontextmanager
async def connections(gateway: GatewayProcess, count: int) -> AsyncIterator[list[Connection]]:
    """Opened a few at a time, closed at the end."""
    made: list[Connection] = []
    try:
        while len(made) < count:
            few = min(100, count - len(made))
            made += await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port_of(gateway)) for _ in range(few)))
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


@asynccontextmanager
async def others_are_served(gateway: GatewayProcess) -> AsyncIterator[None]:
    """A healthy producer and someone who looks at the health, all the while; each at least once, all with success."""
    rounds = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal rounds
        while not enough.is_set() or not rounds:
            await gateway.api.accept([event()])
            await gateway.api.expect(200, "GET", "/healthz")
            rounds += 1
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        try:
            yield
        finally:
            enough.set()


async def memory_of(gateway: GatewayProcess) -> int:
    """Resident bytes of the process."""
    text = await asyncio.to_thread(Path(f"/proc/{gateway.pid}/status").read_text)
    (line,) = [line for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


async def test_many_idle_connections(start_gateway: StartGateway, soak: bool) -> None:
    """They cost a few KiB each and nobody else anything; with more than there may be, idle ones make room."""
    count = 10_000 if soak else 2_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 1_000)), hard))
    gateway = await start_gateway(server_connections_max=str(count + 50))
    before = await memory_of(gateway)
    async with connections(gateway, count):
        async with others_are_served(gateway):
            pass
        each = (await memory_of(gateway) - before) / count
        assert each < 16 << 10
        async with connections(gateway, 200) as more, others_are_served(gateway):
            for _, writer in more:
                writer.write(post(b"Connection: close", body=event()))
            for reader, _ in more:
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")


async def test_senders_that_trickle(start_gateway: StartGateway) -> None:
    """Heads and bodies that never get done: 408 after their time, all of them."""
    gateway = await start_gateway(server_head_timeout="1s", server_body_timeout="1s")
    starts = [post()[:40], post(b"Content-Length: 400") + b"{", post(b"Transfer-Encoding: chunked") + b"5\r\nx"]
    async with connections(gateway, 60) as made, others_are_served(gateway):
        for number, (_, writer) in enumerate(made):
            writer.write(starts[number % len(starts)])
        for reader, _ in made:
            async with asyncio.timeout(120):
                (answer,) = answers(await reader.read())
            assert answer.status == 408


async def test_readers_that_do_not_read(start_gateway: StartGateway) -> None:
    """Answers pile up to a bound, then no more is read of such a client, and after a time it is cut off."""
    gateway = await start_gateway(server_body_timeout="2s")
    before = await memory_of(gateway)
    async with connections(gateway, 20) as made, others_are_served(gateway):
        flood = post(body=b"\n".join([b"x"] * 1_000)) * 50

        async def push(writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while not writer.transport.is_closing():
                    writer.write(flood)
                    await writer.drain()

        for _, writer in made:
            writer.transport.pause_reading()  # type: ignore[attr-defined] # the transport of a stream is one
        async with asyncio.timeout(60):
            await asyncio.gather(*(push(writer) for _, writer in made))
        assert await memory_of(gateway) - before < 150 * MIB


async def test_a_flood_of_pipelined_requests(gateway: GatewayProcess) -> None:
    """Thousands at once on each of several connections: all answered, in order, in bounded memory."""
    before = await memory_of(gateway)
    count = 3_000

    async def flood() -> None:
        data = post(body=event()) * count + post(b"Connection: close", body=b"x")
        found = await talk(port_of(gateway), data)
        assert [answer.status for answer in found] == [202] * count + [400]

    async with others_are_served(gateway):
        await asyncio.gather(*(flood() for _ in range(4)))
    assert await memory_of(gateway) - before < 150 * MIB


@pytest.mark.parametrize(
    "headers",
    [[b"X-%d: y" % number for number in range(2_000)], [b"X: " + b"y" * 20_000], [b"Cookie: " + b"y" * 8_000] * 8],
    ids=["count", "one", "size"],
)
async def test_floods_of_headers(gateway: GatewayProcess, headers: list[bytes]) -> None:
    """431 and the end, in whatever way they are too many."""
    async with others_are_served(gateway):
        for _ in range(20):
            (answer,) = await talk(port_of(gateway), post(*headers, body=event()))
            assert (answer.status, answer.headers["content-type"]) == (431, "application/problem+json")


@pytest.mark.parametrize("encode", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("fill", [b" ", b"\n", b"x\n"])
async def test_bombs(gateway: GatewayProcess, encode: Callable[[bytes], bytes], fill: bytes) -> None:
    """Small bodies that become huge are given up with 413 (or refused as rubbish before), and memory stays flat."""
    name = b"gzip" if encode is gzip.compress else b"zstd"
    bomb = await asyncio.to_thread(encode, fill * (32 * MIB // len(fill)))
    before = await memory_of(gateway)
    async with others_are_served(gateway):
        found = await asyncio.gather(
            *(
                talk(port_of(gateway), post(b"Content-Encoding: " + name, b"Connection: close", body=bomb))
                for _ in range(4)
            )
        )
    assert [answer.status for (answer,) in found] == [413] * 4
    assert await memory_of(gateway) - before < 150 * MIB


SMUGGLING: dict[str, Callable[[], bytes]] = {
    "both lengths": lambda: post(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n" + hidden(),
    "length twice": lambda: post(b"Content-Length: 4", b"Content-Length: 900") + b"abcd" + hidden(),
    "folded": lambda: post(b"Transfer-Encoding:\r\n chunked", b"Content-Length: 4") + b"0\r\n\r\n" + hidden(),
    "space before the colon": lambda: post(b"Transfer-Encoding : chunked") + b"0\r\n\r\n" + hidden(),
    "line feed": lambda: post(b"X: y\nTransfer-Encoding: chunked") + b"0\r\n\r\n" + hidden(),
    "xchunked": lambda: post(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n" + hidden(),
    "chunk size overflow": lambda: (
        post(b"Transfer-Encoding: chunked") + b"10000000000000004\r\nabcd\r\n0\r\n\r\n" + hidden()
    ),
    "signed length": lambda: post(b"Content-Length: +4") + b"abcd" + hidden(),
    "nul": lambda: post(b"Content-Length: 4\0") + b"abcd" + hidden(),
}


def hidden() -> bytes:
    """The request that must not be seen as one."""
    return post(body=event())


@pytest.mark.parametrize("shape", SMUGGLING)
async def test_smuggled_requests(gateway: GatewayProcess, shape: str) -> None:
    """400 and the end of the connection; what hides behind is never served, on a fresh connection or a used one."""
    async with others_are_served(gateway):
        for first, statuses in ((b"", [400]), (post(body=event()), [202, 400])):
            found: list[RawAnswer] = await talk(port_of(gateway), first + SMUGGLING[shape]())
            assert [answer.status for answer in found] == statuses


async def test_chunks_that_lie(gateway: GatewayProcess) -> None:
    """A size that is not kept, one that never comes: 400 or 408, and nothing of it is taken."""
    chunk = b"%x\r\n%b" % (len(event()), event())
    async with others_are_served(gateway):
        for body in (chunk + b"xx", b"ffffff\r\n" + event(), b"5\r\nhello\r\nzz\r\n"):
            (answer,) = await talk(port_of(gateway), post(b"Transfer-Encoding: chunked") + body, end=True)
            assert answer.status == 400


async def test_half_closed_connections(gateway: GatewayProcess) -> None:
    """A client that sends all it has and closes its side gets every answer, of both kinds of routes."""
    look = request(method=b"GET", target=b"/readyz", key=None)
    for sent, statuses in (
        (post(body=event()) * 3, [202] * 3),
        (look, [200]),
        (post(body=event()) + look, [202, 200]),
        (post(body=event())[:-5], [400]),
        (look[:-5], []),
        (b"", []),
    ):
        found = await talk(port_of(gateway), sent, end=True)
        assert [answer.status for answer in found] == statuses


async def test_a_producer_of_nothing_but_rubbish(gateway: GatewayProcess) -> None:
    """Lines without end that are no events: others are served in between, and the answer is one 400."""
    rubbish = b"x\n" * (4 * MIB)
    served = 0

    async def look() -> None:
        nonlocal served
        while True:
            await gateway.api.expect(200, "GET", "/healthz")
            served += 1

    looking = asyncio.create_task(look())
    (answer,) = await talk(port_of(gateway), post(b"Connection: close", body=rubbish))
    looking.cancel()
    await asyncio.wait({looking})
    assert served > 10
    assert answer.status == 400
    assert b"none of the 4194304 events are valid" in answer.body


async def test_none_of_it_costs_an_event(start_gateway: StartGateway) -> None:
    """After all kinds of broken requests the books have what was acknowledged, and the log holds nothing else."""
    gateway = await start_gateway()
    lines = events(20)
    broken: list[Callable[[], Awaitable[object]]] = [
        lambda: talk(port_of(gateway), post(b"Content-Length: 900") + event(), end=True),
        lambda: talk(port_of(gateway), post(b"Content-Encoding: gzip", b"Connection: close", body=b"rubbish")),
        lambda: talk(port_of(gateway), b"\0" * 100 + b"\r\n\r\n"),
    ]
    from gateway.demo.receivers import WebhookReceiver

    async with WebhookReceiver(format="ndjson") as receiver:
        destination = await gateway.api.create(receiver)
        for number, line in enumerate(lines):
            await broken[number % len(broken)]()
            await gateway.api.accept([line])
        books = await gateway.api.until_settled(destination)
        assert books["delivered"] == books["accepted"] == len(lines)
