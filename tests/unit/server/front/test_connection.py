"""One connection: any cut of the bytes gives the same answers, and no bytes give anything but answers or an end."""

from __future__ import annotations

import asyncio
import random
import ssl
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop

from gateway.config import Activity, Ingest, Queue, RetryPolicy, Server, TcpAddress, UnixAddress
from gateway.quantity import Bytes, Seconds
from gateway.server.front.connection import PIPELINED_MAX
from gateway.server.listener import Listener
from tests.certificates import Certificate, make_certificate
from tests.conformance.raw_http import GOODBYE, RawAnswer, answers, chunked, request, talk
from tests.conformance.test_ingest import CASES
from tests.events import event, events
from tests.loopback_gateway import Gateway, stored
from tests.unit.server.conftest import Start
from tests.unit.server.front.conftest import Wire


def cut(data: bytes, generator: random.Random) -> list[bytes]:
    """In up to a dozen places; now and then at each byte."""
    if generator.random() < 0.1:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted({0, len(data), *(generator.randrange(len(data) + 1) for _ in range(generator.randrange(12)))})
    return [data[start:end] for start, end in pairwise(places)]


def outline(found: list[RawAnswer]) -> list[tuple[int, bytes]]:
    return [(answer.status, answer.body) for answer in found]


async def test_answers_do_not_depend_on_how_the_bytes_are_cut(wire: Wire, gateway: Gateway, soak: bool) -> None:
    """Requests of the table one behind another, cut at random: the same answers as in one piece, the same events."""
    generator = random.Random(5)
    consumer = await gateway.watch()
    small = [case for case in CASES.values() if case.goes_on and len(case.sent) < 4_000 and not case.end]
    for _ in range(3_000 if soak else 60):
        cases = [generator.choice(small) for _ in range(generator.randrange(1, 5))]
        data = b"".join(case.sent for case in cases) + GOODBYE
        found = await wire.send(cut(data, generator), end=True)
        expected = [status for case in cases for status in case.statuses] + [200]
        assert [answer.status for answer in found if answer.status != 100] == [s for s in expected if s != 100]
        assert len(await stored(consumer)) == sum(case.stored for case in cases)


async def test_damaged_streams_end_in_answers_or_in_nothing(wire: Wire, soak: bool) -> None:
    """Random damage, random cuts: no exception, no waiting without end, and every byte written is an answer."""
    generator = random.Random(7)
    small = [case for case in CASES.values() if len(case.sent) < 4_000]
    seen = set()
    for _ in range(10_000 if soak else 250):
        data = bytearray(b"".join(generator.choice(small).sent for _ in range(generator.randrange(1, 4))))
        for _ in range(generator.randrange(1, 4)):
            at = generator.randrange(len(data))
            if generator.random() < 0.5:
                data[at] = generator.randrange(256)
            else:
                data[at : at + generator.randrange(4)] = generator.choice([b"", b"\r\n", b"\0", b"0", b"\n", b": "])
        found = await wire.send(cut(bytes(data), generator), end=True)
        seen |= {answer.status for answer in found}
    assert {202, 400} <= seen
    assert not seen & {500, 503}


async def test_pipelining_is_bounded(wire: Wire, gateway: Gateway) -> None:
    """However many requests come at once, a bounded number is under way; all are answered, in order."""
    consumer = await gateway.watch()
    count = PIPELINED_MAX * 5
    data = b"".join(request(body=event(number)) for number in range(count)) + request(b"Connection: close", body=b"x")
    assert [answer.status for answer in await wire.send([data], end=False)] == [202] * count + [400]
    assert await stored(consumer) == events(count, first=0)


async def test_a_slow_head_is_answered_with_408(start: Start) -> None:
    """From its first byte on it may take ``server.head_timeout``, however it trickles."""
    gateway = await start(server=Server(head_timeout_s=Seconds(0.3)))
    for parts in ([b"POST"], [bytes([byte]) for byte in request(body=event())[:200]]):
        (answer,) = await talk(gateway.port, *parts, pause_s=0.02)
        assert (answer.status, answer.headers["connection"]) == (408, "close")


async def test_a_slow_small_body_is_answered_with_408(start: Start) -> None:
    """All of it has to come within ``server.body_timeout``; nothing of it is taken, and it counts."""
    gateway = await start(server=Server(body_timeout_s=Seconds(0.3)))
    consumer = await gateway.watch()
    trickle = [bytes([byte]) for byte in event()[:100]]
    (answer,) = await talk(gateway.port, request(b"Content-Length: 500"), *trickle, pause_s=0.02)
    assert answer.status == 408
    assert await stored(consumer) == []
    assert b'gateway_ingest_requests_total{status="408"} 1.0' in (await gateway.ask("GET", "/metrics")).body


async def test_a_trickling_stream_is_given_up(start: Start) -> None:
    """A body of any length has to bring a KiB in each ``server.body_timeout``."""
    gateway = await start(server=Server(body_timeout_s=Seconds(0.3)))
    trickle = [b"1\r\nx\r\n"] * 100
    (answer,) = await talk(gateway.port, request(b"Transfer-Encoding: chunked"), *trickle, pause_s=0.02)
    assert answer.status == 408


async def test_an_idle_connection_is_closed_without_a_word(start: Start) -> None:
    """After ``server.keep_alive``, whether it was ever used or not."""
    gateway = await start(server=Server(keep_alive_s=Seconds(0.2)))
    assert await talk(gateway.port) == []
    assert [answer.status for answer in await talk(gateway.port, request(body=event()))] == [202]


async def test_incomplete_requests_together_are_bounded(start: Start) -> None:
    """What is held of them all has a bound; beyond it the next is refused with 503, and whole ones are served."""
    bound = Ingest(buffered_bytes_max=Bytes(64 << 10), body_bytes_max=Bytes(64 << 10), event_bytes_max=Bytes(4 << 10))
    gateway = await start(ingest=bound)
    part = request(b"Content-Length: 60000") + b"x" * 40_000
    held = [await asyncio.open_connection("127.0.0.1", gateway.port)]
    held[0][1].write(part)
    (answer,) = await talk(gateway.port, part)
    assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)
    assert (await gateway.post(event())).status == 202
    held[0][1].close()


@pytest.mark.parametrize(
    ("start_of", "rest"),
    [(request(b"Content-Length: 60000"), b"x" * 40_000), (b"POST / HTTP/1.1", b"\r\nX: %b" % (b"x" * 8_000) * 4)],
    ids=["bodies", "heads"],
)
async def test_incomplete_requests_are_bounded_as_they_grow(start: Start, start_of: bytes, rest: bytes) -> None:
    """Each had room when it began; the one that takes the last of it later is refused."""
    bound = Ingest(buffered_bytes_max=Bytes(64 << 10), body_bytes_max=Bytes(64 << 10), event_bytes_max=Bytes(4 << 10))
    gateway = await start(ingest=bound)
    growing = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
    for _, writer in growing:
        writer.write(start_of)
    assert (await gateway.post(event())).status == 202
    for _, writer in growing:
        writer.write(rest)
    said = [asyncio.create_task(reader.read()) for reader, _ in growing]
    done, _ = await asyncio.wait(said, return_when=asyncio.FIRST_COMPLETED)
    assert {answer.status for task in done for answer in answers(task.result())} == {503}
    assert (await gateway.post(event())).status == 202
    for _, writer in growing:
        writer.close()
    await asyncio.wait(said)


async def test_too_many_connections(start: Start) -> None:
    """Beyond ``server.connections_max`` the one that was idle longest goes; when all are busy, the new one gets 503."""
    gateway = await start(server=Server(connections_max=3))
    idle = await asyncio.open_connection("127.0.0.1", gateway.port)
    busy = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(b"Expect: 100-continue", b"Transfer-Encoding: chunked"))
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        busy.append((reader, writer))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request(b"Expect: 100-continue", b"Transfer-Encoding: chunked"))
    assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
    busy.append((reader, writer))
    assert await idle[0].read() == b""
    (answer,) = await talk(gateway.port)
    assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)
    for reader, writer in busy:
        writer.write(chunked(event()))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
        writer.close()
    idle[1].close()


async def test_those_of_other_routes_make_room_too(start: Start) -> None:
    """Also what asked something without a key, and was left open, keeps no producer out."""
    gateway = await start(server=Server(connections_max=3))
    idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
    for reader, writer in idle:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'"alive"' in await reader.readuntil(b"}")
    assert (await gateway.post(event())).status == 202
    assert await idle[0][0].read() == b""
    for _, writer in idle:
        writer.close()


async def test_a_stop_ends_idle_connections_and_answers_the_others(start: Start) -> None:
    """What is under way gets its answer and the end of its connection; nothing new is taken."""
    gateway = await start()
    idle = await asyncio.open_connection("127.0.0.1", gateway.port)
    part = await asyncio.open_connection("127.0.0.1", gateway.port)
    part[1].write(request(b"Content-Length: 500") + b"x")
    stream = await asyncio.open_connection("127.0.0.1", gateway.port)
    stream[1].write(request(b"Expect: 100-continue", b"Transfer-Encoding: chunked"))
    await stream[0].readuntil(b"\r\n\r\n")
    gateway.stopping.set()
    stopping = asyncio.create_task(gateway.listener.stop())
    assert await idle[0].read() == b""
    for reader, _ in (part, stream):
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert int(answer.headers["retry-after"]) > 0
    for _, writer in (idle, part, stream):
        writer.close()
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", gateway.port)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_every_loop_and_every_kind_of_socket(tmp_path: Path, loop: str, kind: str) -> None:
    """Ingest and another route on one connection, small and streamed, then a stop."""

    async def work() -> None:
        async with AsyncExitStack() as resources:
            gateway = Gateway(tmp_path / "data")
            small = Queue(segment_bytes=Bytes(1 << 20))
            await gateway.build(
                resources,
                ingest=Ingest(),
                server=Server(),
                queue=small,
                retry=RetryPolicy(),
                activity=Activity(emit=False),
            )
            listener = Listener(gateway.app, Server())
            resources.push_async_callback(listener.stop)
            certificate = make_certificate(tmp_path, "localhost")
            server_side, client_side = tls_contexts(certificate)
            address = UnixAddress(str(tmp_path / "s")) if kind == "unix" else TcpAddress("127.0.0.1", 0)
            where = await listener.start(address, server_side if kind == "tls" else None)
            if isinstance(address, UnixAddress):
                reader, writer = await asyncio.open_unix_connection(address.path)
            else:
                port = int(where.rpartition(":")[2])
                secured = client_side if kind == "tls" else None
                reader, writer = await asyncio.open_connection("localhost", port, ssl=secured)
            streamed = request(b"Transfer-Encoding: chunked") + chunked(*[line + b"\n" for line in events(3)])
            writer.write(request(body=event()) * 100 + request(body=b"x") + streamed + request(body=event()) + GOODBYE)
            found = [answer.status for answer in answers(await reader.read())]
            assert found == [202] * 100 + [400, 202, 202, 200]
            writer.close()

    asyncio.run(work()) if loop == "asyncio" else uvloop.run(work())


def tls_contexts(certificate: Certificate) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate.ca_file)
    server.load_cert_chain(certificate.chain_file)
    return server, client
