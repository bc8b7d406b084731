"""Server-sent events: all destinations at first, then each that changes, and a heartbeat that tells that all is well.

A stream ends when the gateway stops, when its key is revoked or expires, and when its reader does not keep up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
from aiohttp import web

from gateway.clock import rfc3339
from gateway.server.call import Call, begin_stream
from gateway.server.live import LOOK_S

HEARTBEAT_S = 5.0
SLOW_S = 10.0  # a reader that takes nothing for so long is cut off

_PIECE_BYTES = 256 << 10


async def watch(call: Call) -> web.StreamResponse:
    with call.parts.live.place(call.caller.tenant_id):
        number = await call.parts.live.look()
        response = await begin_stream(call, "text/event-stream")
        try:
            await _run(call, response, number)
        except TimeoutError:
            if call.request.transport is not None:
                call.request.transport.abort()
        except ConnectionError:
            pass  # the reader is gone
        return response


async def _run(call: Call, response: web.StreamResponse, number: int) -> None:
    live, clock = call.parts.live, call.parts.clock
    shown = live.changed_since(0, call.may_see)
    ids = set(shown)
    await _send(response, [_event("snapshot", b'{"data":[' + b",".join(shown.values()) + b"]}")])
    heartbeat_at_s = clock.monotonic_s() + HEARTBEAT_S
    while True:
        await clock.sleep(LOOK_S)
        if call.parts.stopping() or not call.parts.keys.is_valid(call.caller):
            return
        newest = await live.look()
        changed = live.changed_since(number, call.may_see)
        gone = {destination_id for destination_id in ids if not live.is_there(destination_id)}
        number, ids = newest, (ids | changed.keys()) - gone
        events = [_event("destination", view) for view in reversed(changed.values())]
        events += [_event("removed", msgspec.json.encode({"id": destination_id})) for destination_id in sorted(gone)]
        if clock.monotonic_s() >= heartbeat_at_s:
            heartbeat_at_s = clock.monotonic_s() + HEARTBEAT_S
            events.append(_event("heartbeat", msgspec.json.encode({"at": rfc3339(clock.time_s())})))
        await _send(response, events)


def _event(name: str, data: bytes) -> bytes:
    """``data`` is JSON, which has no line breaks of its own."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


async def _send(response: web.StreamResponse, events: Iterable[bytes]) -> None:
    """Raises TimeoutError for a reader that does not keep up."""
    text = memoryview(b"".join(events))
    for start in range(0, len(text), _PIECE_BYTES):
        async with asyncio.timeout(SLOW_S):
            await response.write(bytes(text[start : start + _PIECE_BYTES]))
