"""A DestinationStore in memory, for tests. It passes the same conformance suite as the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from gateway.destinations.store import ApiKey, Destination, Snapshot
from gateway.errors import Conflict, NotFound, StoreUnavailable


class MemoryContents:
    """What several stores may share, as gateways share a database. ``away`` is an outage."""

    def __init__(self) -> None:
        self.destinations: dict[str, Destination] = {}
        self.keys: dict[str, ApiKey] = {}
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
