"""What is stored of destinations and keys, and the protocol that every store keeps.

A store is the only owner of this state. It never sees a credential in clear: ``sealed_credentials`` is what
``gateway.destinations.secrets`` made of them.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from gateway.destinations.claims import ClaimStore
from gateway.destinations.history import HistoryStore


class Scope(enum.StrEnum):
    EVENTS_WRITE = "events:write"
    SIEM_READ = "siem:read"
    SIEM_WRITE = "siem:write"
    KEYS_WRITE = "keys:write"


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events a destination gets; a list left empty lets all through. ``*`` matches any run of characters."""

    actions: tuple[str, ...] = ()
    exclude_actions: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    actor_types: tuple[str, ...] = ()


class Destination(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch. ``revision`` grows by one with every change.

    ``options`` may hold values that only the provider's fields describe; ``ordered`` keeps one request in flight.
    ``credentials_updated_at_s`` says by name when a credential was last given.
    """

    id: str
    tenant_id: str
    provider: str
    endpoint: str
    enabled: bool
    name: str
    options: dict[str, object]
    filter: Filter
    sealed_credentials: bytes
    credentials_set: tuple[str, ...]
    created_at_s: float
    updated_at_s: float
    revision: int = 1
    ordered: bool = False
    deleting: bool = False
    resumed_at_s: float = 0.0  # when a PUT last asked to start streaming again
    credentials_updated_at_s: dict[str, float] = {}


class ApiKey(msgspec.Struct, frozen=True):
    """``digest`` is the SHA-256 of the key in hex: keys are 256 random bits, so no salt or stretching is needed."""

    id: str
    tenant_id: str
    name: str
    scopes: tuple[Scope, ...]
    digest: str
    prefix: str
    created_at_s: float
    expires_at_s: float | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """Everything in the store at one moment."""

    destinations: tuple[Destination, ...]
    keys: tuple[ApiKey, ...]


class DestinationStore(HistoryStore, ClaimStore, Protocol):
    """Safe to use from any task, and usable when built: nothing is opened before the first call.

    Every method may raise StoreUnavailable; a write is durable when it returns, and may have been made when it is
    cancelled or ends with StoreUnavailable. ConfigError: this gateway cannot use the store, however long it waits.
    """

    async def load(self) -> Snapshot:
        """Oldest first. Raises StoreError when any of it cannot be read: half a configuration is worse than old."""

    async def create_destination(self, destination: Destination) -> None:
        """Raises Conflict when the id exists."""

    async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
        """Raises NotFound, or Conflict when the stored revision is not the expected one."""

    async def delete_destination(self, destination_id: str) -> None:
        """Deleting what is not there is no error."""

    async def finish_deletion(self, destination_id: str) -> bool:
        """This gateway holds nothing of it any more: delete it once that is so of every gateway that was here lately.

        Whether it is gone. Ask again after False: the others may have ended without a word.
        """

    async def create_key(self, key: ApiKey) -> None:
        """Raises Conflict when the id or the digest exists."""

    async def delete_key(self, key_id: str) -> None:
        """Raises NotFound."""

    def changes(self) -> AsyncGenerator[None, None]:
        """Yields whenever something may have changed, by this process or another, and once at the beginning.

        May yield too often, never too rarely. Goes on through an outage; ends with the task that reads it.
        """

    async def close(self) -> None: ...
