"""Destinations: create, list, show, change, delete, test."""

from __future__ import annotations

from typing import NoReturn

from aiohttp import web

from gateway.delivery.health import Status, TestResult
from gateway.destinations.merge_patch import changes_of
from gateway.destinations.service import Changes, Precondition
from gateway.destinations.store import Destination
from gateway.errors import RequestRejected
from gateway.providers import PROVIDERS
from gateway.server import activity, paging
from gateway.server.call import Call, answer
from gateway.server.conditions import entity_tag, if_match, is_known
from gateway.server.shapes import (
    DestinationPage,
    DestinationView,
    ProviderPage,
    WhoAmI,
    destination_view,
    provider_view,
)

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
PATCH_TYPES = ("application/merge-patch+json", "application/json")
FLUSH_DEFAULT_S, FLUSH_MAX_S = 30, 300


async def create(call: Call) -> web.Response:
    """The consumer is durable before the answer: an event that is accepted after it reaches the destination.

    When the disk refuses the consumer there is no destination either.
    """
    given = await call.members()
    made = await call.parts.service.create(given, tenant_id=call.caller.tenant_id, may_choose_tenant=call.is_operator)
    try:
        await call.parts.queue.add_consumer(made.id, made.tenant_id)
    except OSError:
        await call.parts.service.remove(made.id)
        raise
    await activity.created(call, made)
    return answer(_view(call, made), 201, {"Location": f"/v1/audit/siem/{made.id}", "ETag": entity_tag(made)})


async def show(call: Call) -> web.Response:
    destination = call.destination()
    if is_known(call, destination):
        return web.Response(status=304, headers={"ETag": entity_tag(destination)})
    await call.parts.streams.catch_up(destination.id)
    return _one(call, destination)


async def list_all(call: Call) -> web.Response:
    """Oldest first. The cursor is the last one's place, so that pages hold while others are created or deleted."""
    limit = call.number("limit", default=LIMIT_DEFAULT, low=1, high=LIMIT_MAX)
    status, provider = call.request.query.get("status"), call.request.query.get("provider")
    if status is not None and status not in set(Status):
        _refuse("status", f"must be one of {', '.join(Status)}")
    after = paging.read(call.request.query.get("cursor")) or (-1.0, "")
    page: list[DestinationView] = []
    for destination in sorted(call.parts.catalog.destinations().values(), key=_order):
        if _order(destination) <= after or not _is_visible(call, destination, provider):
            continue
        view = _view(call, destination)
        if status is not None and view.status.value != status:
            continue
        if len(page) == limit:
            last = call.parts.catalog.destinations()[page[-1].id]
            return answer(DestinationPage(page, paging.cursor(*_order(last))))
        page.append(view)
    return answer(DestinationPage(page, None))


async def update(call: Call) -> web.Response:
    return await _update(call, await call.members())


async def patch(call: Call) -> web.Response:
    """A JSON merge patch, of the state that is there when it is stored."""
    media_type = call.request.content_type
    if "Content-Type" in call.request.headers and media_type not in PATCH_TYPES:
        raise RequestRejected(f"Content-Type must be {' or '.join(PATCH_TYPES)}", status=415)
    given = await call.members()
    return await _update(call, lambda known: changes_of(known, given))


async def delete(call: Call) -> web.Response:
    """204 once everything it holds is delivered (or dropped, with ``force``); 202 while that goes on."""
    destination = call.destination()
    timeout_s = call.number("timeout", default=FLUSH_DEFAULT_S, low=0, high=FLUSH_MAX_S)
    force = _flag(call, "force")
    before: list[Destination] = []
    marked = await call.parts.service.mark_deleting(destination.id, precondition=_noting(before, if_match(call)))
    if not before[-1].deleting:
        await activity.deleted(call, marked)
    if force:
        await call.parts.streams.drop(destination.id)
        return web.Response(status=204)
    if await call.parts.streams.flushed(destination.id, timeout_s):
        return web.Response(status=204)
    return answer(_view(call, marked), 202)


async def test_unstored(call: Call) -> web.Response:
    draft = call.parts.service.draft(
        await call.members(), tenant_id=call.caller.tenant_id, may_choose_tenant=call.is_operator
    )
    return answer(await _test(call, draft))


async def test_stored(call: Call) -> web.Response:
    """Members in the body are tried in place of what is stored, without storing them."""
    destination = call.destination()
    changes = await call.members(empty_is_none=True)
    draft = call.parts.service.draft_update(destination.id, changes) if changes else destination
    return answer(await _test(call, draft))


async def who_am_i(call: Call) -> web.Response:
    caller = call.caller
    return answer(WhoAmI(caller.id, caller.tenant_id, caller.scopes, caller.name))


async def providers(_: Call) -> web.Response:
    return answer(ProviderPage([provider_view(provider) for provider in PROVIDERS.values()]))


async def _update(call: Call, changes: Changes) -> web.Response:
    """With ``verify`` the change is tried first, and nothing is stored when the test event does not arrive.

    It applies to every event that is accepted after the answer; what came while it was disabled is durably in a gap.
    """
    known, precondition = call.destination(), if_match(call)
    precondition(known)
    if _flag(call, "verify"):
        await _verify(call, call.parts.service.draft_update(known.id, changes))
    health = call.parts.streams.health(known.id)
    before: list[Destination] = []
    changed = await call.parts.service.update(known.id, changes, precondition=_noting(before, precondition))
    try:
        await call.parts.streams.take_up(before[-1])
    finally:  # it is stored, whatever the disk of the queue does
        await activity.updated(call, before[-1], changed, health)
    return _one(call, changed)


def _noting(seen: list[Destination], precondition: Precondition) -> Precondition:
    """``precondition`` that keeps what it was asked about: the last of ``seen`` is what was changed in the end."""

    def look(newest: Destination) -> None:
        precondition(newest)
        seen.append(newest)

    return look


async def _verify(call: Call, draft: Destination) -> None:
    result = await _test(call, draft)
    if not result.ok:
        message = f"the test event did not arrive, and nothing was changed: {result.message}"
        raise RequestRejected(message, errors=(("verify", message),))


async def _test(call: Call, draft: Destination) -> TestResult:
    settings = call.parts.service.settings_of(draft)
    return await call.parts.streams.test(PROVIDERS[draft.provider], settings, draft.tenant_id)


def _one(call: Call, destination: Destination) -> web.Response:
    return answer(_view(call, destination), headers={"ETag": entity_tag(destination)})


def _view(call: Call, destination: Destination) -> DestinationView:
    return destination_view(destination, call.parts.streams.health(destination.id))


def _is_visible(call: Call, destination: Destination, provider: str | None) -> bool:
    if provider is not None and destination.provider != provider:
        return False
    return call.may_see(destination.tenant_id)


def _order(destination: Destination) -> tuple[float, str]:
    return destination.created_at_s, destination.id


def _flag(call: Call, name: str) -> bool:
    given = call.request.query.get(name, "false").lower()
    if given not in ("true", "false"):
        _refuse(name, "must be true or false")
    return given == "true"


def _refuse(field: str, message: str) -> NoReturn:
    raise RequestRejected(f"{field} {message}", status=400, errors=((field, message),))
