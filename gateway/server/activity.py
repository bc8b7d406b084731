"""Who changed what: recording it after each change, and the lists of it."""

from __future__ import annotations

from aiohttp import web

from gateway.delivery.health import Health, Status
from gateway.delivery.trail import Actor, Subjected
from gateway.destinations.changes import differences, key_members
from gateway.destinations.history import Action, Change
from gateway.destinations.store import ApiKey, Destination
from gateway.server import paging
from gateway.server.call import Call, answer
from gateway.server.shapes import ActivityPage, activity_view

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000


async def of_destination(call: Call) -> web.Response:
    return await _page(call, call.destination().id)


async def of_all(call: Call) -> web.Response:
    """What an operator may see, or the tenant of the key; deleted destinations and keys included."""
    return await _page(call, None)


async def created(call: Call, made: Destination) -> None:
    await _record(call, made, (Action.CREATED, differences(None, made)))


async def updated(call: Call, before: Destination, after: Destination, health: Health | None) -> None:
    """``health`` is that before the change: to enable a failed destination is a change though no member is another."""
    changes = differences(before, after)
    switched = tuple(change for change in changes if change.field == "enabled")
    is_resumed = after.enabled and after.resumed_at_s > before.resumed_at_s
    if is_resumed and health is not None and health.status is Status.FAILED:
        switched += (Change("status", Status.FAILED.value, Status.ACTIVE.value),)
    others = tuple(change for change in changes if change.field != "enabled")
    await _record(
        call, after, (Action.UPDATED, others), (Action.ENABLED if after.enabled else Action.DISABLED, switched)
    )


async def deleted(call: Call, marked: Destination) -> None:
    await _record(call, marked, (Action.DELETED, (Change("deleting", False, True),)))


async def key_created(call: Call, key: ApiKey) -> None:
    await _record_key(call, key, Action.KEY_CREATED)


async def key_revoked(call: Call, key: ApiKey) -> None:
    await _record_key(call, key, Action.KEY_REVOKED)


async def _record(call: Call, destination: Destination, *deeds: tuple[Action, tuple[Change, ...]]) -> None:
    """One entry for each that changed something."""
    about = Subjected(destination.tenant_id, destination.id, destination.name)
    trail = call.parts.trail
    await trail.record([trail.entry(action, about, _actor(call), changes) for action, changes in deeds if changes])


async def _record_key(call: Call, key: ApiKey, action: Action) -> None:
    changes = key_members(key, made=action is Action.KEY_CREATED)
    trail = call.parts.trail
    await trail.record([trail.entry(action, Subjected(key.tenant_id), _actor(call), changes)])


def _actor(call: Call) -> Actor:
    return Actor(call.caller.id, call.caller.name)


async def _page(call: Call, destination_id: str | None) -> web.Response:
    limit = call.number("limit", default=LIMIT_DEFAULT, low=1, high=LIMIT_MAX)
    found = await call.parts.history.activities(
        tenant_id=None if call.is_operator else call.caller.tenant_id,
        destination_id=destination_id,
        before=paging.read(call.request.query.get("cursor")),
        limit=limit + 1,
    )
    page = found[:limit]
    more = paging.cursor(page[-1].at_s, page[-1].id) if len(found) > limit else None
    return answer(ActivityPage([activity_view(entry) for entry in page], more))
