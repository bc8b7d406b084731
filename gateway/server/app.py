"""The HTTP application, made from the route table, and the runner that serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from gateway.clock import Clock
from gateway.config import Ingest, Server
from gateway.delivery import Streams
from gateway.delivery.trail import Trail
from gateway.destinations.catalog import Catalog
from gateway.destinations.history import HistoryStore
from gateway.destinations.keys import KeyService
from gateway.destinations.service import DestinationService
from gateway.queue import EventQueue
from gateway.server.auth import NOBODY, authenticate, refusal
from gateway.server.buffering import Budget
from gateway.server.call import Call, Parts
from gateway.server.console_files import add_console
from gateway.server.live import Live
from gateway.server.metrics import BooksCollector
from gateway.server.openapi import document
from gateway.server.problems import problems_middleware
from gateway.server.quarantine import Quarantine
from gateway.server.routes import ROUTES, Route
from gateway.telemetry import Metrics

_HEADER_LINE_BYTES_MAX = 8_190
_SHUTDOWN_S = 5.0


def build_app(
    *,
    catalog: Catalog,
    service: DestinationService,
    keys: KeyService,
    queue: EventQueue,
    streams: Streams,
    history: HistoryStore,
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
        trail=trail,
        live=Live(catalog, streams, clock),
        metrics=metrics,
        ingest=ingest,
        server=server,
        clock=clock,
        quarantine=Quarantine(data_dir / "quarantine", ingest.quarantine_bytes_max, clock),
        budget=Budget(ingest.buffered_bytes_max),
        stopping=stopping,
        data_dir=data_dir,
    )
    metrics.registry.register(BooksCollector(catalog, queue, streams))
    app = web.Application(middlewares=[problems_middleware])
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler(route, parts))
    description = document(ROUTES)

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=description, content_type="application/json")

    app.router.add_get("/openapi.json", openapi)
    add_console(app)
    return app


def make_runner(app: web.Application, server: Server) -> web.AppRunner:
    """Bodies are not decompressed by aiohttp: ``gateway.server.body`` does that with a bound on every step."""
    return web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        auto_decompress=False,
        keepalive_timeout=server.keep_alive_s,
        max_line_size=_HEADER_LINE_BYTES_MAX,
        max_field_size=_HEADER_LINE_BYTES_MAX,
        shutdown_timeout=_SHUTDOWN_S,
        read_bufsize=1 << 18,
    )


def _handler(route: Route, parts: Parts) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Who calls is found out before anything of the request is looked at."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.is_open:
            return await route.handler(Call(request, parts, NOBODY))
        caller = authenticate(request, parts.keys)
        if isinstance(caller, web.Response):
            return caller
        refused = refusal(caller, route.scope)
        if refused is not None:
            return refused
        return await route.handler(Call(request, parts, caller))

    return handle
