"""Who changed what, and how destinations fared: kept in the store for the API, and emitted as audit events of the
tenant through the same queue as all others, so that the tenant's SIEMs see it. Changes of destinations of all tenants
are no tenant's, and are emitted only when the settings name one for them.

A record is made after the change that it tells of. Neither a store nor a queue that fails takes the change back or
raises: what could not be recorded stands in the log. A crash between a change and its record loses the record.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
import structlog

from gateway.clock import Clock, rfc3339
from gateway.config import Activity as ActivitySettings
from gateway.destinations.history import Action, Activity, Change, HistoryStore
from gateway.destinations.ids import new_activity_id
from gateway.errors import GatewayError
from gateway.queue import ALL_TENANTS, Entry, EventQueue, Subject, SubjectKind
from gateway.telemetry import Event

SERVICE = "siem-gateway"
EMITTED = "siem.destination."  # actions that begin so; keys are the gateway's own affair

# Values that an event repeats; of every other field it names the name alone, for an endpoint or a header may hold what
# readers of the SIEM are not meant to see.
_SHOWN = frozenset({"name", "enabled", "ordered", "status", "status_reason"})


class Actor(msgspec.Struct, frozen=True):
    """The key that asked for a change; both None for the gateway itself."""

    key_id: str | None = None
    key_name: str | None = None


class Subjected(msgspec.Struct, frozen=True):
    """What an activity is about. A key is no destination: id and name are None then."""

    tenant_id: str
    destination_id: str | None = None
    destination_name: str | None = None


class Trail:
    """Safe to use from any task."""

    def __init__(
        self, store: HistoryStore, queue: EventQueue, settings: ActivitySettings, *, instance: str, clock: Clock
    ) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._instance = instance
        self._clock = clock
        self._made = 0

    def entry(self, action: Action, about: Subjected, actor: Actor, changes: Sequence[Change] = ()) -> Activity:
        self._made += 1
        at_s = self._clock.time_s()
        return Activity(
            id=new_activity_id(at_s, self._made),
            at_s=at_s,
            action=action,
            tenant_id=about.tenant_id,
            destination_id=about.destination_id,
            destination_name=about.destination_name,
            key_id=actor.key_id,
            key_name=actor.key_name,
            changes=tuple(changes),
        )

    async def record(self, activities: Sequence[Activity]) -> None:
        """Keep and emit them. What is emitted is durable when this returns, unless the log says otherwise."""
        if not activities:
            return
        await self._emit(activities)
        try:
            await self._store.add_activities(activities)
        except GatewayError as error:
            self._report(activities, error, "they are not kept")

    async def _emit(self, activities: Sequence[Activity]) -> None:
        lines: dict[str, list[bytes]] = {}
        for activity in activities:
            tenant_id = self._settings.tenant if activity.tenant_id == ALL_TENANTS else activity.tenant_id
            if tenant_id and self._settings.emit and activity.action.startswith(EMITTED):
                lines.setdefault(tenant_id, []).append(audit_event(activity, tenant_id, self._instance))
        if not lines:
            return
        try:
            await self._queue.append(
                [
                    Entry(Subject(SubjectKind.TENANT, tenant_id), b"\n".join(events), len(events))
                    for tenant_id, events in lines.items()
                ]
            )
        except (GatewayError, OSError) as error:
            self._report(activities, error, "they are not emitted as audit events")

    def _report(self, activities: Sequence[Activity], error: Exception, detail: str) -> None:
        structlog.get_logger().warning(
            Event.ACTIVITY_FAILED, actions=[entry.action for entry in activities], error=str(error), detail=detail
        )


def audit_event(activity: Activity, tenant_id: str, instance: str) -> bytes:
    """One line of JSON that ingest would take from a producer."""
    is_system = activity.key_id is None
    metadata: dict[str, object] = {
        "destination_name": activity.destination_name,
        "destination_tenant_id": activity.tenant_id,
        "instance": instance,
        "changes": [_shown(change) for change in activity.changes],
    }
    if not is_system:
        metadata["key_name"] = activity.key_name
    return msgspec.json.encode(
        {
            "id": f"evt_{secrets.token_hex(16)}",
            "timestamp": rfc3339(activity.at_s),
            "tenant_id": tenant_id,
            "actor_type": "SYSTEM" if is_system else "API_KEY",
            "actor_id": SERVICE if is_system else activity.key_id,
            "action": activity.action,
            "resource_type": "siem_destination",
            "resource_id": activity.destination_id,
            "service": SERVICE,
            "outcome": "FAILURE" if activity.action in (Action.DEGRADED, Action.FAILED) else "SUCCESS",
            "metadata": metadata,
        }
    )


def _shown(change: Change) -> dict[str, object]:
    if change.field not in _SHOWN:
        return {"field": change.field}
    return {"field": change.field, "from": change.before, "to": change.after}
