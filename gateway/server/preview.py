"""What a filter would let through, tried on the newest events of a tenant that are still in the queue."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from gateway.destinations.filter import compile_filter
from gateway.destinations.form import read_filter
from gateway.destinations.problems import Problems, read_tenant_id
from gateway.destinations.store import Filter
from gateway.errors import RequestRejected
from gateway.server.call import Call, answer
from gateway.server.shapes import Preview, PreviewedEvent

EVENTS_MAX = 1_000
SAMPLE_MAX = 20

_MEMBERS = ("filter", "tenant_id")


class _Event(msgspec.Struct):
    id: str = ""
    timestamp: str = ""
    action: str = ""
    service: str = ""
    outcome: str = ""
    actor_type: str = ""


async def preview(call: Call) -> web.Response:
    chosen, tenant_id = _read(call, await call.members())
    lines = await call.parts.queue.newest(tenant_id, EVENTS_MAX)
    return answer(await asyncio.to_thread(tried, chosen, lines))


def tried(chosen: Filter, lines: list[bytes]) -> Preview:
    """``lines`` are events, newest first."""
    matcher = compile_filter(chosen)
    matches = [True] * len(lines) if matcher is None or not lines else matcher(lines)
    sample = [_previewed(line, matched) for line, matched in zip(lines[:SAMPLE_MAX], matches, strict=False)]
    return Preview(sum(matches), len(lines), sample)


def _previewed(line: bytes, matched: bool) -> PreviewedEvent:
    event = msgspec.json.decode(line, type=_Event)
    return PreviewedEvent(
        event.id, event.timestamp, event.action, event.service, event.outcome, event.actor_type, matched
    )


def _read(call: Call, given: dict[str, object]) -> tuple[Filter, str]:
    problems = Problems("the preview")
    for name in given:
        if name not in _MEMBERS:
            problems.add_unknown(name, _MEMBERS)
    chosen = read_filter(given.get("filter"), problems)
    tenant_id = call.caller.tenant_id
    if given.get("tenant_id") is not None:
        tenant_id = read_tenant_id(given["tenant_id"], problems) or tenant_id
    problems.raise_any()
    if not call.may_see(tenant_id):
        message = "this key may only act for its own tenant"
        raise RequestRejected(f"tenant_id: {message}", status=403, errors=(("tenant_id", message),))
    return chosen, tenant_id
