"""What machines ask: alive, ready, metrics."""

from __future__ import annotations

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from gateway.server.call import Call, answer
from gateway.server.problems import problem
from gateway.server.shapes import HealthAnswer


async def alive(_: Call) -> web.Response:
    return answer(HealthAnswer("alive"))


async def ready(call: Call) -> web.Response:
    """Ready to take events; the store may be away meanwhile, since ingest and delivery go on without it."""
    if call.parts.stopping():
        return problem(503, "the gateway is stopping")
    status = call.parts.queue.status()
    return problem(503, status.problem) if status.problem else answer(HealthAnswer("ready"))


async def metrics(call: Call) -> web.Response:
    response = web.Response(body=generate_latest(call.parts.metrics.registry))
    response.headers["Content-Type"] = CONTENT_TYPE_LATEST
    return response
