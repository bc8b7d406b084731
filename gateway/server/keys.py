"""API keys: make, list, revoke. A key itself is shown once, in the answer that makes it."""

from __future__ import annotations

from aiohttp import web

from gateway.destinations.store import ApiKey
from gateway.server import activity, paging
from gateway.server.call import Call, answer
from gateway.server.shapes import KeyPage, key_view, new_key

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000


async def list_all(call: Call) -> web.Response:
    """The fixed ones, then oldest first. Pages hold while others come or go: the cursor is the place of the last."""
    limit = call.number("limit", default=LIMIT_DEFAULT, low=1, high=LIMIT_MAX)
    after = paging.read(call.request.query.get("cursor")) or (-1.0, "")
    found = sorted((*_order(call, key), key) for key in call.parts.keys.list(call.caller))
    found = [entry for entry in found if entry[:2] > after]
    more = paging.cursor(*found[limit - 1][:2]) if len(found) > limit else None
    return answer(KeyPage([key_view(key) for _, _, key in found[:limit]], more))


async def create(call: Call) -> web.Response:
    made = await call.parts.keys.create(await call.members(), caller=call.caller)
    await activity.key_created(call, made.key)
    return answer(new_key(made.key, made.value), 201, {"Location": f"/v1/audit/keys/{made.key.id}"})


async def revoke(call: Call) -> web.Response:
    revoked = await call.parts.keys.revoke(call.request.match_info["id"], caller=call.caller)
    await activity.key_revoked(call, revoked)
    return web.Response(status=204)


def _order(call: Call, key: ApiKey) -> tuple[float, str]:
    """Fixed ones first: they are as old as the process, and their place must not move with it."""
    return 0.0 if call.parts.catalog.is_fixed(key.id) else key.created_at_s, key.id
