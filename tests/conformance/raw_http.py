"""HTTP as bytes on a connection: what a test sends is what the gateway gets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

GOODBYE = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"


class RawAnswer(NamedTuple):
    """``headers`` have lower-case names."""

    status: int
    version: str
    headers: dict[str, str]
    body: bytes


async def talk(port: int, *parts: bytes, end: bool = False, pause_s: float = 0.0) -> list[RawAnswer]:
    """Everything that comes back until the gateway closes the connection. ``end``: the client sends no more after."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause_s)
        if end:
            writer.write_eof()
        async with asyncio.timeout(120):
            return list(answers(await reader.read()))
    finally:
        writer.close()


def answers(data: bytes) -> Iterable[RawAnswer]:
    """The answers in these bytes; interim ones too."""
    while data:
        head, found, data = data.partition(b"\r\n\r\n")
        assert found, head
        first, *lines = head.decode().split("\r\n")
        version, status, _ = first.split(" ", 2)
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), head
        length = int(headers.get("content-length", "0"))
        assert len(data) >= length
        yield RawAnswer(int(status), version, headers, data[:length])
        data = data[length:]


def request(
    *headers: bytes,
    method: bytes = b"POST",
    target: bytes = b"/v1/audit/events",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"gateway",
    key: bytes | None = b"tl_live_operator",
    content_type: bytes | None = b"application/x-ndjson",
    body: bytes | None = None,
) -> bytes:
    """``body`` adds its Content-Length; without it nothing is said of one."""
    lines = [b"%b %b %b" % (method, target, version)]
    for name, value in ((b"Host", host), (b"X-API-Key", key), (b"Content-Type", content_type)):
        if value is not None:
            lines.append(b"%b: %b" % (name, value))
    lines += headers
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"
