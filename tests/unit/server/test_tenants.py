"""Tenants do not see each other: every route with another's ids, and random sequences of what three of them do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Activity, Ingest, Queue, RetryPolicy, Server
from gateway.providers.codec import Reply, Request
from gateway.quantity import Bytes
from gateway.server.routes import EVENTS_BODY, ROUTES
from tests.events import event
from tests.loopback_gateway import ALL_SCOPES, NDJSON, WEBHOOK, Answer, Gateway

SIEM = "/v1/audit/siem"
TENANTS = ("tenant-a", "tenant-b", "tenant-c")
OF_ONE = [route for route in ROUTES if "{id}" in route.path]
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")


async def ask_of(gateway: Gateway, method: str, path: str, body: object, key: str) -> Answer:
    if body == EVENTS_BODY:
        return await gateway.ask(method, path, key=key, data=event(tenant_id="tenant-a"), headers=NDJSON)
    return await gateway.ask(method, path, key=key, json={} if method in ("PUT", "PATCH") else None)


@pytest.mark.parametrize("method", VERBS)
@pytest.mark.parametrize("path", sorted({route.path for route in OF_ONE}))
async def test_what_is_anothers_is_not_there(gateway: Gateway, method: str, path: str) -> None:
    """Every verb of every route that takes an id answers the same, to the byte, for another tenant's id, for an
    operator's and for one that nobody has; nothing happens to what they name.
    """
    key = await gateway.make_key("tenant-a")
    bodies = [route.body for route in OF_ONE if (route.method, route.path) == (method, path)]
    if path.startswith(SIEM):
        foreign = [await gateway.make_destination(tenant_id="tenant-b"), await gateway.make_destination()]
        nobody = "siem_" + "x" * (len(foreign[0]) - 5)
    else:
        await gateway.make_key("tenant-b")
        listed = (await gateway.ask("GET", "/v1/audit/keys")).json["data"]
        foreign = [shown["id"] for shown in listed if shown["tenant_id"] != "tenant-a"]
        nobody = "key_" + "x" * (len(foreign[-1]) - 4)
    before = await gateway.ask("GET", SIEM), await gateway.ask("GET", "/v1/audit/keys")
    answers = [
        await ask_of(gateway, method, path.replace("{id}", name), bodies[0] if bodies else None, key)
        for name in (nobody, *foreign)
    ]
    texts = {answer.body.replace(name.encode(), b"") for answer, name in zip(answers, (nobody, *foreign), strict=True)}
    assert {answer.status for answer in answers} == {404 if bodies else 405}
    assert len(texts) == 1
    compared = ("Content-Type", "Allow", "Cache-Control")
    heads = {tuple(answer.headers.get(name) for name in compared) for answer in answers}
    assert len(heads) == 1
    after = await gateway.ask("GET", SIEM), await gateway.ask("GET", "/v1/audit/keys")
    assert [answer.body for answer in after] == [answer.body for answer in before]


# -- random sequences


class World:
    """One gateway, a key for each tenant, and a word in everything that a tenant gives, by which it is recognised."""

    def __init__(self, gateway: Gateway, keys: dict[str, str]) -> None:
        self.gateway, self.keys = gateway, keys
        self.made: dict[str, list[str]] = {tenant: [] for tenant in TENANTS}
        self.count = 0

    async def do(self, tenant: str, deed: str, number: int) -> None:
        own = self.made[tenant]
        everyones = sorted(name for names in self.made.values() for name in names)
        chosen = everyones[number % len(everyones)] if everyones else "siem_nobody"
        path, key = f"{SIEM}/{chosen}", self.keys[tenant]
        match deed:
            case "create":
                endpoint = f"https://{tenant}.example.com/{tenant}"
                members = {**WEBHOOK, "endpoint": endpoint, "name": f"name of {tenant}"}
                answer = await self.ask(tenant, "POST", SIEM, json=members)
                own.append(answer.json["id"])
                return
            case "events":
                lines = b"\n".join(self.event(tenant) for _ in range(1 + number % 3))
                answer = await self.gateway.post(lines, key=key)
                assert answer.status == 202
                other = TENANTS[number % 3]
                answer = await self.gateway.post(self.event(other), key=key)
                assert answer.status == (202 if other == tenant else 400)
                return
            case "backfill":
                answer = await self.gateway.ask(
                    "POST", f"{path}/backfill", key=key, data=self.event(tenant), headers=NDJSON
                )
            case "update":
                answer = await self.ask(tenant, "PUT", path, json={"name": f"name of {tenant}, {number}"})
            case "delete":
                answer = await self.ask(tenant, "DELETE", f"{path}?force=true")
                if answer.status == 204:
                    own.remove(chosen)
                    return
            case "replay":
                answer = await self.ask(tenant, "POST", f"{path}/dead-letters/replay")
            case "preview":
                answer = await self.ask(tenant, "POST", f"{SIEM}/filter/preview", json={"filter": {}})
                assert answer.status == 200
                other = TENANTS[number % 3]
                refused = await self.ask(tenant, "POST", f"{SIEM}/filter/preview", json={"tenant_id": other})
                assert refused.status == (200 if other == tenant else 403)
                return
            case _:
                answer = await self.ask(tenant, "GET", f"{path}/{deed}" if deed else path)
        assert (answer.status < 300) == (chosen in own), (deed, answer.status, answer.body)
        assert answer.status < 300 or answer.status == 404

    async def ask(self, tenant: str, method: str, path: str, json: object = None) -> Answer:
        """Whatever it is, nothing of another tenant is in the answer."""
        answer = await self.gateway.passing(self.gateway.ask(method, path, key=self.keys[tenant], json=json))
        for other in TENANTS:
            if other != tenant:
                assert other.encode() not in answer.body, (tenant, method, path)
                assert not any(name.encode() in answer.body for name in self.made[other] if name not in path)
        return answer

    async def look_around(self, tenant: str) -> None:
        for path in (SIEM, "/v1/audit/activity", f"{SIEM}/stats", "/v1/audit/keys", f"{SIEM}?limit=1"):
            assert (await self.ask(tenant, "GET", path)).status == 200
        listed = (await self.ask(tenant, "GET", SIEM)).json["data"]
        assert [shown["id"] for shown in listed] == self.made[tenant]
        snapshot = await self.snapshot(tenant)
        assert not any(other.encode() in snapshot for other in TENANTS if other != tenant)

    async def snapshot(self, tenant: str) -> bytes:
        """The first that the stream of changes tells."""
        address = f"http://127.0.0.1:{self.gateway.port}{SIEM}/stream"
        headers = {"X-API-Key": self.keys[tenant]}
        async with aiohttp.ClientSession(headers=headers) as client, client.get(address) as response:
            return await response.content.readuntil(b"\n\n")

    def event(self, tenant: str) -> bytes:
        self.count += 1
        refused = "refused" if self.count % 4 == 0 else "fine"
        return event(id=f"evt_{self.count}", tenant_id=tenant, actor_id=f"actor of {tenant}", action=refused)


def answering(request: Request) -> Reply:
    """A receiver that takes nothing that is called refused."""
    return Reply(400 if b"refused" in request.body else 200, {}, b"")


def check_sent(request: Request) -> None:
    """The address names the tenant whose events these are; no other is in them."""
    for tenant in TENANTS:
        assert tenant in request.url or tenant.encode() not in request.body, request.url


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as resources:
        folder = resources.enter_context(tempfile.TemporaryDirectory())
        gateway = Gateway(Path(folder) / "data")
        await gateway.build(
            resources,
            ingest=Ingest(),
            server=Server(rate_limit=0),
            queue=Queue(segment_bytes=Bytes(1 << 20)),
            retry=RetryPolicy(),
            activity=Activity(emit=True),
        )
        gateway.wire.answer = answering
        tasks = [asyncio.create_task(part) for part in (gateway.supervisor.run(), gateway.queue.run())]
        resources.push_async_callback(_end, tasks)
        resources.callback(gateway.let_streams_end)
        keys = {tenant: await gateway.make_key(tenant, *ALL_SCOPES) for tenant in TENANTS}
        yield World(gateway, keys)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


DEEDS = (
    *("create", "create", "events", "events", "backfill", "update", "delete", "replay", "preview"),
    *("", "attempts", "gaps", "ledger", "dead-letters", "stats", "activity"),
)
STEPS = st.lists(st.tuples(st.sampled_from(TENANTS), st.sampled_from(DEEDS), st.integers(0, 11)), max_size=25)


@given(STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_nothing_of_one_tenant_gets_to_another(steps: list[tuple[str, str, int]]) -> None:
    """Whatever three tenants do in whatever order, with each other's ids too: no answer, list, preview, figure, entry
    of the activity or stream shows anything of another, and every destination gets its tenant's events alone.
    """
    asyncio.run(_live(steps))


async def _live(steps: list[tuple[str, str, int]]) -> None:
    async with world() as lived:
        for tenant, deed, number in steps:
            await lived.do(tenant, deed, number)
        for names in lived.made.values():
            for name in names:
                await lived.gateway.until(_settled(lived.gateway, name))
        for tenant in TENANTS:
            await lived.look_around(tenant)
        for request in lived.gateway.wire.requests:
            check_sent(request)


def _settled(gateway: Gateway, destination_id: str) -> Callable[[], bool]:
    def settled() -> Any:
        consumer = gateway.queue.consumer(destination_id)
        return consumer is not None and consumer.ledger().pending == 0

    return settled
