"""A bound, in bytes, on what all requests together hold in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.errors import QueueUnavailable

_RETRY_AFTER_S = 2.0


class Share:
    """What one request holds of the budget, from ``Budget.hold``."""

    def __init__(self, budget: Budget, size_bytes: int) -> None:
        self._budget = budget
        self.size_bytes = size_bytes

    def grow(self, size_bytes: int) -> None:
        """To so many bytes in all, at once. Who holds something never waits for more: two could wait for each other.

        Raises QueueUnavailable where there is no room; what was held stays held.
        """
        self.size_bytes = self._budget.grown(self.size_bytes, size_bytes)

    def part(self, size_bytes: int) -> Share:
        """So many of its bytes, or all that it has, as a share of its own, which must be given back on its own."""
        size = min(size_bytes, self.size_bytes)
        self.size_bytes -= size
        return Share(self._budget, size)

    def give_back(self) -> None:
        """It holds nothing any more."""
        size, self.size_bytes = self.size_bytes, 0
        self._budget.take_back(size)


class Budget:
    """First come, first served; a request larger than the whole budget waits until it has all of it."""

    def __init__(self, bytes_max: int) -> None:
        self._free = self._max = bytes_max
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[Share]:
        """Waits for so many bytes; they come back at the end, with those by which the share has grown."""
        share = Share(self, min(size_bytes, self._max))
        await self._take(share.size_bytes)
        try:
            yield share
        finally:
            share.give_back()

    def take_back(self, size_bytes: int) -> None:
        self._free += size_bytes
        self._admit()

    def grown(self, held_bytes: int, size_bytes: int) -> int:
        """What is held of the budget when ``held_bytes`` have grown to ``size_bytes``. Those that wait are passed: they
        hold nothing, and get their turn when this one has ended.
        """
        size = max(held_bytes, min(size_bytes, self._max))
        if size - held_bytes > self._free:
            raise QueueUnavailable("too much is being sent at once; send it again", retry_after_s=_RETRY_AFTER_S)
        self._free -= size - held_bytes
        return size

    async def _take(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self._free += size
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting:
            size, admitted = self._waiting[0]
            if admitted.done():
                self._waiting.popleft()
            elif size <= self._free:
                self._waiting.popleft()
                self._free -= size
                admitted.set_result(None)
            else:
                return
