"""What a handler works with: who calls, what was sent, and the parts of the gateway."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import web

from gateway.clock import Clock
from gateway.config import Ingest, Server
from gateway.delivery import Streams
from gateway.delivery.reason import why_closed
from gateway.delivery.trail import Trail
from gateway.destinations.catalog import Catalog
from gateway.destinations.claims import Claim, ClaimStore
from gateway.destinations.history import HistoryStore
from gateway.destinations.keys import KeyService
from gateway.destinations.service import DestinationService
from gateway.destinations.store import ApiKey, Destination
from gateway.errors import Conflict, NotFound, RequestRejected
from gateway.queue import ALL_TENANTS, Consumer, EventQueue
from gateway.server.buffering import Budget
from gateway.server.live import Live
from gateway.server.metrics import IngestCounts
from gateway.server.problems import REQUEST_ID
from gateway.server.quarantine import Quarantine
from gateway.server.rate_limit import RateLimits, UnderWay
from gateway.telemetry import Metrics

MANAGEMENT_BODY_BYTES_MAX = 1 << 20
PLAIN_NUMBER = "0|[1-9][0-9]{0,14}"  # exact as a float too, so that every client can send back what it was given
NUMBER_MAX = 10**15 - 1
_PLAIN_NUMBER = re.compile(PLAIN_NUMBER)


class Parts(NamedTuple):
    """Everything of the gateway that handlers may use. ``claimed`` has the claims whose requests are at work."""

    catalog: Catalog
    service: DestinationService
    keys: KeyService
    queue: EventQueue
    streams: Streams
    history: HistoryStore
    claims: ClaimStore
    claimed: dict[tuple[str, str], Claim]
    trail: Trail
    live: Live
    metrics: Metrics
    counts: IngestCounts
    ingest: Ingest
    server: Server
    clock: Clock
    quarantine: Quarantine
    budget: Budget
    limits: RateLimits
    under_way: UnderWay
    stopping: Callable[[], bool]
    data_dir: Path


PARTS = web.AppKey("parts", Parts)
_BODY = web.RequestKey("body", bytes)


class Call(NamedTuple):
    """``caller`` has the scope that the route needs; routes without a scope have a caller without rights."""

    request: web.Request
    parts: Parts
    caller: ApiKey

    @property
    def is_operator(self) -> bool:
        return self.caller.tenant_id == ALL_TENANTS

    def may_see(self, tenant_id: str) -> bool:
        return self.is_operator or tenant_id == self.caller.tenant_id

    def destination(self) -> Destination:
        """The one that the path names. Another tenant's is not told from one that does not exist."""
        destination_id = self.request.match_info["id"]
        found = self.parts.catalog.destination(destination_id)
        if found is None or not self.may_see(found.tenant_id):
            raise NotFound("there is no such destination")
        return found

    def consumer(self) -> Consumer:
        """The named destination's. Raises NotFound, also in the moment before delivery has taken it up."""
        consumer = self.parts.queue.consumer(self.destination().id)
        if consumer is None:
            raise NotFound("there is no such destination")
        return consumer

    def check_open(self) -> None:
        """Raise Conflict when events for the named destination alone would go into a gap."""
        destination = self.destination()
        closed = why_closed(destination, self.parts.streams.health(destination.id))
        if closed is not None:
            raise Conflict(f"{closed}; nothing was taken")

    async def members(self, *, empty_is_none: bool = False) -> dict[str, object]:
        """The JSON object of the body. Raises RequestRejected."""
        body = await self.body()
        if not body and empty_is_none:
            return {}
        try:
            return msgspec.json.decode(body, type=dict[str, object])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise RequestRejected("the body must be one JSON object", status=400) from None

    async def body(self) -> bytes:
        """All of it, however often it is asked for. Raises RequestRejected."""
        if _BODY not in self.request:
            self.request[_BODY] = await self._read_body()
        return self.request[_BODY]

    async def _read_body(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        timeout_s = self.parts.server.body_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                async for chunk in self.request.content.iter_any():
                    size += len(chunk)
                    if size > MANAGEMENT_BODY_BYTES_MAX:
                        raise RequestRejected(f"the body is over {MANAGEMENT_BODY_BYTES_MAX} bytes", status=413)
                    chunks.append(chunk)
        except TimeoutError:
            raise RequestRejected(
                f"the body did not come within {timeout_s:.0f} s; send it again", status=408
            ) from None
        return b"".join(chunks)

    def choice(self, name: str, choices: Collection[str], *, default: str) -> str:
        """A word of the query string. Raises RequestRejected when it is none of the choices."""
        value = self.request.query.get(name, default)
        if value not in choices:
            message = f"must be {' or '.join(choices)}"
            raise RequestRejected(f"{name} {message}", status=400, errors=((name, message),))
        return value

    def number(self, name: str, *, default: int, low: int, high: int) -> int:
        """A whole number of the query string. Raises RequestRejected for what is no PLAIN_NUMBER, or out of range."""
        text = self.request.query.get(name)
        if text is None:
            return default
        if _PLAIN_NUMBER.fullmatch(text) is None or not low <= int(text) <= high:
            message = f"must be a whole number from {low} to {high}, in digits without leading zeros"
            raise RequestRejected(f"{name} {message}", status=400, errors=((name, message),))
        return int(text)


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json", headers=headers
    )


async def begin_stream(call: Call, content_type: str, *, filename: str | None = None) -> web.StreamResponse:
    """An answer that is written piece by piece; with ``filename`` browsers save it."""
    response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-store"})
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Request-Id"] = call.request[REQUEST_ID]
    response.headers["X-Accel-Buffering"] = "no"  # asks proxies to pass each piece on as it comes
    if filename is not None:
        response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    await response.prepare(call.request)
    return response
