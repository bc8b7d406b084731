"""A stand-in gateway on loopback that speaks the contract's routes, and a runner for the program."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from gateway.cli.program import program

KEY = "tl_live_operator"
SPLUNK_FIELDS = [
    {"name": "token", "label": "HEC token", "type": "string", "required": True, "secret": True},
    {"name": "index", "type": "string", "required": False, "secret": False},
    {"name": "ack", "type": "boolean", "required": False, "secret": False},
    {"name": "tags", "type": "array", "required": False, "secret": False},
    {"name": "headers", "type": "object", "required": False, "secret": False},
]
HEALTH = {
    "last_error": {"code": "503", "message": "busy [bold]\x1b[31m"},
    "pending_events": 7,
    "lag_seconds": 1.25,
    "delivered_events": 40,
    "dropped_events": 0,
    "dead_lettered_events": 2,
}


class StubGateway:
    """Remembers what it was asked. ``event_answers`` are given one after another, then everything is accepted."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.bodies: list[bytes] = []
        self.event_answers: list[tuple[int, dict[str, Any]]] = []
        self.destinations: dict[str, dict[str, Any]] = {}
        self.ready = True
        self.accepts_keys = True
        self.flushes = True
        self.detail = "The destination is not valid."
        self.arrives = True
        self.url = ""

    def add_destination(self, name: str, status: str = "active", **members: Any) -> str:
        identity = f"siem_{len(self.destinations):020}"
        self.destinations[identity] = {
            "id": identity, "name": name, "provider": "splunk", "endpoint": "https://hec.example.com", "enabled": True,
            "tenant_id": "*", "status": status, "created_at": "2026-06-30T12:00:00Z", "options": {}, "filter": {},
            "health": HEALTH, "credentials_set": ["token"], **members,
        }  # fmt: skip
        return identity

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._check], client_max_size=64 << 20)
        application.add_routes(
            [
                web.get("/readyz", self._ready),
                web.post("/v1/audit/events", self._events),
                web.get("/v1/audit/siem", self._list),
                web.post("/v1/audit/siem", self._create),
                web.get("/v1/audit/siem/providers", self._providers),
                web.get("/v1/audit/siem/{id}", self._show),
                web.put("/v1/audit/siem/{id}", self._update),
                web.delete("/v1/audit/siem/{id}", self._delete),
                web.post("/v1/audit/siem/{id}/test", self._test),
                web.get("/v1/audit/siem/{id}/ledger", self._ledger),
                web.post("/v1/audit/siem/{id}/backfill", self._events),
                web.get("/v1/audit/siem/{id}/dead-letters", self._dead_letters),
                web.post("/v1/audit/siem/{id}/dead-letters/replay", self._replay),
                web.get("/v1/audit/keys", self._keys),
                web.post("/v1/audit/keys", self._create_key),
                web.delete("/v1/audit/keys/{id}", self._revoke),
            ]
        )
        return application

    @web.middleware
    async def _check(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        if request.path.startswith("/v1") and (request.headers.get("X-API-Key") != KEY or not self.accepts_keys):
            wrong = request.headers.get("X-API-Key") == "tl_live_weak"
            detail = "Streaming needs the Enterprise tier." if wrong else "The key is unknown."
            return problem(403 if wrong else 401, detail)
        identity = request.match_info.get("id", "")
        if identity.startswith("siem_") and identity not in self.destinations:
            return problem(404, "There is no such destination.")
        content = await request.read()
        parsed = json.loads(content) if content and request.content_type == "application/json" else None
        self.requests.append((request.method, request.path_qs, parsed))
        response: web.StreamResponse = await handler(request)
        return response

    async def _ready(self, _: web.Request) -> web.Response:
        return web.json_response({}) if self.ready else problem(503, "The disk is full.")

    async def _events(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-ndjson"
        body = await request.read()
        self.bodies.append(body)
        if self.event_answers:
            status, answer = self.event_answers.pop(0)
            return web.json_response(answer, status=status, headers={"Retry-After": "0"})
        count = sum(bool(line.strip()) for line in body.split(b"\n"))
        return web.json_response({"accepted": count, "rejected": 0}, status=202)

    async def _list(self, request: web.Request) -> web.Response:
        """One on each page, so that clients have to follow the cursor."""
        found = list(self.destinations.values())
        position = int(request.query.get("cursor", "0"))
        more = str(position + 1) if position + 1 < len(found) else None
        return web.json_response({"data": found[position : position + 1], "next_cursor": more})

    async def _providers(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"name": "splunk", "label": "Splunk", "fields": SPLUNK_FIELDS}]})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not str(body.get("endpoint", "")).startswith("https://"):
            errors = [
                {"field": "endpoint", "message": "must begin with https://"},
                {"field": "name", "message": "is taken"},
            ]
            return problem(422, self.detail, errors)
        identity = self.add_destination(body.get("name", ""))
        return web.json_response(self.destinations[identity], status=201)

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self.destinations[request.match_info["id"]])

    async def _update(self, request: web.Request) -> web.Response:
        return web.json_response(self.destinations[request.match_info["id"]])

    async def _delete(self, request: web.Request) -> web.Response:
        if self.flushes:
            return web.Response(status=204)
        return web.json_response({**self.destinations[request.match_info["id"]], "deleting": True}, status=202)

    async def _test(self, _: web.Request) -> web.Response:
        code = 200 if self.arrives else 403
        return web.json_response(
            {
                "ok": self.arrives,
                "status_code": code,
                "latency_ms": 12.5,
                "message": "Success" if self.arrives else "No",
                "steps": [
                    {"name": "connect", "ok": True, "detail": "Connected.", "ms": 3.4},
                    {"name": "authentication", "ok": self.arrives, "detail": "Answered.", "ms": None},
                    {"name": "acknowledged", "ok": None, "detail": "Not used.", "ms": None},
                ],
                "advice": None if self.arrives else "Give a new token.",
            }
        )

    async def _ledger(self, _: web.Request) -> web.Response:
        return web.json_response({"accepted": 49, "delivered": 40, "pending": 7, "balanced": True})

    async def _dead_letters(self, _: web.Request) -> web.Response:
        letter = {"id": "1", "event_id": "evt_1", "time": "2026-06-30T12:00:00Z", "code": "400", "reason": "too deep"}
        return web.json_response({"data": [letter], "next_cursor": None})

    async def _replay(self, _: web.Request) -> web.Response:
        return web.json_response({"replayed": 3})

    async def _keys(self, _: web.Request) -> web.Response:
        key = {"id": "key_1", "name": "producer", "tenant_id": "t1", "scopes": ["events:write", "siem:read"]}
        return web.json_response({"data": [key], "next_cursor": None})

    async def _create_key(self, request: web.Request) -> web.Response:
        return web.json_response({"id": "key_2", "key": "tl_live_new", **(await request.json())}, status=201)

    async def _revoke(self, _: web.Request) -> web.Response:
        return web.Response(status=204)


def problem(status: int, detail: str, errors: list[dict[str, Any]] | None = None) -> web.Response:
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail, "errors": errors or []}
    return web.json_response(body, status=status, content_type="application/problem+json")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubGateway]:
    """A stand-in that runs in a thread of its own, with GATEWAY_URL and GATEWAY_API_KEY pointing at it."""
    gateway = StubGateway()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(gateway.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    monkeypatch.setenv("GATEWAY_URL", gateway.url)
    monkeypatch.setenv("GATEWAY_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    yield gateway
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def gateway_command() -> Callable[..., Result]:
    """Runs the program with arguments, and text or bytes on its standard input."""

    def invoke(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(program, list(arguments), input=stdin)

    return invoke
