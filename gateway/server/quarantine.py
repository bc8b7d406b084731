"""Lines that were refused beside good ones, kept for an operator to read: NDJSON in ``quarantine/`` of the data
directory.

Two files of half the bound each; when the newer is full it takes the place of the older. Writing is no part of the
promise to the producer, who was told of every line: a failure is logged and costs no request.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from gateway.clock import Clock, rfc3339
from gateway.event import Rejection
from gateway.telemetry import Event

_LINE_BYTES_MAX = 256 << 10


class Quarantined(msgspec.Struct, frozen=True, omit_defaults=True):
    """``line_text`` is the line where it is UTF-8, ``line_base64`` where it is not; both cut to 256 KiB."""

    time: str
    key_id: str
    tenant_id: str
    line: int
    message: str
    line_text: str = ""
    line_base64: str = ""


class Quarantine:
    def __init__(self, folder: Path, bytes_max: int, clock: Clock) -> None:
        self._newer, self._older = folder / "rejected.ndjson", folder / "rejected.1.ndjson"
        self._half = bytes_max // 2
        self._clock = clock
        self._writing = asyncio.Lock()

    async def keep(self, rejections: Sequence[Rejection], *, key_id: str, tenant_id: str) -> None:
        """Append them. Never raises for what the disk does."""
        time = rfc3339(self._clock.time_s())
        lines = b"".join(msgspec.json.encode(_quarantined(r, time, key_id, tenant_id)) + b"\n" for r in rejections)
        async with self._writing:
            try:
                await asyncio.to_thread(self._append, lines)
            except OSError as error:
                structlog.get_logger().warning(Event.QUARANTINE_FAILED, error=str(error), lines=len(rejections))

    def _append(self, lines: bytes) -> None:
        self._newer.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._newer.exists() and self._newer.stat().st_size + len(lines) > self._half:
            self._newer.replace(self._older)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with os.fdopen(os.open(self._newer, flags, 0o600), "ab") as file:
            file.write(lines[: lines.rfind(b"\n", 0, self._half) + 1])


def _quarantined(rejection: Rejection, time: str, key_id: str, tenant_id: str) -> Quarantined:
    raw = rejection.raw[:_LINE_BYTES_MAX]
    try:
        text, encoded = raw.decode(), ""
    except UnicodeDecodeError:
        text, encoded = "", base64.b64encode(raw).decode()
    return Quarantined(time, key_id, tenant_id, rejection.line, rejection.message, text, encoded)
