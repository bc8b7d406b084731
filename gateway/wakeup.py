"""Waiting for a word from elsewhere in the loop."""

from __future__ import annotations

import asyncio


class Wakeup:
    """What ``asyncio.Event`` is, for those who wait at every event: that one looks up the running loop each time, for
    which Python before 3.12 asks the system who it is. Belongs to the loop in which it is waited for first.
    """

    __slots__ = ("_is_set", "_loop", "_waiting")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_set = False
        self._waiting: list[asyncio.Future[None]] = []

    def set(self) -> None:
        """Ends all waits, and those that begin before ``clear``."""
        self._is_set = True
        for waiting in self._waiting:
            if not waiting.done():  # a cancelled one is on its way out
                waiting.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        if self._is_set:
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        finally:
            self._waiting.remove(waiting)
