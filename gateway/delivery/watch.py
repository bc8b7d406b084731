"""What looks on while destinations are served: their figures go into the store, changes of their status are told.

A bug in here ends at a guard, is recorded once for each time, and costs deliveries nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from gateway.clock import Clock
from gateway.delivery.health import Status
from gateway.delivery.reason import status_reason
from gateway.delivery.rollup import Rollup
from gateway.delivery.stream import Stream
from gateway.delivery.trail import Actor, Subjected, Trail
from gateway.destinations.history import Action, Activity, Change
from gateway.telemetry import Event

LOOK_S = 1.0
_RESTART_S = 60.0


class Watch:
    """``streams`` are those that run, by destination."""

    def __init__(self, streams: Callable[[], Mapping[str, Stream]], rollup: Rollup, trail: Trail, clock: Clock) -> None:
        self._streams = streams
        self._rollup = rollup
        self._trail = trail
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._guarded(self._rollup.run))
            group.create_task(self._guarded(self._tell))

    async def _guarded(self, part: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - the guard: what only looks on must not end what delivers
                structlog.get_logger().error(Event.WATCH_CRASHED, restart_s=_RESTART_S, exc_info=error)
                await self._clock.sleep(_RESTART_S)

    async def _tell(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            await self._trail.record(self._transitions())

    def _transitions(self) -> list[Activity]:
        entries = []
        for stream in self._streams().values():
            before = stream.state.told.status
            action = stream.state.tell()
            if action is not None:
                entries.append(self._entry(stream, before, action))
        return entries

    def _entry(self, stream: Stream, before: Status, action: Action) -> Activity:
        destination = stream.destination
        health = stream.state.health(stream.consumer.ledger())
        return self._trail.entry(
            action,
            Subjected(destination.tenant_id, destination.id, destination.name),
            Actor(),
            [
                Change("status", before.value, health.status.value),
                Change("status_reason", None, status_reason(destination, health)),
            ],
        )
