"""A Splunk HEC receiver that does as little as an honest one can: decompress, count by event id, answer.

It runs in a process of its own and shares its counts through memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import multiprocessing.sharedctypes
import re
import socket
import time
from typing import Any, cast

import msgspec
import uvloop
from isal import isal_zlib

_IDS = re.compile(rb'"event":\{"id":"evt_(\d{12})"')
_SENT = re.compile(rb'"sent_ns":(\d+)')
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
_OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n{"text":"Success","code":0}'
_BUSY = b'HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{"text":"Busy","code":9}'
_LATENCIES_MAX = 1_000_000


class Shared:
    """What both sides see. ``seen`` has a byte for each event number: how often it came."""

    def __init__(self, events: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.received: Any = context.RawValue(ctypes.c_int64, 0)
        self.failing: Any = context.RawValue(ctypes.c_bool, False)
        self.port: Any = context.RawValue(ctypes.c_int64, 0)
        self.seen: Any = context.RawArray(ctypes.c_uint8, events)
        self.latencies_us: Any = context.RawArray(ctypes.c_int64, _LATENCIES_MAX)
        self.latency_count: Any = context.RawValue(ctypes.c_int64, 0)


class Counts(msgspec.Struct, frozen=True):
    received: int
    lost: int
    duplicated: int


def counts(shared: Shared, expected: int) -> Counts:
    seen = bytes(shared.seen[:expected])
    return Counts(shared.received.value, seen.count(0), expected - seen.count(0) - seen.count(1))


class _Connection(asyncio.Protocol):
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:head_end])
            match = _LENGTH.search(head)
            size = int(match[1]) if match else 0
            end = head_end + 4 + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[head_end + 4 : end])
            del self._buffer[:end]
            assert self._transport is not None
            self._transport.write(self._answer(head, body))

    def _answer(self, head: bytes, body: bytes) -> bytes:
        shared = self._shared
        if shared.failing.value:
            return _BUSY
        now_ns = time.monotonic_ns()
        if b"gzip" in head:
            body = isal_zlib.decompress(body, 31)
        numbers = _IDS.findall(body)
        for number in map(int, numbers):
            shared.seen[number] = min(shared.seen[number] + 1, 255)
        for sent_ns in map(int, _SENT.findall(body)):
            if sent_ns and shared.latency_count.value < _LATENCIES_MAX:
                shared.latencies_us[shared.latency_count.value] = (now_ns - sent_ns) // 1000
                shared.latency_count.value += 1
        shared.received.value += len(numbers)
        return _OK


async def _serve(shared: Shared) -> None:
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    server = await loop.create_server(lambda: _Connection(shared), sock=listening)
    shared.port.value = listening.getsockname()[1]
    async with server:
        await server.serve_forever()


def serve(shared: Shared) -> None:
    """The receiver process's main function."""
    uvloop.run(_serve(shared))
