"""Time, injected: whoever waits or stamps is handed a ``Clock`` and never asks the system itself."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    def time_s(self) -> float:
        """Seconds since the epoch. May jump; for stamps and for periods that outlive the process."""

    def monotonic_s(self) -> float:
        """Seconds that never go back. For deadlines and durations."""

    @property
    def boot_id(self) -> str:
        """``monotonic_s`` goes on from one process to the next as long as this stays the same; empty: nobody knows."""

    async def sleep(self, seconds: float) -> None: ...


def this_boot() -> str:
    """The ``boot_id`` of this machine, as Linux tells it; empty elsewhere. Blocks for a moment."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class SystemClock:
    def __init__(self, boot_id: str = "") -> None:
        self.boot_id = boot_id

    def time_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def rfc3339(time_s: float) -> str:
    """UTC with milliseconds: ``2026-06-30T12:34:56.789Z``."""
    moment = datetime.fromtimestamp(time_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
