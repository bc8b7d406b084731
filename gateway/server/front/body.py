"""The body of one request, between the connection that feeds it and the task that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import RequestRejected
from gateway.server.front.framing import Framing

HELD_BYTES_MAX = 256 << 10


class Body:
    """``on_room`` is called when what was held has been read."""

    def __init__(self, framing: Framing, on_room: Callable[[], None]) -> None:
        self._framing, self._on_room = framing, on_room
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._waiting: asyncio.Future[None] | None = None
        self.is_discarded = False
        self.fault: RequestRejected | None = None

    @property
    def is_complete(self) -> bool:
        """All of it has come, whether it was read or not."""
        return self._framing.is_complete

    @property
    def is_full(self) -> bool:
        return self._held_bytes > HELD_BYTES_MAX

    def feed(self, data: bytes) -> bytes:
        """What lies behind the end of the body."""
        if self.fault is not None:
            return b""
        try:
            parts, rest = self._framing.feed(data)
        except RequestRejected as fault:
            self.fail(fault)
            return b""
        if parts and not self.is_discarded:
            self._parts += parts
            self._held_bytes += sum(map(len, parts))
        self._wake()
        return rest

    def fail(self, fault: RequestRejected) -> None:
        """No more of it comes. What has come is still read."""
        self.fault = self.fault or fault
        self._wake()

    def discard(self) -> None:
        """Nobody reads it any more."""
        self.is_discarded = True
        self._parts, self._held_bytes = [], 0
        self._on_room()

    async def read(self) -> bytes:
        """As ``Source.read``."""
        while not self._parts:
            if self.is_complete:
                return b""
            if self.fault is not None:
                raise self.fault
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        data = b"".join(self._parts)
        self._parts, self._held_bytes = [], 0
        self._on_room()
        return data

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
