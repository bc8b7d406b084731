"""What the store keeps of the past: figures of deliveries for the console's charts, and who changed what.

Neither is part of a promise. Books and gaps are the queue's; what is lost here costs a bar in a chart or a line in a
list, never an event. Both are bounded: figures by the length of their steps, activity by entries and by age.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec

# Each figure is added to a sum over a minute, a quarter of an hour and an hour; how long the sums of each step are
# kept. So seven days of a destination are a few hundred rows, and a chart reads the rows that it shows.
KEPT_S = MappingProxyType({60: 2 * 3_600, 900: 26 * 3_600, 3_600: 8 * 86_400})

ACTIVITIES_PER_TENANT = 10_000
ACTIVITY_KEPT_S = 400 * 86_400


class Action(enum.StrEnum):
    """What can have been done: to a destination by a person, with it by its provider, to a key."""

    CREATED = "siem.destination.created"
    UPDATED = "siem.destination.updated"
    ENABLED = "siem.destination.enabled"
    DISABLED = "siem.destination.disabled"
    DELETED = "siem.destination.deleted"
    DEGRADED = "siem.destination.degraded"
    FAILED = "siem.destination.failed"
    RECOVERED = "siem.destination.recovered"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"


class Figures(msgspec.Struct, frozen=True):
    """Sums for one destination over a period that begins at ``at_s`` (seconds since the epoch).

    ``answer`` is what the attempts were answered with: a status (``200``) or what happened instead (``timeout``). It is
    empty in the row that counts events: ``failed`` are those of attempts that have to be repeated.
    """

    destination_id: str
    at_s: int
    answer: str = ""
    delivered: int = 0
    failed: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    attempts: int = 0
    latency_ms_sum: float = 0.0
    latency_ms_max: float = 0.0

    def plus(self, other: Figures) -> Figures:
        """The sum over both; period and answer are those of the first."""
        return Figures(
            self.destination_id,
            self.at_s,
            self.answer,
            self.delivered + other.delivered,
            self.failed + other.failed,
            self.dead_lettered + other.dead_lettered,
            self.dropped + other.dropped,
            self.attempts + other.attempts,
            self.latency_ms_sum + other.latency_ms_sum,
            max(self.latency_ms_max, other.latency_ms_max),
        )


class Change(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """One field of a change. Any JSON; a credential is ``***`` on both sides."""

    field: str
    before: object = None
    after: object = None


class Activity(msgspec.Struct, frozen=True):
    """Who did what. The key is None where the gateway itself acted, the destination where a key was changed."""

    id: str
    at_s: float
    action: Action
    tenant_id: str
    destination_id: str | None
    destination_name: str | None
    key_id: str | None
    key_name: str | None
    changes: tuple[Change, ...] = ()


class HistoryStore(Protocol):
    """Safe to use from any task. Every method may raise StoreUnavailable; a write may have been made then."""

    async def add_figures(self, instance: str, figures: Sequence[Figures]) -> None:
        """Add the figures of whole minutes to the sums. ``instance`` tells gateways that share a store apart."""

    async def figures(self, destination_ids: Collection[str], *, step_s: int, since_s: int) -> list[Figures]:
        """Sums of one step from ``since_s`` on, over all instances: by destination, time and answer."""

    async def add_activities(self, activities: Sequence[Activity]) -> None:
        """Keep these, and forget the oldest of their tenants beyond ACTIVITIES_PER_TENANT."""

    async def activities(
        self, *, tenant_id: str | None, destination_id: str | None, before: tuple[float, str] | None, limit: int
    ) -> list[Activity]:
        """The newest first, older than ``before`` (time and id). None: of every tenant, of every destination."""

    async def forget_figures(self, destination_ids: Collection[str]) -> None:
        """Remove those of destinations that are deleted, of all instances."""

    async def prune_history(self, now_s: float) -> None:
        """Forget what is older than KEPT_S and ACTIVITY_KEPT_S."""


def by_step(figures: Iterable[Figures]) -> list[tuple[int, Figures]]:
    """Each with every step that it counts in, its time moved to the step's beginning."""
    return [
        (step_s, msgspec.structs.replace(item, at_s=item.at_s - item.at_s % step_s))
        for item in figures
        for step_s in KEPT_S
    ]
