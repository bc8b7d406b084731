"""Load on the ingest route: requests made in advance, written to raw connections, so that producing costs next to
nothing.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from benchmarks import events


class Load(msgspec.Struct, frozen=True):
    """What was sent and how long the answers took, in microseconds, from the moment each request was due."""

    events: int
    seconds: float
    answers_us: list[int]
    refused: int


def request(host: str, key: str, body: bytes) -> bytes:
    return (
        f"POST /v1/audit/events HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class _Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, raw: bytes) -> int:
        """The answer's status."""
        self._writer.write(raw)
        head = await self._reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                await self._reader.readexactly(int(line.split(b":")[1]))
        return int(head[9:12])

    def close(self) -> None:
        self._writer.close()


async def connect(port: int) -> _Client:
    return _Client(*await asyncio.open_connection("127.0.0.1", port))


async def pushed(port: int, key: str, *, first: int, count: int, per_request: int, connections: int) -> Load:
    """As fast as it is taken. Events are made in advance, a bounded number at a time."""
    numbers = iter(range(first, first + count, per_request))
    answers_us: list[int] = []
    refused = 0

    async def work() -> None:
        nonlocal refused
        client = await connect(port)
        for number in numbers:
            raw = request("bench", key, events.batch(number, per_request))
            while True:
                began_ns = time.monotonic_ns()
                status = await client.send(raw)
                answers_us.append((time.monotonic_ns() - began_ns) // 1000)
                if status == 202:
                    break
                refused += 1
                await asyncio.sleep(0.1)
        client.close()

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work())
    return Load(count, time.monotonic() - began_s, answers_us, refused)


async def paced(port: int, key: str, *, first: int, rate: int, seconds: float, connections: int) -> Load:
    """Single events at a fixed rate, each timed from the moment it was due: a slow answer delays none behind it
    unseen.
    """
    count = int(rate * seconds)
    clients = [await connect(port) for _ in range(connections)]
    free: asyncio.Queue[_Client] = asyncio.Queue()
    for client in clients:
        free.put_nowait(client)
    answers_us: list[int] = []

    async def one(number: int, due_ns: int) -> None:
        client = await free.get()
        await client.send(request("bench", key, events.event(number, due_ns)))
        answers_us.append((time.monotonic_ns() - due_ns) // 1000)
        free.put_nowait(client)

    began_ns = time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        for index in range(count):
            due_ns = began_ns + index * 1_000_000_000 // rate
            delay_s = (due_ns - time.monotonic_ns()) / 1e9
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            group.create_task(one(first + index, due_ns))
    for client in clients:
        client.close()
    return Load(count, (time.monotonic_ns() - began_ns) / 1e9, answers_us, 0)
