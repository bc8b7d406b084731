"""The gateway with its destinations and keys in a real PostgreSQL, which comes and goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo.receivers import Respond, SplunkReceiver, WebhookReceiver, always
from tests.acceptance.api import WAIT_S_MAX
from tests.acceptance.audit_events import by_id, events
from tests.acceptance.gateway_process import GatewayProcess, StartGateway
from tests.acceptance.lives import QUICK, Lives
from tests.acceptance.oracle.process import OracleProcess
from tests.acceptance.test_command_line import CommandLine
from tests.postgres import Postgres, running_postgres

SIEM = "/v1/audit/siem"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


async def test_destinations_and_keys_live_in_the_database(postgres: Postgres, start_gateway: StartGateway) -> None:
    """What was made survives a kill -9 and is shared: another gateway on the same database has the same destinations
    and keys, delivers to them, and takes up and drops what changes.
    """
    shared = {"database_url": await postgres.new_database(), "secret_key": "one key for both of the gateways"}
    first = await start_gateway("first", **shared)
    async with SplunkReceiver() as receiver:
        destination = await first.api.create(receiver)
        key = (await first.api.new_key("tenant-a", "events:write"))["key"]
        lines = events(20)
        await first.api_with(key).accept(lines[:10])
        await first.kill()
        await first.start()
        second = await start_gateway("second", **shared)
        await second.api_with(key).accept(lines[10:])
        await receiver.wait_for(20)
        assert receiver.events == by_id(lines)
        for gateway in (first, second):
            assert (await gateway.api.until_settled(destination))["delivered"] == 10
        await second.api.change(destination, name="renamed there")
        await first.api.until(destination, lambda shown: shown["name"] == "renamed there")
        await second.api.expect(204, "DELETE", f"{SIEM}/{destination}")
        await first.api.until_gone(destination)


async def test_a_deletion_flushes_what_every_gateway_holds(postgres: Postgres, start_gateway: StartGateway) -> None:
    """DELETE at one gateway waits for the events that wait in another, and is 204 once they have arrived."""
    shared = {"database_url": await postgres.new_database(), "secret_key": "one key for both of the gateways"}
    asked, holding = await start_gateway("asked", **shared), await start_gateway("holding", **shared)
    async with WebhookReceiver(script=always(Respond(503))) as receiver:
        destination = await asked.api.create(receiver)
        await holding.api.until_there(destination)
        lines = events(20)
        await holding.api.accept(lines)
        await holding.api.until_degraded(destination)
        await asked.api.expect(202, "DELETE", f"{SIEM}/{destination}?timeout=0")
        receiver.script = None
        await asked.api.expect(204, "DELETE", f"{SIEM}/{destination}")
        assert receiver.events == by_id(lines)
        await holding.api.until_gone(destination)


async def test_the_encryption_key_is_changed_while_gateways_run(
    postgres: Postgres, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """Each gets both keys and starts anew, the rotation runs beside them from anywhere, then the old key goes."""
    old, new = "the old key of both of the gateways", "the new key of both of the gateways"
    url = await postgres.new_database()
    gateway = await start_gateway(database_url=url, secret_key=old)
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        await gateway.restart(secret_key=f"{new},{old}")
        elsewhere = CommandLine(tmp_path, GATEWAY_DATABASE_URL=url, GATEWAY_SECRET_KEY=f"{new},{old}")
        assert (await elsewhere.type("secrets", "rotate", "--json")).json == {"resealed": 1, "unreadable": []}
        lines = events(10)
        await gateway.api.accept(lines)
        await receiver.wait_for(10)
        await gateway.restart(secret_key=new)
        await gateway.api.accept(events(5))
        await receiver.wait_for(15)
        assert (await gateway.api.until_settled(destination))["delivered"] == 15
        assert not (tmp_path / "data" / "secret-key").exists()


async def test_events_flow_while_the_database_is_away(postgres: Postgres, start_gateway: StartGateway) -> None:
    """Without the database events are taken in and delivered and keys known; changes are answered with 503 until it is
    back, and nothing has to be started again.
    """
    gateway = await start_gateway(database_url=await postgres.new_database())
    async with SplunkReceiver() as receiver, WebhookReceiver(format="ndjson") as other:
        destination = await gateway.api.create(receiver)
        key = (await gateway.api.new_key("tenant-a", "events:write", "siem:read"))["key"]
        await postgres.stop()
        try:
            lines = events(30)
            await gateway.api_with(key).accept(lines)
            await receiver.wait_for(30)
            assert receiver.events == by_id(lines)
            for method, path, json in (
                ("POST", SIEM, {"provider": "webhook", "endpoint": other.endpoint, **other.credentials}),
                ("PUT", f"{SIEM}/{destination}", {"enabled": False}),
                ("POST", "/v1/audit/keys", {"name": "no", "scopes": ["siem:read"]}),
                ("DELETE", f"{SIEM}/{destination}", None),
            ):
                answer = await gateway.api.call(method, path, json=json)
                assert answer.status == 503, (method, path)
                assert int(answer.headers["Retry-After"]) > 0
            assert (await gateway.api.call("GET", "/readyz")).status == 200
            shown = await gateway.api.destination(destination)
            assert (shown["enabled"], shown["deleting"]) == (True, False)
        finally:
            await postgres.start()
        await gateway.api.until_done(
            "POST", SIEM, json={"provider": "webhook", "endpoint": other.endpoint, **other.credentials}
        )
        more = events(10)
        await gateway.api.accept(more)
        await other.wait_for(10)
        assert other.events == by_id(more)


async def test_a_start_without_the_database(postgres: Postgres, start_gateway: StartGateway) -> None:
    """Killed and started again while the database is away, the gateway goes on from its snapshot: keys, credentials,
    what was pending. Once the database is back, what was changed there meanwhile holds.
    """
    url = await postgres.new_database()
    gateway = await start_gateway(database_url=url)
    async with SplunkReceiver(script=always(Respond(503))) as receiver:
        destination = await gateway.api.create(receiver)
        key = (await gateway.api.new_key("tenant-a", "events:write"))["key"]
        pending, more = events(25), events(5)
        await gateway.api_with(key).accept(pending)
        await gateway.api.until_degraded(destination)
        await gateway.restart()
        await postgres.stop()
        try:
            await gateway.kill()
            await gateway.start()
            await gateway.api_with(key).accept(more)
            receiver.script = None
            assert (await gateway.api.until_settled(destination))["delivered"] == 30
            assert receiver.events == by_id(pending + more)
        finally:
            await postgres.start()
        await postgres.execute("UPDATE gateway_destinations SET name = 'by hand', revision = revision + 1", url)
        await gateway.api.until(destination, lambda shown: shown["name"] == "by hand")


async def test_a_deletion_outlasts_the_database(postgres: Postgres, start_gateway: StartGateway) -> None:
    """A destination that is flushed while the database is away is removed once that is back, and gets nothing twice."""
    gateway = await start_gateway(database_url=await postgres.new_database())
    async with SplunkReceiver(script=always(Respond(503))) as receiver:
        destination = await gateway.api.create(receiver)
        lines = events(10)
        await gateway.api.accept(lines)
        await gateway.api.expect(202, "DELETE", f"{SIEM}/{destination}?timeout=0")
        await postgres.stop()
        try:
            receiver.script = None
            await receiver.wait_for(10)
            await gateway.api.until_settled(destination)
            assert (await gateway.api.destination(destination))["deleting"] is True
        finally:
            await postgres.start()
        await gateway.api.until_gone(destination)
        assert (receiver.events, receiver.duplicates) == (by_id(lines), {})


async def test_no_start_with_neither_database_nor_snapshot(postgres: Postgres, tmp_path: Path) -> None:
    """An empty view would take the queues for abandoned: the start is refused with one line that says what is wrong."""
    gateway = GatewayProcess(tmp_path / "data", database_url=await postgres.new_database())
    await postgres.stop()
    try:
        await gateway.launch()
        assert await gateway.wait() == 1
    finally:
        await postgres.start()
    (line,) = [line for line in gateway.log.splitlines() if line.startswith("gateway: ")]
    assert "GATEWAY_DATABASE_URL" in line
    assert gateway.faults == []


async def test_the_database_goes_and_comes_under_load(postgres: Postgres, tmp_path: Path) -> None:
    """With five failing destinations and producers that do not pause, the database stops, the gateway is killed and
    started without it, and the database comes back: no acknowledged event is lost, and a change that was refused
    meanwhile, with words that name the database, is accepted and takes effect.
    """
    gateway = GatewayProcess(tmp_path / "data", **QUICK, database_url=await postgres.new_database())
    async with OracleProcess(tmp_path, "postgres") as oracle:
        lives = Lives(gateway, oracle, random.Random("postgres"))
        try:
            await lives.begin()
            webhook = oracle.ids["webhook"]
            await lives.die_under_load()
            await gateway.start()
            await oracle.meet(gateway)
            await oracle.ask("misbehave")
            await oracle.ask("produce")
            await postgres.stop()
            try:
                refused = await gateway.api.call("PUT", f"{SIEM}/{webhook}", json={"name": "renamed"})
                assert refused.status == 503
                assert "database" in refused.json()["detail"]
                before = (await oracle.ask("figures"))["acknowledged"]
                async with asyncio.timeout(WAIT_S_MAX):
                    while (await oracle.ask("figures"))["acknowledged"] == before:
                        await asyncio.sleep(0.05)
                await gateway.kill()
                await oracle.ask("rest")
                await lives.die_under_load()
            finally:
                await postgres.start()
            await gateway.start()
            await oracle.meet(gateway)
            await gateway.api.until_done("PUT", f"{SIEM}/{webhook}", json={"name": "renamed"})
            await gateway.api.until(webhook, lambda shown: shown["name"] == "renamed")
            figures = await lives.verdict()
            assert lives.complaints == []
            assert figures["dropped"] == 0
        finally:
            await gateway.end()
