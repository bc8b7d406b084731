"""Time, injected: whoever waits or stamps is handed a ``Clock`` and never asks the system itself."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def time_s(self) -> float:
        """Seconds since the epoch. May jump; for stamps and for periods that outlive the process."""

    def monotonic_s(self) -> float:
        """Seconds that never go back. For deadlines and durations."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
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
