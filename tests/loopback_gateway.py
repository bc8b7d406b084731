"""The real application on loopback: real queue, store, services and streams; only the wire to providers is a script."""

from __future__ import annotations

import asyncio
import io
import json as json_module
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from gateway.config import Activity, Delivery, Egress, Ingest, Queue, RetryPolicy, Server, TcpAddress
from gateway.delivery.health import TestResult
from gateway.delivery.supervisor import Supervisor
from gateway.delivery.trail import Trail
from gateway.destinations.catalog import Catalog
from gateway.destinations.keys import KeyService, bootstrap_key
from gateway.destinations.secrets import SecretBox
from gateway.destinations.service import DestinationService
from gateway.destinations.sqlite import SqliteStore
from gateway.destinations.store import DestinationStore
from gateway.errors import TransportError
from gateway.providers import PROVIDERS
from gateway.providers.codec import Reply, Request, Settings
from gateway.providers.egress import check_url
from gateway.providers.tls import check_tls
from gateway.providers.trace import Trace
from gateway.queue import Consumer
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.server.app import build_app
from gateway.server.listener import Listener
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.faulty_files import FaultyFiles
from tests.provider_cases import CREDENTIALS, ENDPOINTS

OPERATOR = "tl_live_operator"
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
WEBHOOK: dict[str, object] = {"provider": "webhook", "endpoint": ENDPOINTS["webhook"], **CREDENTIALS["webhook"]}
LARGE_BYTES = 1 << 19  # what the client does not like to be handed at once
ALL_SCOPES = ("events:write", "siem:read", "siem:write", "keys:write")

T = TypeVar("T")


class Answer:
    """A whole answer. ``problem`` checks that it is one of RFC 9457 before it gives its members."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json_module.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.body)
        members: dict[str, Any] = self.json
        assert members.keys() - {"errors"} == {"type", "title", "status", "detail"}
        assert members["status"] == self.status
        assert members["title"]
        assert members["detail"]
        for error in members.get("errors", []):
            assert error.keys() <= {"field", "line", "id", "message"}
            assert ("field" in error) != ("line" in error)
            assert error["message"]
        return members

    @property
    def detail(self) -> str:
        return str(self.problem["detail"])

    def errors(self, of: str = "field") -> dict[Any, str]:
        """What is wrong, by field or by line."""
        return {error[of]: error["message"] for error in self.problem.get("errors", [])}


class Wire:
    """The transport of every destination: what was sent, and what is answered."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply | TransportError] = lambda _: Reply(200, {}, b"taken")
        self.open = 0

    def connect(self, *, trace: Trace | None = None) -> Wire:
        self.open += 1
        return self

    def secured(self, settings: Settings) -> Wire:
        return self

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, TransportError):
            raise answer
        return answer

    async def close(self) -> None:
        self.open -= 1

    @property
    def lines(self) -> list[bytes]:
        return [line for request in self.requests for line in request.body.split(b"\n")]


class Gateway:
    """The parts, and a client. Time stands still until ``until`` or ``passing`` moves it."""

    def __init__(self, data_dir: Path, *, make_store: Callable[[Path], DestinationStore] = SqliteStore) -> None:
        self.data_dir, self._make_store = data_dir, make_store
        self.clock, self.metrics, self.wire = ManualClock(), Metrics(), Wire()
        self.stopping = asyncio.Event()
        self.port = 0

    def hold_tests(self, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
        """From now on a test of a destination sets the first when it begins, and goes well once the second is set."""
        is_testing, may_end = asyncio.Event(), asyncio.Event()

        async def slowly(*_: object) -> TestResult:
            is_testing.set()
            await may_end.wait()
            return TestResult(True, 200, 1.0, "fine")

        monkeypatch.setattr(self.supervisor, "test", slowly)
        return is_testing, may_end

    async def build(
        self,
        resources: AsyncExitStack,
        *,
        ingest: Ingest,
        server: Server,
        queue: Queue,
        retry: RetryPolicy,
        activity: Activity,
        delivery: Delivery | None = None,
    ) -> None:
        self.files = await asyncio.to_thread(FaultyFiles, self.data_dir)
        self.queue: WalQueue = await open_queue(self.files, queue, clock=self.clock, metrics=self.metrics)
        resources.push_async_callback(self.queue.close)
        self.store = self._make_store(self.data_dir / "destinations.db")
        resources.push_async_callback(self.store.close)
        self.catalog = Catalog(self.store, fixed_keys=[bootstrap_key(OPERATOR, self.clock.time_s())])
        await self.catalog.start()
        service = DestinationService(
            self.catalog,
            secret_box=SecretBox("a key of the tests"),
            providers=PROVIDERS,
            check_endpoint=partial(check_url, policy=Egress()),
            check_settings=partial(check_tls, policy=Egress(), clock=self.clock),
            clock=self.clock,
        )
        trail = Trail(self.store, self.queue, activity, instance="gw", clock=self.clock)
        self.supervisor = Supervisor(
            catalog=self.catalog,
            queue=self.queue,
            providers=PROVIDERS,
            settings_of=service.settings_of,
            make_transport=self.wire.connect,
            remove_destination=service.remove,
            finish_deletion=self.catalog.finish_deletion,
            history=self.store,
            trail=trail,
            instance="gw",
            retry=retry,
            delivery=delivery or Delivery(),
            clock=self.clock,
            metrics=self.metrics,
            random=lambda: 0.5,
        )
        resources.push_async_callback(self.supervisor.close)
        self.app = build_app(
            catalog=self.catalog,
            service=service,
            keys=KeyService(self.catalog, clock=self.clock),
            queue=self.queue,
            streams=self.supervisor,
            history=self.store,
            claims=self.store,
            trail=trail,
            metrics=self.metrics,
            ingest=ingest,
            server=server,
            data_dir=self.data_dir,
            clock=self.clock,
            stopping=self.stopping.is_set,
        )
        await self._listen(resources, Listener(self.app, server))

    async def _listen(self, resources: AsyncExitStack, listener: Listener) -> None:
        self.listener = listener
        resources.push_async_callback(listener.stop)
        address = await listener.start(TcpAddress("127.0.0.1", 0))
        self.port = int(address.rpartition(":")[2])
        self._client = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}", auto_decompress=False)
        resources.push_async_callback(self._client.close)

    # -- asking

    async def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = OPERATOR,
        json: object = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        body = json_module.dumps(json).encode() if json is not None else data
        if isinstance(body, bytes) and len(body) > LARGE_BYTES:
            body = io.BytesIO(body)
        sent = {**({"X-API-Key": key} if key is not None else {}), **(JSON if json is not None else {})}
        async with self._client.request(method, path, data=body, headers={**sent, **(headers or {})}) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, body: Any, *, key: str = OPERATOR, **headers: str) -> Answer:
        """NDJSON to ingest. ``headers`` are given with underscores."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", "/v1/audit/events", key=key, data=body, headers={**NDJSON, **given})

    async def make_key(self, tenant_id: str, *scopes: str, **members: object) -> str:
        members |= {"tenant_id": tenant_id, "scopes": scopes or ALL_SCOPES}
        answer = await self.ask("POST", "/v1/audit/keys", json=members)
        assert answer.status == 201, answer.body
        return str(answer.json["key"])

    async def make_destination(self, *, key: str = OPERATOR, provider: str = "webhook", **members: object) -> str:
        given = {"provider": provider, "endpoint": ENDPOINTS[provider], **CREDENTIALS[provider], **members}
        answer = await self.ask("POST", "/v1/audit/siem", key=key, json=given)
        assert answer.status == 201, answer.body
        return str(answer.json["id"])

    async def show(self, destination_id: str) -> Any:
        answer = await self.ask("GET", f"/v1/audit/siem/{destination_id}")
        assert answer.status == 200, answer.body
        return answer.json

    async def ledger(self, destination_id: str) -> dict[str, Any]:
        answer = await self.ask("GET", f"/v1/audit/siem/{destination_id}/ledger")
        assert answer.status == 200, answer.body
        books: dict[str, Any] = answer.json
        return books

    # -- what was stored, and time

    async def watch(self) -> Consumer:
        """A consumer of everything that is stored from now on. Not together with running streams."""
        return await self.queue.add_consumer("siem_watch", "*")

    async def until(self, condition: Callable[[], bool]) -> None:
        await self.clock.run_until(condition)

    async def passing(self, asking: Coroutine[Any, Any, T]) -> T:
        """The answer to something that takes time."""
        task = asyncio.create_task(asking)
        await self.clock.run_until(task.done)
        return await task

    def let_streams_end(self) -> None:
        """They look once a second whether the gateway stops."""
        self.stopping.set()
        self.clock.advance(1)

    async def settled(self, destination_id: str) -> None:
        """Until nothing waits for the destination."""
        consumer = self.queue.consumer(destination_id)
        assert consumer is not None
        await self.until(lambda: consumer.ledger().pending == 0)


async def stored(consumer: Consumer) -> list[bytes]:
    """Everything that the consumer has not been handed yet."""
    lines: list[bytes] = []
    while (records := await consumer.take(events_max=10_000, bytes_max=64 << 20)) is not None:
        lines += records.lines
    return lines
