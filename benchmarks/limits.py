"""The least that each step of the way costs on this machine, one step at a time, on one core."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable

import google_crc32c
import zstandard
from isal import isal_zlib

from benchmarks.events import Form, Pool
from benchmarks.report import Row
from gateway.event import Rules, check

_EVENTS = 1000
_SECONDS = 0.4
_RULES = Rules(event_bytes_max=256 << 10)


def measure() -> list[Row]:
    body = _body()
    packed = zstandard.ZstdCompressor(level=1).compress(body)
    steps: dict[str, Callable[[], object]] = {
        "check as JSON": lambda: check(body, _RULES),
        "split into lines": lambda: body.split(b"\n"),
        "zstd, level 1": lambda: zstandard.ZstdCompressor(level=1).compress(body),
        "zstd, decompress": lambda: zstandard.ZstdDecompressor().decompress(packed),
        "gzip with isal, level 1": lambda: isal_zlib.compress(body, 1, 31),
        "crc32c": lambda: google_crc32c.value(body),
    }
    return [_rate(name, step) for name, step in steps.items()] + _disk(packed)


def check_us() -> float:
    """What the check of one event costs: the part of all the work that is the same on any way through."""
    body = _body()
    return _best_s(lambda: check(body, _RULES)) / _EVENTS * 1e6


def _body() -> bytes:
    return Pool(_EVENTS, 1, Form.NDJSON, "", timed=False).request(0).removesuffix(b"\n")


def _rate(name: str, step: Callable[[], object]) -> Row:
    us = _best_s(step) / _EVENTS * 1e6
    return Row(name, {"µs an event": round(us, 3), "events/s": round(1e6 / us), "a second": "-"})


def _best_s(step: Callable[[], object]) -> float:
    """Time on the processor; the best is the one that other work on the machine disturbed least."""
    best, until = float("inf"), time.monotonic() + _SECONDS
    while time.monotonic() < until:
        began_s = time.thread_time()
        step()
        best = min(best, time.thread_time() - began_s)
    return best


def _disk(data: bytes) -> list[Row]:
    """Commits one behind another in a file that is filled with zeros before, as the log's segments are."""
    with tempfile.NamedTemporaryFile(prefix="gateway-bench-") as file:
        file.write(bytes(64 << 20))
        file.flush()
        os.fsync(file.fileno())
        rows = []
        for name, piece in (("fdatasync, 4 KiB", data[:4096]), ("fdatasync, a frame of 1,000 events", data)):
            count, at, began_s = 0, 0, time.monotonic()
            while time.monotonic() - began_s < _SECONDS * 3 and at + len(piece) < 64 << 20:
                os.pwrite(file.fileno(), piece, at)
                os.fdatasync(file.fileno())
                count, at = count + 1, at + len(piece)
            rate = count / (time.monotonic() - began_s)
            events = round(rate * _EVENTS) if piece is data else "-"
            rows.append(Row(name, {"µs an event": "-", "events/s": events, "a second": round(rate)}))
        return rows
