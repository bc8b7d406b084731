"""A bound, in bytes, on what all requests together hold in memory."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.errors import QueueUnavailable
from gateway.queue import ALL_TENANTS

_RETRY_AFTER_S = 2.0


class Share:
    """What one request holds of the budget, from ``Budget.hold``."""

    def __init__(self, budget: Budget, tenant_id: str, size_bytes: int) -> None:
        self._budget, self._tenant_id = budget, tenant_id
        self.size_bytes = size_bytes

    def grow(self, size_bytes: int) -> None:
        """To so many bytes in all, at once. Who holds something never waits for more: two could wait for each other.

        Raises QueueUnavailable where there is no room; what was held stays held.
        """
        self.size_bytes = self._budget.grown(self._tenant_id, self.size_bytes, size_bytes)

    def part(self, size_bytes: int) -> Share:
        """So many of its bytes, or all that it has, as a share of its own, which must be given back on its own."""
        size = min(size_bytes, self.size_bytes)
        self.size_bytes -= size
        return Share(self._budget, self._tenant_id, size)

    def give_back(self) -> None:
        """It holds nothing any more."""
        size, self.size_bytes = self.size_bytes, 0
        self._budget.take_back(self._tenant_id, size)


class Budget:
    """First come, first served; a request larger than the whole budget waits until it has all of it.

    A tenant has at most half of it, for its senders may take as long as they like; one request alone may have more, and
    an operator's keys all. Nobody waits longer than ``wait_s``.
    """

    def __init__(self, bytes_max: int, *, wait_s: float) -> None:
        self._free = self._max = bytes_max
        self._wait_s = wait_s
        self._held: Counter[str] = Counter()  # by tenant, with what is waited for
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size_bytes: int, *, tenant_id: str) -> AsyncIterator[Share]:
        """Waits for so many bytes; they come back at the end, with those by which the share has grown.

        Raises QueueUnavailable when the tenant holds too much already, and when there is no room in time.
        """
        size = min(size_bytes, self._max)
        self._check_tenant(tenant_id, 0, size)
        self._held[tenant_id] += size  # also while it waits
        try:
            async with asyncio.timeout(self._wait_s):
                await self._take(size)
        except BaseException as error:
            self._forget(tenant_id, size)
            if isinstance(error, TimeoutError):
                raise _no_room() from None
            raise
        share = Share(self, tenant_id, size)
        try:
            yield share
        finally:
            share.give_back()

    def take_back(self, tenant_id: str, size_bytes: int) -> None:
        self._free += size_bytes
        self._forget(tenant_id, size_bytes)
        self._admit()

    def grown(self, tenant_id: str, held_bytes: int, size_bytes: int) -> int:
        """What is held of the budget when ``held_bytes`` have grown to ``size_bytes``. Those that wait are passed: they
        hold nothing, and get their turn when this one has ended.
        """
        size = max(held_bytes, min(size_bytes, self._max))
        self._check_tenant(tenant_id, held_bytes, size)
        if size - held_bytes > self._free:
            raise _no_room()
        self._free -= size - held_bytes
        self._held[tenant_id] += size - held_bytes
        return size

    def _check_tenant(self, tenant_id: str, held_bytes: int, size_bytes: int) -> None:
        """``held_bytes`` of the tenant's are about to become ``size_bytes``."""
        others = self._held[tenant_id] - held_bytes
        if tenant_id != ALL_TENANTS and others and others + size_bytes > self._max // 2:
            raise _no_room()

    def _forget(self, tenant_id: str, size_bytes: int) -> None:
        self._held[tenant_id] -= size_bytes
        if not self._held[tenant_id]:
            del self._held[tenant_id]

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


def _no_room() -> QueueUnavailable:
    return QueueUnavailable("too much is being sent at once; send it again", retry_after_s=_RETRY_AFTER_S)
