"""Time that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

TURNS_MAX = 100_000  # some minutes of them when nothing else runs


class ManualClock:
    """Sleepers wake when ``advance`` passes their time; ``run_until`` jumps from one sleeper to the next."""

    def __init__(self, wall_s: float = 1_782_822_900.0) -> None:
        self.boot_id = "the only boot"
        self._wall_s = wall_s
        self._now_s = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def time_s(self) -> float:
        return self._wall_s

    def monotonic_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now_s + seconds, self._count, future))
        await future

    def advance(self, seconds: float) -> None:
        self._move_to(self._now_s + seconds)

    def jump_wall(self, seconds: float) -> None:
        """What a changed system clock does: the monotonic one does not move."""
        self._wall_s += seconds

    async def run_until(self, condition: Callable[[], bool], *, within_s: float = 1e6) -> None:
        """Let tasks run; whenever they only wait for time, move on to the next sleeper.

        It gives up by turns and not by the real time: on a busy machine each takes as long as it takes.
        """
        deadline_s = self._now_s + within_s
        for _ in range(TURNS_MAX):
            if condition():
                return
            for _ in range(20):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)  # threads of the queue
            if condition():
                return
            self._drop_cancelled()
            if self._sleepers and self._sleepers[0][0] <= deadline_s:
                self._move_to(self._sleepers[0][0])
            elif self._sleepers:
                raise AssertionError(f"not within {within_s} s")
        raise AssertionError(f"not within {TURNS_MAX} turns")

    def _move_to(self, moment_s: float) -> None:
        self._wall_s += moment_s - self._now_s
        self._now_s = moment_s
        while self._sleepers and self._sleepers[0][0] <= moment_s:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def _drop_cancelled(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
