"""What stands in for a SIEM: HEC, Elasticsearch's bulk interface and a webhook on one port, in a process of its own.

It does as little as an honest one can: decompress, count each event by its id and destination, answer. Destination 3
is what arrives under ``/d3/``. The counts lie in shared memory, so that reading them disturbs nobody.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import re
import socket
import time
from typing import Any, cast

import msgspec
import numpy as np
import uvloop
from isal import isal_zlib

from benchmarks.events import SENT_NS_BASE

LATENCIES_MAX = 2_000_000

_MARK = b'"id":"evt_'
_DIGITS = 12  # eight of the request, four of the place in it
_POWERS = 10 ** np.arange(_DIGITS - 1, -1, -1, dtype=np.int64)
_SENT = re.compile(rb'"sent_ns":(\d{19})')
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_DESTINATION = re.compile(rb" /d(\d+)")
_FEW = 16  # up to so many events, numpy costs more than it saves


class Shared:
    """What both sides see. ``seen`` has a byte for each event of each destination: how often it came."""

    def __init__(self, events: int, destinations: int, per_request: int, *, timed: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.timed = timed
        self.events, self.destinations, self.per_request = events, destinations, per_request
        self.port: Any = context.RawValue(ctypes.c_int64, 0)
        self.failing: Any = context.RawValue(ctypes.c_bool, False)
        self.latency_s: Any = context.RawValue(ctypes.c_double, 0.0)
        self.received: Any = context.RawValue(ctypes.c_int64, 0)
        self.requests: Any = context.RawValue(ctypes.c_int64, 0)
        self.cpu_s: Any = context.RawValue(ctypes.c_double, 0.0)
        self.seen: Any = context.RawArray(ctypes.c_uint8, max(1, events * destinations))
        self.latencies_us: Any = context.RawArray(ctypes.c_uint32, LATENCIES_MAX)
        self.latency_count: Any = context.RawValue(ctypes.c_int64, 0)


class Counts(msgspec.Struct, frozen=True):
    """Over all destinations."""

    lost: int
    duplicated: int


class Receiver:
    """``events`` is how many each destination is to get at most; paced ones are ``timed``. Use it as a context."""

    def __init__(
        self, events: int, *, per_request: int, destinations: int = 1, latency_s: float = 0.0, timed: bool = False
    ) -> None:
        self.shared = Shared(events, destinations, per_request, timed=timed)
        self.shared.latency_s.value = latency_s
        self._process = multiprocessing.get_context("spawn").Process(target=_run, args=(self.shared,), daemon=True)

    def __enter__(self) -> Receiver:
        self._process.start()
        while not self.shared.port.value:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    @property
    def port(self) -> int:
        return int(self.shared.port.value)

    @property
    def received(self) -> int:
        return int(self.shared.received.value)

    def wait_for(self, events: int, timeout_s: float = 120.0) -> float:
        """When so many had arrived, or when nothing more came for ``timeout_s`` (monotonic seconds)."""
        last, since_s = -1, time.monotonic()
        while (now := self.received) < events and time.monotonic() - since_s < timeout_s:
            if now != last:
                last, since_s = now, time.monotonic()
            time.sleep(0.002)
        return time.monotonic() if self.received >= events else since_s

    def counts(self, share: int = 1) -> Counts:
        """``share``: each destination is to get one event in so many (those of its tenant)."""
        seen = np.frombuffer(self.shared.seen, np.uint8)
        expected = self.shared.events * self.shared.destinations // share
        return Counts(expected - int(np.count_nonzero(seen)), int(np.count_nonzero(seen > 1)))

    def latencies_us(self) -> list[int]:
        return list(self.shared.latencies_us[: self.shared.latency_count.value])


def _run(shared: Shared) -> None:
    uvloop.run(_serve(shared))


async def _serve(shared: Shared) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    counter = _Counter(shared)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(shared, counter), sock=listening)
    shared.port.value = listening.getsockname()[1]
    async with server:
        await server.serve_forever()


class _Counter:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._seen = np.frombuffer(shared.seen, np.uint8)
        self._begun_s = time.process_time()

    def count(self, body: bytes, destination: int) -> int:
        """How many events are in it."""
        shared = self._shared
        pieces = body.split(_MARK)
        del pieces[0]
        digits = [piece[:_DIGITS] for piece in pieces]
        base = destination * shared.events
        if len(digits) <= _FEW:
            for number in map(int, digits):
                self._seen[base + number // 10_000 * shared.per_request + number % 10_000] += 1
        else:
            numbers = (np.frombuffer(b"".join(digits), np.uint8).reshape(-1, _DIGITS) - 48) @ _POWERS
            np.add.at(self._seen, base + numbers // 10_000 * shared.per_request + numbers % 10_000, 1)
        shared.received.value += len(digits)
        shared.requests.value += 1
        shared.cpu_s.value = time.process_time() - self._begun_s
        return len(digits)

    def time(self, body: bytes) -> None:
        shared, now_ns = self._shared, time.monotonic_ns()
        for sent in _SENT.findall(body):
            at, sent_ns = shared.latency_count.value, int(sent) - SENT_NS_BASE
            if sent_ns and at < LATENCIES_MAX:
                shared.latencies_us[at] = (now_ns - sent_ns) // 1000
                shared.latency_count.value = at + 1


class _Connection(asyncio.Protocol):
    def __init__(self, shared: Shared, counter: _Counter) -> None:
        self._shared, self._counter = shared, counter
        self._buffer = bytearray()
        self._need = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= self._need and (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:head_end])
            match = _LENGTH.search(head)
            self._need = head_end + 4 + (int(match[1]) if match else 0)
            if len(self._buffer) < self._need:
                return
            body = bytes(self._buffer[head_end + 4 : self._need])
            del self._buffer[: self._need]
            self._need = 0
            self._answer_later(self._answer(head, body))

    def _answer_later(self, answer: bytes) -> None:
        assert self._transport is not None
        if self._shared.latency_s.value:
            loop = asyncio.get_running_loop()
            loop.call_later(self._shared.latency_s.value, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if self._shared.failing.value:
            return _reply(503, b'{"text":"Server is busy","code":9}')
        if b"gzip" in head:
            body = isal_zlib.decompress(body, 31)
        destination = _DESTINATION.search(head)
        events = self._counter.count(body, int(destination[1]) if destination else 0)
        if self._shared.timed:
            self._counter.time(body)
        if b"/_bulk" in head:
            return _reply(
                200, b'{"errors":false,"items":[' + b",".join([b'{"create":{"status":201}}'] * events) + b"]}"
            )
        return _reply(200, b'{"text":"Success","code":0}')


def _reply(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )
