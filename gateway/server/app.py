"""The HTTP application, made from the route table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import HttpVersion11, web

from gateway.clock import Clock
from gateway.config import Ingest, Server
from gateway.delivery import Streams
from gateway.delivery.trail import Trail
from gateway.destinations.catalog import Catalog
from gateway.destinations.claims import ClaimStore
from gateway.destinations.history import HistoryStore
from gateway.destinations.ids import api_key_digest
from gateway.destinations.keys import KeyService
from gateway.destinations.service import DestinationService
from gateway.errors import RequestRejected
from gateway.queue import EventQueue
from gateway.server import idempotency
from gateway.server.answers import Answer
from gateway.server.auth import NOBODY, admitted, presented_key
from gateway.server.buffering import Budget
from gateway.server.call import PARTS, Call, Parts
from gateway.server.console_files import add_console
from gateway.server.front.wire import CONTINUE
from gateway.server.handler import proper_http_middleware, without_software
from gateway.server.live import Live
from gateway.server.metrics import BooksCollector, IngestCounts
from gateway.server.openapi import document
from gateway.server.problems import problem, problems_middleware
from gateway.server.quarantine import Quarantine
from gateway.server.rate_limit import UNDER_WAY_PER_TENANT, Rate, RateLimits, UnderWay
from gateway.server.routes import ROUTES, Route
from gateway.telemetry import Metrics

LIMIT = web.RequestKey("limit", Mapping[str, str])  # headers that tell of it
_UNDER_WAY_RETRY_AFTER_S = 1


def build_app(
    *,
    catalog: Catalog,
    service: DestinationService,
    keys: KeyService,
    queue: EventQueue,
    streams: Streams,
    history: HistoryStore,
    claims: ClaimStore,
    trail: Trail,
    metrics: Metrics,
    ingest: Ingest,
    server: Server,
    data_dir: Path,
    clock: Clock,
    stopping: Callable[[], bool],
) -> web.Application:
    parts = Parts(
        catalog=catalog,
        service=service,
        keys=keys,
        queue=queue,
        streams=streams,
        history=history,
        claims=claims,
        claimed={},
        trail=trail,
        live=Live(catalog, streams, clock),
        metrics=metrics,
        counts=IngestCounts(),
        ingest=ingest,
        server=server,
        clock=clock,
        quarantine=Quarantine(data_dir / "quarantine", ingest.quarantine_bytes_max, clock),
        budget=Budget(ingest.buffered_bytes_max, wait_s=server.body_timeout_s),
        limits=RateLimits(Rate(server.rate_limit, server.rate_limit_burst), clock.monotonic_s),
        under_way=UnderWay(),
        stopping=stopping,
        data_dir=data_dir,
    )
    metrics.registry.register(parts.counts)
    metrics.registry.register(BooksCollector(catalog, queue, streams, with_tenants=server.metrics_tenants))
    app = web.Application(middlewares=[problems_middleware, proper_http_middleware])
    app[PARTS] = parts
    app.on_response_prepare.append(without_software)
    app.on_response_prepare.append(_with_limit)
    for route in ROUTES:
        handler = _handler(route, parts)
        for method in (route.method, "HEAD") if route.answers_head else (route.method,):
            app.router.add_route(method, _pattern(route.path), handler, expect_handler=_decide_later)
    description = document(ROUTES)

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=description, content_type="application/json")

    app.router.add_get("/openapi.json", openapi)
    add_console(app)
    return app


def _pattern(path: str) -> str:
    """For aiohttp. What stands in the place of an id in another route is none: a method that a route does not have is
    405 there, and not a question about a destination called ``providers``.
    """
    start = path.partition("{id}")[0]
    words = {other.path.removeprefix(start).partition("/")[0] for other in ROUTES if other.path.startswith(start)}
    taken = "|".join(sorted(words - {"{id}"}))
    return path.replace("{id}", f"{{id:(?!(?:{taken})(?:/|$))[^/]+}}") if taken and "{id}" in path else path


def _handler(route: Route, parts: Parts) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Who calls is found out before anything of the request is looked at."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.is_open:
            return await route.handler(Call(request, parts, NOBODY))
        headers = request.headers
        presented = presented_key(headers.get("X-API-Key"), headers.get("Authorization"))
        digest = None if presented is None else api_key_digest(presented)
        caller = admitted(digest, parts.keys, route.scope)
        if isinstance(caller, Answer):
            return caller.response()
        if not route.is_limited:
            return await _serve(route, Call(request, parts, caller))
        request[LIMIT] = limit = parts.limits.take(caller.id)
        if "Retry-After" in limit:
            return problem(429, "this key makes too many requests; go on after Retry-After")
        with parts.under_way.place(caller.tenant_id) as may_be_served:
            if may_be_served:
                return await _serve(route, Call(request, parts, caller))
        text = f"{UNDER_WAY_PER_TENANT} requests of this tenant are under way; go on when one has been answered"
        return problem(429, text, headers={"Retry-After": str(_UNDER_WAY_RETRY_AFTER_S)})

    return handle


async def _serve(route: Route, call: Call) -> web.StreamResponse:
    await _proceed(call.request)
    if route.is_repeatable and idempotency.HEADER in call.request.headers:
        return await idempotency.once(call, route.handler, shows_secret=route.shows_secret)
    return await route.handler(call)


async def _with_limit(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(request.get(LIMIT, {}))


async def _decide_later(_: web.Request) -> None:
    """``Expect`` is answered by ``_proceed``: who may not call is refused before the body is asked for."""


async def _proceed(request: web.Request) -> None:
    """Ask for the body where the client waits for that. Raises RequestRejected for what else it may expect."""
    expected = request.headers.get("Expect", "").lower()
    if not expected or request.version != HttpVersion11:
        return
    if expected != "100-continue":
        raise RequestRejected("Expect may be 100-continue, and nothing else", status=417)
    await request.writer.write(CONTINUE)
    request.writer.output_size = 0
