"""``Idempotency-Key``: a request that makes something can be sent again, after an answer that never came, without
making it twice. As in the IETF's draft of that header: the first answer is given again for a day.

Names belong to the API key that uses them, so no tenant meets another's. An answer that shows a secret is not kept;
asking for it again is told where the thing is.
"""

from __future__ import annotations

import hashlib
import re

import msgspec
import structlog
from aiohttp import web

from gateway.destinations.claims import ABANDONED_S, Claim
from gateway.errors import RequestRejected, StoreUnavailable
from gateway.server.call import Call, Handler
from gateway.server.problems import problem
from gateway.telemetry import Event

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_NAME = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = ("Location", "ETag")
_RETRY_AFTER_S = 1


class _Kept(msgspec.Struct, frozen=True):
    """``body`` is None where it showed a secret."""

    status: int
    headers: dict[str, str]
    body: str | None


async def once(call: Call, handler: Handler, *, shows_secret: bool) -> web.StreamResponse:
    """The handler's answer, or the one that it gave before. Anything but 2xx is not kept: ask again.

    While the handler is at work the name is taken, however long that takes. Of several gateways with one store the
    others do not know that, and go by the claim's age alone: what is sent again to another one after ABANDONED_S, while
    database or disk keep the first waiting for so long, is made twice. Dead letters are each gateway's own.
    """
    claim = await _claim(call)
    claimed, place = call.parts.claimed, (claim.api_key_id, claim.name)
    if place in claimed:
        return _again(claimed[place], claim.fingerprint)
    claimed[place] = claim
    try:
        known = await call.parts.claims.claim(claim)
        if known is not None:
            return _again(known, claim.fingerprint)
        return await _first(call, handler, claim, shows_secret=shows_secret)
    finally:
        del claimed[place]


async def _claim(call: Call) -> Claim:
    given = call.request.headers.getall(HEADER)
    if len(given) > 1 or _NAME.fullmatch(given[0]) is None:
        raise RequestRejected(f"{HEADER} must be one name of 1 to 255 visible ASCII characters", status=400)
    fingerprint = hashlib.sha256(
        b"\0".join((call.request.method.encode(), call.request.raw_path.encode(), await call.body()))
    ).hexdigest()
    return Claim(call.caller.id, given[0], fingerprint, call.parts.clock.time_s())


async def _first(call: Call, handler: Handler, claim: Claim, *, shows_secret: bool) -> web.StreamResponse:
    try:
        response = await handler(call)
    except Exception:
        await _release(call, claim)
        raise
    if isinstance(response, web.Response) and 200 <= response.status < 300:
        await _keep(call, claim, response, shows_secret=shows_secret)
    else:
        await _release(call, claim)
    return response


async def _release(call: Call, claim: Claim) -> None:
    """Whether the store can forget it or not, the handler has said what is to be answered."""
    try:
        await call.parts.claims.release(claim)
    except StoreUnavailable as error:
        detail = f"the name of a refused request is free only after {ABANDONED_S:.0f} s"
        structlog.get_logger().warning(Event.STORE_UNAVAILABLE, error=str(error), detail=detail)


async def _keep(call: Call, claim: Claim, response: web.Response, *, shows_secret: bool) -> None:
    """What was made is made, whether its answer can be kept or not."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    body = None if shows_secret else bytes(response.body or b"").decode()  # type: ignore[arg-type] # handlers give bytes
    kept = msgspec.json.encode(_Kept(response.status, headers, body))
    try:
        await call.parts.claims.keep_answer(msgspec.structs.replace(claim, answer=kept))
    except StoreUnavailable as error:
        structlog.get_logger().warning(Event.STORE_UNAVAILABLE, error=str(error), detail="an answer is not kept")


def _again(known: Claim, fingerprint: str) -> web.Response:
    if known.fingerprint != fingerprint:
        return problem(422, f"this {HEADER} belongs to another request: use a new one for each")
    if not known.answer:
        text = (
            f"the request with this {HEADER} is under way, or broke off; after {ABANDONED_S:.0f} s it may be made anew"
        )
        return problem(409, text, headers={"Retry-After": str(_RETRY_AFTER_S)})
    kept = msgspec.json.decode(known.answer, type=_Kept)
    headers = {**kept.headers, REPLAYED: "true"}
    if kept.body is None:
        text = (
            f"this was made by the first request, as {kept.headers.get('Location', '')}, and its secret is shown only "
            "once: if that answer was lost, revoke it and make another"
        )
        return problem(409, text, headers=headers)
    return web.Response(status=kept.status, text=kept.body, content_type="application/json", headers=headers)
