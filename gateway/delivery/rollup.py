"""The figures of all destinations on their way into the store: collected when somebody looks and once a minute, written
once a minute in one batch.

A crash loses the minute that was not written. While the store is away the figures of the last hour are kept in memory
and written when it is back; older ones are forgotten, which is said in the log once. Delivery waits for none of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog

from gateway.clock import Clock
from gateway.delivery.state import DeliveryState
from gateway.destinations.history import Figures, HistoryStore
from gateway.errors import StoreError
from gateway.telemetry import Event

MINUTE_S = 60
UNWRITTEN_S = 3_600
_PRUNE_S = 3_600

States = Callable[[], Mapping[str, DeliveryState]]


class Rollup:
    """``states`` gives what is known of each running destination, by its id."""

    def __init__(self, store: HistoryStore, states: States, *, instance: str, clock: Clock) -> None:
        self._store = store
        self._states = states
        self._instance = instance
        self._clock = clock
        self._unwritten: dict[tuple[str, int, str], Figures] = {}
        self._forgotten: set[str] = set()
        self._storing = asyncio.Lock()
        self._pruned_at_s = 0.0
        self._is_away = False

    async def run(self) -> None:
        """Collect and write at the end of each minute, until cancelled."""
        while True:
            now_s = self._clock.time_s()
            await self._clock.sleep(MINUTE_S - now_s % MINUTE_S)
            self._collect(now_s)
            await self.write()

    async def read(self, destination_ids: Collection[str], *, step_s: int, since_s: int) -> list[Figures]:
        """What the store has and what is not written yet, up to now. Several rows may be of one period.

        Raises StoreUnavailable.
        """
        async with self._storing:
            stored = await self._store.figures(destination_ids, step_s=step_s, since_s=since_s)
            self._collect(self._clock.time_s())
            wanted = set(destination_ids)
            return stored + [
                item for item in self._unwritten.values() if item.destination_id in wanted and item.at_s >= since_s
            ]

    def forget(self, destination_id: str) -> None:
        """It is deleted and ``states`` has it no more: its figures go with the next writing. A crash before that leaves
        them in the store until they are too old.
        """
        self._forgotten.add(destination_id)

    async def finish(self) -> None:
        """At the stop: write the minute that has begun."""
        self._collect(self._clock.time_s())
        await self.write()

    async def write(self) -> None:
        async with self._storing:
            now_s = self._clock.time_s()
            taken, self._unwritten = self._unwritten, {}
            try:
                if taken:
                    await self._store.add_figures(self._instance, list(taken.values()))
                    taken = {}  # whatever fails from here on, they must not be written again
                await self._remove_forgotten()
                if now_s - self._pruned_at_s >= _PRUNE_S:
                    await self._store.prune_history(now_s)
                    self._pruned_at_s = now_s
            except StoreError as error:
                self._keep(taken, oldest_s=now_s - UNWRITTEN_S)
                self._report(error)
            except BaseException:
                self._keep(taken, oldest_s=now_s - UNWRITTEN_S)
                raise
            else:
                self._is_away = False

    # -- inside

    def _collect(self, now_s: float) -> None:
        minute_s = int(now_s) // MINUTE_S * MINUTE_S
        for destination_id, state in self._states().items():
            for item in state.take_figures(destination_id, minute_s):
                self._add(item)

    async def _remove_forgotten(self) -> None:
        if gone := frozenset(self._forgotten):
            await self._store.forget_figures(gone)
            self._forgotten -= gone

    def _add(self, item: Figures) -> None:
        key = item.destination_id, item.at_s, item.answer
        known = self._unwritten.get(key)
        self._unwritten[key] = item if known is None else known.plus(item)

    def _keep(self, taken: Mapping[tuple[str, int, str], Figures], *, oldest_s: float) -> None:
        for item in taken.values():
            if item.at_s >= oldest_s:
                self._add(item)

    def _report(self, error: StoreError) -> None:
        if not self._is_away:
            structlog.get_logger().warning(
                Event.HISTORY_FAILED,
                error=str(error),
                detail=f"figures of deliveries wait in memory; those older than {UNWRITTEN_S} s are forgotten",
            )
        self._is_away = True
