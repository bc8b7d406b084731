"""What destinations look like now, for everybody who watches: compared once a second for all streams together.

Each change has a number, so that a stream only asks for what is newer than what it has sent. Nothing runs while nobody
watches.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.delivery import Streams
from gateway.delivery.health import Health
from gateway.destinations.catalog import Catalog
from gateway.destinations.store import Destination
from gateway.errors import Overloaded
from gateway.server.shapes import destination_view

LOOK_S = 1.0
STREAMS_MAX = 64
STREAMS_PER_TENANT = 16
RETRY_AFTER_S = 10

_AT_A_TIME = 50  # looked at before others get their turn on the loop


class _Shown(msgspec.Struct, frozen=True):
    tenant_id: str
    number: int
    destination: Destination
    health: Health | None
    encoded: bytes


class Live:
    """Belongs to the event loop."""

    def __init__(self, catalog: Catalog, streams: Streams, clock: Clock) -> None:
        self._catalog, self._streams, self._clock = catalog, streams, clock
        self._shown: dict[str, _Shown] = {}  # in the order of their last changes
        self._number = 0
        self._looking = asyncio.Lock()
        self._looked_at_s = float("-inf")
        self._places: Counter[str] = Counter()

    @contextmanager
    def place(self, tenant_id: str) -> Iterator[None]:
        """One of the streams that there may be at a time. Raises Overloaded."""
        if self._places.total() >= STREAMS_MAX or self._places[tenant_id] >= STREAMS_PER_TENANT:
            raise Overloaded(
                f"too many streams are open: {STREAMS_PER_TENANT} for a tenant and {STREAMS_MAX} in all are possible",
                retry_after_s=RETRY_AFTER_S,
            )
        self._places[tenant_id] += 1
        try:
            yield
        finally:
            self._places[tenant_id] -= 1
            self._places += Counter()  # forgets those that have none left

    async def look(self) -> int:
        """Compare with the last second, unless that was done in this one. Returns the number of the newest change."""
        async with self._looking:
            if self._clock.monotonic_s() - self._looked_at_s >= LOOK_S:
                await self._compare()
                self._looked_at_s = self._clock.monotonic_s()
            return self._number

    def changed_since(self, number: int, may_see: Callable[[str], bool]) -> dict[str, bytes]:
        """The views that changed after that change, as JSON by id."""
        found = {}
        for destination_id in reversed(self._shown):
            shown = self._shown[destination_id]
            if shown.number <= number:
                break
            if may_see(shown.tenant_id):
                found[destination_id] = shown.encoded
        return found

    def is_there(self, destination_id: str) -> bool:
        return destination_id in self._shown

    async def _compare(self) -> None:
        destinations = self._catalog.destinations()
        for destination_id in self._shown.keys() - destinations.keys():
            del self._shown[destination_id]
        for count, destination in enumerate(destinations.values(), 1):
            now = self._streams.health(destination.id)
            health = _rounded(now) if now is not None else None
            known = self._shown.get(destination.id)
            if known is None or known.health != health or known.destination is not destination:
                self._number += 1
                self._shown.pop(destination.id, None)
                view = msgspec.json.encode(destination_view(destination, now))
                self._shown[destination.id] = _Shown(destination.tenant_id, self._number, destination, health, view)
            if count % _AT_A_TIME == 0:
                await asyncio.sleep(0)


def _rounded(health: Health) -> Health:
    """The lag grows all the time: only its first two digits count as a change."""
    return replace(health, lag_s=float(f"{health.lag_s:.2g}")) if health.lag_s else health
