"""A DestinationStore in memory, for tests. It passes the same conformance suite as the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence

from msgspec.structs import replace

from gateway.destinations.claims import ABANDONED_S, CLAIMS_PER_KEY, Claim
from gateway.destinations.claims import KEPT_S as KEPT_ANSWERS_S
from gateway.destinations.history import (
    ACTIVITIES_PER_TENANT,
    ACTIVITY_KEPT_S,
    KEPT_S,
    Activity,
    Figures,
    by_step,
)
from gateway.destinations.store import ApiKey, Destination, DestinationStore, Snapshot
from gateway.errors import Conflict, NotFound, StoreUnavailable

OpenStore = Callable[[], Awaitable[DestinationStore]]


class MemoryContents:
    """What several stores may share, as gateways share a database. ``away`` is an outage."""

    def __init__(self) -> None:
        self.destinations: dict[str, Destination] = {}
        self.keys: dict[str, ApiKey] = {}
        self.figures: dict[tuple[int, str, int, str], Figures] = {}
        self.activities: list[Activity] = []
        self.claims: dict[tuple[str, str], Claim] = {}
        self.readers: set[asyncio.Event] = set()
        self.away = False

    def announce(self) -> None:
        for changed in self.readers:
            changed.set()


class MemoryStore:
    def __init__(self, contents: MemoryContents | None = None) -> None:
        self.contents = contents or MemoryContents()
        self._closed = False

    async def load(self) -> Snapshot:
        await self._reach()
        return Snapshot(
            tuple(sorted(self.contents.destinations.values(), key=lambda row: (row.created_at_s, row.id))),
            tuple(sorted(self.contents.keys.values(), key=lambda row: (row.created_at_s, row.id))),
        )

    async def create_destination(self, destination: Destination) -> None:
        await self._reach()
        if destination.id in self.contents.destinations:
            raise Conflict(f"{destination.id} exists already")
        self.contents.destinations[destination.id] = destination
        self.contents.announce()

    async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
        await self._reach()
        stored = self.contents.destinations.get(destination.id)
        if stored is None:
            raise NotFound(f"there is no destination {destination.id}")
        if stored.revision != expected_revision:
            raise Conflict(f"{destination.id} was changed")
        self.contents.destinations[destination.id] = destination
        self.contents.announce()

    async def delete_destination(self, destination_id: str) -> None:
        await self._reach()
        self.contents.destinations.pop(destination_id, None)
        self.contents.announce()

    async def finish_deletion(self, destination_id: str) -> bool:
        await self.delete_destination(destination_id)
        return True

    async def create_key(self, key: ApiKey) -> None:
        await self._reach()
        digests = {stored.digest for stored in self.contents.keys.values()}
        if key.id in self.contents.keys or key.digest in digests:
            raise Conflict(f"{key.id} exists already")
        self.contents.keys[key.id] = key
        self.contents.announce()

    async def delete_key(self, key_id: str) -> None:
        await self._reach()
        if self.contents.keys.pop(key_id, None) is None:
            raise NotFound(f"there is no key {key_id}")
        self.contents.announce()

    async def add_figures(self, instance: str, figures: Sequence[Figures]) -> None:
        await self._reach()
        for step_s, item in by_step(figures):
            key = step_s, item.destination_id, item.at_s, item.answer
            known = self.contents.figures.get(key)
            self.contents.figures[key] = item if known is None else known.plus(item)

    async def figures(self, destination_ids: Collection[str], *, step_s: int, since_s: int) -> list[Figures]:
        await self._reach()
        return [
            item
            for key, item in sorted(self.contents.figures.items())
            if key[0] == step_s and item.destination_id in destination_ids and item.at_s >= since_s
        ]

    async def add_activities(self, activities: Sequence[Activity]) -> None:
        await self._reach()
        self.contents.activities = sorted([*self.contents.activities, *activities], key=_newest_first, reverse=True)
        for tenant_id in {entry.tenant_id for entry in activities}:
            of_tenant = [entry for entry in self.contents.activities if entry.tenant_id == tenant_id]
            for entry in of_tenant[ACTIVITIES_PER_TENANT:]:
                self.contents.activities.remove(entry)

    async def activities(
        self, *, tenant_id: str | None, destination_id: str | None, before: tuple[float, str] | None, limit: int
    ) -> list[Activity]:
        await self._reach()
        found = [
            entry
            for entry in self.contents.activities
            if tenant_id in (None, entry.tenant_id)
            and destination_id in (None, entry.destination_id)
            and (before is None or _newest_first(entry) < before)
        ]
        return found[:limit]

    async def forget_figures(self, destination_ids: Collection[str]) -> None:
        await self._reach()
        kept = self.contents.figures.items()
        self.contents.figures = {key: item for key, item in kept if item.destination_id not in destination_ids}

    async def prune_history(self, now_s: float) -> None:
        await self._reach()
        kept = self.contents.figures.items()
        self.contents.figures = {key: item for key, item in kept if key[2] >= int(now_s) - KEPT_S[key[0]]}
        self.contents.activities = [
            entry for entry in self.contents.activities if entry.at_s >= now_s - ACTIVITY_KEPT_S
        ]

    async def claim(self, claim: Claim) -> Claim | None:
        await self._reach()
        claims = self.contents.claims
        known = claims.get((claim.api_key_id, claim.name))
        kept_s = KEPT_ANSWERS_S if known is not None and known.answer else ABANDONED_S
        if known is not None and known.at_s >= claim.at_s - kept_s:
            return known
        claims[claim.api_key_id, claim.name] = claim
        of_key = [item for item in claims.values() if item.api_key_id == claim.api_key_id]
        for item in sorted(of_key, key=lambda item: (item.at_s, item.name), reverse=True)[CLAIMS_PER_KEY:]:
            del claims[item.api_key_id, item.name]
        return None

    async def keep_answer(self, claim: Claim) -> None:
        await self._reach()
        if self._is_open(claim):
            self.contents.claims[claim.api_key_id, claim.name] = claim

    async def release(self, claim: Claim) -> None:
        await self._reach()
        if self._is_open(claim):
            del self.contents.claims[claim.api_key_id, claim.name]

    def _is_open(self, claim: Claim) -> bool:
        return self.contents.claims.get((claim.api_key_id, claim.name)) == replace(claim, answer=b"")

    async def changes(self) -> AsyncGenerator[None, None]:
        changed = asyncio.Event()
        self.contents.readers.add(changed)
        try:
            while True:
                yield
                await changed.wait()
                changed.clear()
        finally:
            self.contents.readers.discard(changed)

    async def close(self) -> None:
        self._closed = True

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self._closed or self.contents.away:
            raise StoreUnavailable("the store is away")


def _newest_first(entry: Activity) -> tuple[float, str]:
    return entry.at_s, entry.id
