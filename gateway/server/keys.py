"""API keys: make, list, revoke. A key itself is shown once, in the answer that makes it."""

from __future__ import annotations

from aiohttp import web

from gateway.server import activity
from gateway.server.call import Call, answer
from gateway.server.shapes import KeyPage, key_view, new_key


async def list_all(call: Call) -> web.Response:
    return answer(KeyPage([key_view(key) for key in call.parts.keys.list(call.caller)]))


async def create(call: Call) -> web.Response:
    made = await call.parts.keys.create(await call.members(), caller=call.caller)
    await activity.key_created(call, made.key)
    return answer(new_key(made.key, made.value), 201, {"Location": f"/v1/audit/keys/{made.key.id}"})


async def revoke(call: Call) -> web.Response:
    revoked = await call.parts.keys.revoke(call.request.match_info["id"], caller=call.caller)
    await activity.key_revoked(call, revoked)
    return web.Response(status=204)
