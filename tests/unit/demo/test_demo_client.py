"""The demo's client against a gateway that answers what each test says."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gateway.demo.client import Client, Destination, Health, Ledger
from gateway.demo.process import GatewayGone, RunningGateway
from gateway.demo.receivers import SplunkReceiver

DESTINATION = {"id": "siem_1", "provider": "splunk", "status": "active", "name": "more than is read"}
LEDGER: dict[str, Any] = {
    "accepted": 1,
    "delivered": 1,
    "dead_lettered": 0,
    "dropped": 0,
    "filtered": 0,
    "pending": 0,
    "balanced": True,
}


@asynccontextmanager
async def client(
    folder: Path, status: int, content: object, headers: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Client, list[tuple[str, str, bytes, str]]]]:
    seen: list[tuple[str, str, bytes, str]] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.path, await request.read(), request.headers["X-API-Key"]))
        return web.Response(status=status, body=msgspec.json.encode(content), headers=headers)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    log_file = folder / "gateway.log"
    log_file.write_text("its last words")
    gateway = RunningGateway(f"http://127.0.0.1:{runner.addresses[0][1]}", "tl_live_x", log_file)
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, gateway), seen
    finally:
        await runner.cleanup()


async def test_creates_a_destination_for_a_receiver(tmp_path: Path) -> None:
    """The receiver's endpoint, credentials and options are what is posted."""
    receiver = SplunkReceiver(ack=True)
    async with client(tmp_path, 201, DESTINATION) as (gateway, seen):
        made = await gateway.create_destination(receiver)
    assert made == Destination("siem_1", "splunk", "active")
    method, path, body, key = seen[0]
    assert (method, path, key) == ("POST", "/v1/audit/siem", "tl_live_x")
    assert msgspec.json.decode(body) == {
        "provider": "splunk",
        "name": "demo splunk",
        "endpoint": receiver.endpoint,
        "enabled": True,
        "options": {"ack": True},
        **receiver.credentials,
    }


async def test_reads_destinations_and_ledgers(tmp_path: Path) -> None:
    """Of what the gateway tells, the part that is shown."""
    listing = {"data": [{**DESTINATION, "health": {"breaker": "open", "lag_seconds": 2.5}}], "next_cursor": None}
    async with client(tmp_path, 200, listing) as (gateway, _):
        assert await gateway.destinations() == [Destination("siem_1", "splunk", "active", Health("open", 2.5))]
    async with client(tmp_path, 200, LEDGER) as (gateway, seen):
        assert await gateway.ledger("siem_1") == Ledger(**LEDGER)
    assert seen[0][:2] == ("GET", "/v1/audit/siem/siem_1/ledger")


async def test_posts_events_and_is_told_to_wait(tmp_path: Path) -> None:
    """Taken is None; a full queue names its seconds; anything else is a fault."""
    async with client(tmp_path, 202, {"accepted": 2, "rejected": 0}) as (gateway, seen):
        assert await gateway.post_events([b"{}", b"{}"]) is None
    assert seen[0][:3] == ("POST", "/v1/audit/events", b"{}\n{}")
    async with client(tmp_path, 503, {}, {"Retry-After": "3"}) as (gateway, _):
        assert await gateway.post_events([b"{}"]) == 3.0
    async with client(tmp_path, 207, {"accepted": 1, "rejected": 1}) as (gateway, _):
        with pytest.raises(GatewayGone, match=r"did not take events \(HTTP 207\).*rejected"):
            await gateway.post_events([b"{}"])


async def test_tells_the_last_words_of_a_gateway_that_is_gone(tmp_path: Path) -> None:
    """A connection that fails ends the demo with the end of the gateway's log."""
    async with client(tmp_path, 200, {}) as (gateway, _):
        pass
    async with aiohttp.ClientSession() as session:
        gone = Client(session, gateway._gateway)
        with pytest.raises(GatewayGone, match="its last words"):
            await gone.destinations()
