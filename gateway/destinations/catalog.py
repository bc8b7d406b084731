"""What the whole process reads of destinations and keys: one immutable view in memory.

The store is written first, then the view is swapped in one step. A view that was loaded while a write of this process
was under way is loaded again, so that nobody sees a change and then the state before it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import structlog

from gateway.destinations.snapshot_file import SnapshotFile
from gateway.destinations.store import ApiKey, Destination, DestinationStore, Snapshot
from gateway.errors import ConfigError, GatewayError, StoreError, StoreUnavailable
from gateway.telemetry import Event


class Catalog:
    """``start`` it, keep ``run`` running in a task, and read without waiting. Belongs to one event loop.

    ``snapshots`` is given where the store can be away while the gateway runs. ``fixed_keys`` exist beside the store's:
    the operator's bootstrap key.
    """

    def __init__(
        self, store: DestinationStore, *, snapshots: SnapshotFile | None = None, fixed_keys: Sequence[ApiKey] = ()
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._fixed_keys = tuple(fixed_keys)
        self._refreshing = asyncio.Lock()
        self._writes = 0
        self._problem: str | None = None
        self._version = 0
        self._changed = asyncio.Event()
        self._snapshot = Snapshot((), ())
        self._show(self._snapshot)

    # -- reading

    @property
    def version(self) -> int:
        """Grows with every change of what the catalog shows."""
        return self._version

    @property
    def store_problem(self) -> str | None:
        """Why the view may be out of date; None while the store answers. Reads go on either way."""
        return self._problem

    def destinations(self) -> Mapping[str, Destination]:
        """By id, oldest first. Never changes; the next change makes another mapping."""
        return self._destinations

    def destination(self, destination_id: str) -> Destination | None:
        return self._destinations.get(destination_id)

    def keys(self) -> Mapping[str, ApiKey]:
        """By id, the fixed ones first, then oldest first. Expired ones stay until they are revoked."""
        return self._keys

    def key_for(self, digest: str) -> ApiKey | None:
        """The key with this SHA-256, expired or not."""
        return self._keys_by_digest.get(digest)

    def is_fixed(self, key_id: str) -> bool:
        return any(key.id == key_id for key in self._fixed_keys)

    async def wait_for_change(self, version: int) -> int:
        """Return the present version as soon as it is not ``version``. Several changes may count as one."""
        while self._version == version:
            await self._changed.wait()
        return self._version

    # -- following the store

    async def start(self) -> None:
        """Load the first view: from the store, or from the last snapshot while the store is away.

        Raises StoreError when there is neither: an empty view would take the destinations' queues for abandoned.
        """
        try:
            self._adopt(await self._store.load())
        except StoreUnavailable as error:
            known = await asyncio.to_thread(self._snapshots.load) if self._snapshots is not None else None
            if known is None:
                raise
            self._report(error)
            self._adopt(known)

    async def run(self) -> None:
        """Follow the store's changes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            if self._snapshots is not None:
                group.create_task(self._keep(self._snapshots))

    async def refresh(self) -> None:
        """Read the store anew. When it does not answer, the view stays and ``store_problem`` says why."""
        async with self._refreshing:
            try:
                snapshot = await self._load_settled()
            except (StoreError, ConfigError) as error:
                self._report(error)
                return
            if self._problem is not None:
                self._problem = None
                structlog.get_logger().info(Event.STORE_RECOVERED)
            self._adopt(snapshot)

    # -- writing through; each raises what the store's method raises

    async def create_destination(self, destination: Destination) -> None:
        await self._store.create_destination(destination)
        self._wrote(destinations=[*self._others(destination.id), destination])

    async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
        await self._store.update_destination(destination, expected_revision=expected_revision)
        self._wrote(destinations=[_newer(known, destination) for known in self._snapshot.destinations])

    async def delete_destination(self, destination_id: str) -> None:
        await self._store.delete_destination(destination_id)
        self._wrote(destinations=self._others(destination_id))

    async def finish_deletion(self, destination_id: str) -> bool:
        is_gone = await self._store.finish_deletion(destination_id)
        if is_gone:
            self._wrote(destinations=self._others(destination_id))
        return is_gone

    async def create_key(self, key: ApiKey) -> None:
        await self._store.create_key(key)
        self._wrote(keys=[*(known for known in self._snapshot.keys if known.id != key.id), key])

    async def delete_key(self, key_id: str) -> None:
        await self._store.delete_key(key_id)
        self._wrote(keys=[known for known in self._snapshot.keys if known.id != key_id])

    # -- inside

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._store.changes()) as changes:
            async for _ in changes:
                await self.refresh()

    async def _keep(self, snapshots: SnapshotFile) -> None:
        """Write each view to the file, or the newest of several that came while the last was being written."""
        version = -1
        while True:
            version = await self.wait_for_change(version)
            await asyncio.to_thread(snapshots.save, self._snapshot)

    async def _load_settled(self) -> Snapshot:
        while True:
            writes = self._writes
            snapshot = await self._store.load()
            if writes == self._writes:
                return snapshot

    def _wrote(
        self, *, destinations: Sequence[Destination] | None = None, keys: Sequence[ApiKey] | None = None
    ) -> None:
        self._writes += 1
        known = self._snapshot
        self._adopt(
            Snapshot(
                known.destinations if destinations is None else tuple(destinations),
                known.keys if keys is None else tuple(keys),
            )
        )

    def _others(self, destination_id: str) -> list[Destination]:
        return [known for known in self._snapshot.destinations if known.id != destination_id]

    def _adopt(self, snapshot: Snapshot) -> None:
        if snapshot == self._snapshot:
            return
        self._snapshot = snapshot
        self._show(snapshot)
        self._version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _show(self, snapshot: Snapshot) -> None:
        keys = (*self._fixed_keys, *snapshot.keys)
        self._destinations = MappingProxyType({destination.id: destination for destination in snapshot.destinations})
        self._keys = MappingProxyType({key.id: key for key in keys})
        self._keys_by_digest = {key.digest: key for key in keys}

    def _report(self, error: GatewayError) -> None:
        """Once for each outage, with the cause that the message leaves out."""
        if self._problem is None:
            cause = str(error.__cause__) if error.__cause__ is not None else None
            structlog.get_logger().warning(Event.STORE_UNAVAILABLE, error=str(error), cause=cause)
        self._problem = str(error)


def _newer(known: Destination, written: Destination) -> Destination:
    return written if known.id == written.id and known.revision < written.revision else known
