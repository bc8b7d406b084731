"""Request bodies in every encoding, whole, cut, corrupt and hostile."""

from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
import zstandard

from gateway.config import Ingest, Server
from gateway.quantity import Bytes, Seconds
from gateway.server.body import STEP_BYTES
from tests.events import event, events
from tests.loopback_gateway import JSON, Gateway, stored
from tests.unit.server.conftest import Start

LINES = events(50)
BODY = b"\n".join(LINES)


def raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def streamed_zstd(data: bytes) -> bytes:
    """Without the size in its head, with a checksum at its end."""
    squeeze = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return squeeze.compress(data) + squeeze.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd-streamed": ("zstd", streamed_zstd),
    "deflate": ("deflate", zlib.compress),
    "deflate-raw": ("deflate", raw_deflate),
}
COMPRESSED = [name for name in ENCODERS if name != "identity"]


async def in_chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    """A body of unknown length, for a chunked request."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize("name", ENCODERS)
async def test_every_encoding_comes_to_the_same_events(gateway: Gateway, name: str) -> None:
    """gzip, zstd and deflate (with its header and, as some senders do it, without); whole and in chunks."""
    encoding, encode = ENCODERS[name]
    consumer = await gateway.watch()
    whole = await gateway.post(encode(BODY), Content_Encoding=encoding.upper())
    chunked = await gateway.post(in_chunks(encode(BODY), 7), Content_Encoding=encoding)
    assert (whole.status, whole.json, chunked.json) == (202, {"accepted": 50, "rejected": 0}, whole.json)
    assert await stored(consumer) == LINES * 2


@pytest.mark.parametrize("name", COMPRESSED)
async def test_a_body_may_come_byte_by_byte(gateway: Gateway, name: str) -> None:
    """No decoder needs more than one byte to go on, at the start least of all."""
    encoding, encode = ENCODERS[name]
    answer = await gateway.post(in_chunks(encode(event()), 1), Content_Encoding=encoding)
    assert (answer.status, answer.json["accepted"]) == (202, 1)


async def test_members_and_frames_follow_one_another(gateway: Gateway) -> None:
    """Several gzip members or zstd frames are one body, also where the cut is in the middle of a line."""
    consumer = await gateway.watch()
    for encoding, encode in (("gzip", gzip.compress), ("zstd", zstandard.compress)):
        parts = [encode(BODY[:1000]), encode(BODY[1000:1001]), encode(b""), encode(BODY[1001:])]
        for body in (b"".join(parts), in_chunks(b"".join(parts), 3)):
            answer = await gateway.post(body, Content_Encoding=encoding)
            assert answer.json == {"accepted": 50, "rejected": 0}
    assert await stored(consumer) == LINES * 4


@pytest.mark.parametrize("name", COMPRESSED)
async def test_no_byte_is_lost_where_decoding_pauses(gateway: Gateway, name: str) -> None:
    """Output that ends just behind a step's bound comes out, however the last of it is packed."""
    encoding, encode = ENCODERS[name]
    consumer = await gateway.watch()
    bodies = [event() + b" " * (STEP_BYTES + more - len(event())) for more in (-1, 0, 1, 21, 100, 242, 258)]
    for body in bodies:
        answer = await gateway.post(encode(body), Content_Encoding=encoding)
        assert (answer.status, answer.body) == (202, b'{"accepted":1,"rejected":0}')
    assert await stored(consumer) == [event()] * len(bodies)


@pytest.mark.parametrize("name", COMPRESSED)
async def test_a_body_that_is_cut_off_or_followed_by_rubbish_is_refused(gateway: Gateway, name: str) -> None:
    """Wherever the cut is: 400, and nothing is taken of a body that fits one piece."""
    encoding, encode = ENCODERS[name]
    consumer = await gateway.watch()
    whole = encode(BODY)
    for damaged in (*(whole[:size] for size in (1, 2, 5, len(whole) // 2, len(whole) - 1)), whole + b"rubbish"):
        for body in (damaged, in_chunks(damaged, 3)):
            answer = await gateway.post(body, Content_Encoding=encoding)
            assert (answer.status, answer.detail) == (
                400,
                f"the body is not valid {encoding.removeprefix('x-')}, or was cut off",
            )
    assert await stored(consumer) == []


@pytest.mark.parametrize("name", COMPRESSED)
async def test_damaged_bytes_never_end_in_a_fault_of_ours(gateway: Gateway, name: str) -> None:
    """Random damage is answered with 202 (it did no harm), 207 or 400, never with 500."""
    encoding, encode = ENCODERS[name]
    generator, whole = random.Random(3), encode(BODY)
    seen = set()
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        seen.add((await gateway.post(bytes(damaged), Content_Encoding=encoding)).status)
    assert 400 in seen
    assert seen <= {202, 207, 400}


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip", "gzip;q=1", "gzipped", "*"])
async def test_other_encodings_are_not_read(gateway: Gateway, encoding: str) -> None:
    """415, with those that are."""
    answer = await gateway.post(BODY, Content_Encoding=encoding)
    assert (answer.status, answer.detail) == (415, "Content-Encoding must be gzip, zstd, deflate or identity")


@pytest.mark.parametrize("name", ["gzip", "zstd", "deflate"])
@pytest.mark.parametrize("fill", [b" ", b"\n", b"x"])
async def test_a_bomb_costs_its_bound(start: Start, name: str, fill: bytes) -> None:
    """A small body that would become huge is given up with 413, and memory stays flat until then."""
    gateway = await start(ingest=Ingest(body_bytes_max=Bytes(1 << 20)))
    encoding, encode = ENCODERS[name]
    bomb = encode(fill * (256 << 20))
    tracemalloc.start()
    try:
        answer = await gateway.post(bomb, Content_Encoding=encoding)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, "times what was sent" in answer.detail) == (413, True)
    assert peak < 32 << 20


@pytest.mark.parametrize("name", ["gzip", "zstd", "deflate"])
async def test_a_document_that_grows_too_large_is_given_up(start: Start, name: str) -> None:
    """JSON has to fit in memory: what decodes to more than the bound is a 413, whatever was sent."""
    gateway = await start(ingest=Ingest(body_bytes_max=Bytes(1 << 20)))
    encoding, encode = ENCODERS[name]
    for body in (encode(b"[" + b" " * (8 << 20) + b"]"), encode(b"[" + b",".join(events(8000)) + b"]")):
        answer = await gateway.ask(
            "POST", "/v1/audit/events", data=body, headers={**JSON, "Content-Encoding": encoding}
        )
        assert answer.status == 413
        assert "over 1048576 bytes" in answer.detail or "500 times what was sent" in answer.detail


async def test_large_bodies_that_compress_well_are_no_bombs(gateway: Gateway) -> None:
    """Real events, which shrink to a fortieth, pass in any length."""
    lines = [event(number, note="the same words again and again " * 20) for number in range(20_000)]
    body = gzip.compress(b"\n".join(lines), 9)
    assert len(lines[0]) * len(lines) > 10 << 20
    answer = await gateway.post(body, Content_Encoding="gzip")
    assert answer.json == {"accepted": 20_000, "rejected": 0}


async def test_a_sender_that_stops_is_not_waited_for_without_end(start: Start) -> None:
    """No byte for ``server.body_timeout``: 408, and nothing of the unfinished line is taken."""
    gateway = await start(server=Server(body_timeout_s=Seconds(0.1)))
    consumer = await gateway.watch()
    never = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield event()[:50]
        await never.wait()

    answer = await gateway.post(stalling())
    assert (answer.status, "send the request again" in answer.detail) == (408, True)
    assert await stored(consumer) == []


@pytest.mark.parametrize(
    "head", [b"Content-Length: 500", b"Transfer-Encoding: chunked\r\n\r\n100"], ids=["length", "chunked"]
)
async def test_a_connection_that_breaks_in_mid_body_takes_nothing_down(
    gateway: Gateway, head: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """The part that came is not taken, no fault is logged, and the next request is served."""
    consumer = await gateway.watch()
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /v1/audit/events HTTP/1.1\r\nHost: gateway\r\nX-API-Key: tl_live_operator\r\n")
    writer.write(b"Content-Type: application/x-ndjson\r\n" + head + b"\r\n\r\n" + event()[:100])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(10):
        while b'gateway_ingest_requests_total{status="400"} 1.0' not in (await gateway.ask("GET", "/metrics")).body:
            await asyncio.sleep(0.005)
    assert await stored(consumer) == []
    assert (await gateway.post(event())).status == 202
    assert "request.failed" not in capsys.readouterr().out
