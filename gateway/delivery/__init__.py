"""Delivery: one worker for each destination, under one supervisor.

Promise: every event that a destination's consumer hands out ends as delivered, dead-lettered or in a gap, and is handed
out again until then; what its filter leaves out is booked by the consumer and not handed out. What is decided (batch,
backoff, breaker, limiter, health) is decided by plain functions that are given ``now``; the worker alone acts on it.

- *Isolation.* A worker has its own consumer, connections, backoff and limiter. An unexpected exception in one ends at
  its guard in the supervisor, is recorded once, and restarts that worker after a backoff.
- *Retry belongs to the destination, not to the event.* A failed batch is released, not kept: its events are read again
  from the log when the backoff has passed, so that a dead destination holds no events in memory.
- *Crash.* Between a provider's answer and the next checkpoint: the events are sent again. Before an answer: the same.
  Nothing else changes hands in memory only, so nothing else can be lost.
- *Watching.* Beside the workers runs a watch that reads what they left behind: figures once a minute, changes of status
  once a second. It costs an attempt a few additions and an event nothing.
- *States.* ``active`` until an attempt fails; ``degraded`` from the first failure of an outage, whose clock is kept in
  the consumer's memo, until a success; ``failed`` when ``retry.window`` has run out: what waits becomes a gap, and so
  does what comes, until a PUT.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from gateway.delivery.health import Attempt, Health, TestResult
from gateway.destinations.history import Figures
from gateway.destinations.store import Destination
from gateway.providers.codec import Provider, Settings


class Streams(Protocol):
    """What the management API may ask of running deliveries."""

    def health(self, destination_id: str) -> Health | None:
        """None for a destination that is not (or not yet) known to the supervisor."""

    def attempts(self, destination_id: str, *, before: int, limit: int) -> list[tuple[int, Attempt]]:
        """The newest attempts of this process with a number below ``before``, newest first, each with its number."""

    async def figures(self, destination_ids: Collection[str], *, step_s: int, since_s: int) -> list[Figures]:
        """Sums of what was delivered and answered, up to now. Several may be of one period. Raises StoreUnavailable."""

    def unreached_actions(self) -> list[tuple[str, str]]:
        """Tenants and actions of events that came since the start and reach no enabled destination of their tenant."""

    async def take_up(self, before: Destination) -> None:
        """Apply what the store says of a destination now, for what is appended from here on. ``before`` is what it was.

        What came while it was disabled or failed is durably in a gap when this returns. Raises OSError; what could not
        be applied is tried again later.
        """

    async def catch_up(self, destination_id: str) -> None:
        """Book what came for a disabled or failed destination up to now, so that its books can be read."""

    async def flushed(self, destination_id: str, timeout_s: float) -> bool:
        """Wait until a destination that is being deleted has been removed. False when the time is over first."""

    async def drop(self, destination_id: str) -> int:
        """Give up what is left of a destination that is being deleted, and remove it. Returns how many events."""

    async def test(self, provider: Provider, settings: Settings, tenant_id: str) -> TestResult:
        """Send one marked event through the same encode, transport and classify that delivery uses."""
