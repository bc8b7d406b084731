"""Waiting for whichever of several things comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.clock import Clock
from gateway.wakeup import Wakeup


async def first_of(*waits: Coroutine[object, object, object]) -> None:
    """Return when one of the coroutines has returned; the others are cancelled and have ended by then."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class Nudges:
    """One event that a loop waits on: set by hand, by time, and by a wait of somebody else's.

    A wait may end early, so the loop looks at everything again. That makes waiting nearly free: what was to end an
    earlier wait is left standing, and ends a later one. ``close`` takes it down.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = Wakeup()
        self._timer: asyncio.Task[None] | None = None
        self._timer_at_s = 0.0
        self._watch: asyncio.Task[None] | None = None

    def nudge(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Until the next nudge, at most so long."""
        self._event.clear()
        if seconds is not None:
            self._nudge_within(seconds)
        await self._event.wait()

    async def wait_with(self, other: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Until the next nudge or until ``other`` returns; what it raises is raised. Always the same ``other``.

        At once when the ``other`` of an earlier wait has returned since: whoever waited by time alone has not seen it.
        """
        if self._watch is None:
            self._watch = self._start(self._nudge_after(other()))
        if not self._watch.done():
            self._event.clear()
            await self._event.wait()
        if self._watch.done():
            watch, self._watch = self._watch, None
            watch.result()

    async def close(self) -> None:
        tasks = [task for task in (self._timer, self._watch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _nudge_within(self, seconds: float) -> None:
        at_s = self._clock.monotonic_s() + seconds
        if self._timer is not None and not self._timer.done():
            if self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self._start(self._nudge_after(self._clock.sleep(seconds)))

    def _start(self, wait: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.create_task(wait)

    async def _nudge_after(self, wait: Coroutine[Any, Any, None]) -> None:
        try:
            await wait
        finally:
            self._event.set()
