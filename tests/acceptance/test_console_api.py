"""What the console needs, of the real process: a stream that is watched, figures that survive, events about changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from gateway.demo.receivers import Respond, WebhookReceiver, always
from tests.acceptance.api import WAIT_S_MAX
from tests.acceptance.audit_events import events
from tests.acceptance.gateway_process import OPERATOR_KEY, GatewayProcess, StartGateway

SIEM = "/v1/audit/siem"


class Watcher:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def until(self, name: str, holds: Callable[[Any], bool] = lambda _: True) -> Any:
        """The data of the next event of this name for which that holds."""
        told = ""
        async with asyncio.timeout(WAIT_S_MAX):
            while line := (await self._response.content.readline()).decode():
                if line.startswith("event: "):
                    told = line.removeprefix("event: ").strip()
                elif line.startswith("data: ") and told == name:
                    data = json.loads(line.removeprefix("data: "))
                    if holds(data):
                        return data
        raise AssertionError("the stream ended")

    async def ended(self) -> bool:
        async with asyncio.timeout(WAIT_S_MAX):
            while await self._response.content.readline():
                pass
        return True


@asynccontextmanager
async def watching(gateway: GatewayProcess) -> AsyncIterator[Watcher]:
    async with (
        aiohttp.ClientSession(read_bufsize=1 << 20) as client,
        client.get(f"{gateway.address}{SIEM}/stream", headers={"X-API-Key": OPERATOR_KEY}) as response,
    ):
        assert response.status == 200
        yield Watcher(response)


async def totals(gateway: GatewayProcess, destination_id: str, window: str) -> dict[str, int]:
    points = (await gateway.api.expect(200, "GET", f"{SIEM}/{destination_id}/stats?window={window}"))["points"]
    return {name: sum(point[name] for point in points) for name in ("delivered", "failed", "attempts")}


async def test_an_outage_is_seen_told_and_remembered(start_gateway: StartGateway) -> None:
    """A destination fails and recovers before one's eyes; its tenant's other SIEM is told by events that count like any
    other; and the figures are there after a restart, and after a kill but for the last minute.
    """
    gateway = await start_gateway(activity_emit="true")
    async with WebhookReceiver(format="ndjson") as failing, WebhookReceiver(format="ndjson") as siem:
        watched = await gateway.api.create(siem, name="siem", tenant_id="tenant-a")
        destination = await gateway.api.create(failing, name="failing", tenant_id="tenant-a")
        lines = events(20)
        async with watching(gateway) as watcher:
            snapshot = await watcher.until("snapshot")
            assert {view["id"] for view in snapshot["data"]} == {watched, destination}
            failing.script = always(Respond(503))
            await gateway.api.accept(lines)
            shown = await watcher.until(
                "destination", lambda view: (view["id"], view["status"]) == (destination, "degraded")
            )
            assert "503" in shown["status_reason"]
            assert shown["health"]["events_at_risk_at"] > shown["status_since"]
            await watcher.until("heartbeat")
            failing.script = None
            shown = await watcher.until(
                "destination", lambda view: (view["id"], view["status"]) == (destination, "active")
            )
            assert shown["status_reason"] == "Delivering."
            await _told(siem, "siem.destination.recovered")
            stopped = asyncio.create_task(watcher.ended())
            for one in (watched, destination):
                assert (await gateway.api.until_settled(one))["balanced"]
            before = {one: await totals(gateway, one, "1h") for one in (watched, destination)}
            assert before[watched]["delivered"] == 20 + len(_own(siem))
            assert before[destination]["failed"] >= 20
            await gateway.restart()
            assert await stopped
        for window in ("1h", "24h", "7d"):
            for one in (watched, destination):
                assert await totals(gateway, one, window) == before[one]
        assert [event["action"] for event in _own(siem)] == [
            f"siem.destination.{what}" for what in ("created", "created", "degraded", "recovered")
        ]
        degraded = _own(siem)[2]
        assert (degraded["actor_type"], degraded["outcome"], degraded["resource_id"]) == (
            "SYSTEM",
            "FAILURE",
            destination,
        )
        activity = await gateway.api.listed(destination, "activity")
        assert [entry["action"] for entry in activity] == [
            f"siem.destination.{what}" for what in ("recovered", "degraded", "created")
        ]
        assert (await gateway.api.ledger(watched))["accepted"] == 24


async def test_a_test_tells_each_step(gateway: GatewayProcess) -> None:
    """Against a real receiver: what worked, what did not, and what to do."""
    async with WebhookReceiver(format="ndjson") as receiver:
        destination = await gateway.api.create(receiver)
        path = f"{SIEM}/{destination}/test"
        good = await gateway.api.expect(200, "POST", path)
        assert [(step["name"], step["ok"]) for step in good["steps"]] == [
            ("dns", None),
            ("connect", True),
            ("tls", None),
            ("authentication", True),
            ("write", True),
            ("acknowledged", None),
        ]
        assert (good["ok"], good["advice"]) == (True, None)
        receiver.script = always(Respond(401))
        refused = await gateway.api.expect(200, "POST", path)
        assert [step["ok"] for step in refused["steps"]] == [None, True, None, False, None, None]
        assert "credentials" in refused["advice"]
        nowhere = await gateway.api.expect(200, "POST", path, json={"endpoint": "http://127.0.0.1:9/"})
        assert [step["ok"] for step in nowhere["steps"]] == [None, False, None, None, None, None]
        nobody = await gateway.api.expect(200, "POST", path, json={"endpoint": "https://nobody.invalid/"})
        assert [step["ok"] for step in nobody["steps"]] == [False, None, None, None, None, None]


def _own(receiver: WebhookReceiver) -> list[dict[str, Any]]:
    """The gateway's own events that arrived, in the order in which they happened."""
    found = [json.loads(line) for line in receiver.events.values() if b'"service":"siem-gateway"' in line]
    return sorted(found, key=lambda event: event["timestamp"])


async def _told(receiver: WebhookReceiver, action: str) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while action not in [event["action"] for event in _own(receiver)]:
            await asyncio.sleep(0.02)
