"""Server-sent events: what a page that watches is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest

from gateway.providers.codec import Reply
from gateway.server import live, stream
from tests.events import event
from tests.loopback_gateway import OPERATOR, Gateway
from tests.unit.server.conftest import Start

STREAM = "/v1/audit/siem/stream"
SIEM = "/v1/audit/siem"


class Told(NamedTuple):
    name: str
    data: Any


class Watcher:
    """One open stream. Time moves only while something is waited for."""

    def __init__(self, gateway: Gateway, response: aiohttp.ClientResponse) -> None:
        self._gateway = gateway
        self.response = response

    async def next(self) -> Told:
        """The next event, whatever it is."""
        return await self._gateway.passing(self._read())

    async def next_but_heartbeats(self) -> Told:
        while (told := await self.next()).name == "heartbeat":
            pass
        return told

    async def until(self, destination_id: str, **members: object) -> dict[str, Any]:
        """The next view of the destination that has these members."""
        while True:
            told = await self.next()
            if told.name == "destination" and told.data["id"] == destination_id:
                view: dict[str, Any] = told.data
                if members.items() <= view.items():
                    return view

    async def ended(self) -> bool:
        """Whether nothing comes any more but the end."""
        return await self._gateway.passing(self._is_at_end())

    async def _read(self) -> Told:
        name, data, blank = [(await self.response.content.readline()).decode() for _ in range(3)]
        assert (name[:7], data[:6], blank) == ("event: ", "data: ", "\n"), (name, data, blank)
        return Told(name[7:].strip(), json.loads(data[6:]))

    async def _is_at_end(self) -> bool:
        while line := await self.response.content.readline():
            assert line == b"\n" or line.startswith((b"event: ", b"data: "))
        return True


@asynccontextmanager
async def watching(gateway: Gateway, key: str = OPERATOR) -> AsyncIterator[Watcher]:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}", read_bufsize=1 << 22) as client,
        client.get(STREAM, headers={"X-API-Key": key}) as response,
    ):
        assert response.status == 200, await response.read()
        yield Watcher(gateway, response)
    gateway.clock.advance(stream.HEARTBEAT_S + 1)  # it is found out at the next heartbeat that nobody reads any more


async def test_all_destinations_come_first(streaming: Gateway) -> None:
    """Each as it is shown by its own route; nothing may keep or change the stream on its way."""
    one, two = await streaming.make_destination(), await streaming.make_destination(enabled=False)
    async with watching(streaming) as watcher:
        headers = watcher.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        told = await watcher.next()
        assert told.name == "snapshot"
        views = {view["id"]: view for view in told.data["data"]}
        assert views.keys() == {one, two}
        assert views[two].keys() == (await streaming.show(two)).keys()


async def test_a_destination_that_fails_and_recovers_is_seen(streaming: Gateway) -> None:
    """Its status, its reason in words and when events are at risk, as they change."""
    destination = await streaming.make_destination(provider="datadog")
    async with watching(streaming) as watcher:
        await watcher.next()
        streaming.wire.answer = lambda _: Reply(403, {}, b"")
        await streaming.post(event())
        shown = await watcher.until(destination, status="degraded")
        assert shown["status_reason"].endswith("Check the credentials and their permissions.")
        assert shown["status_since"] == shown["health"]["retrying_since"]
        assert shown["health"]["events_at_risk_at"] == "2026-07-01T06:35:00.000Z"  # 18 hours on
        streaming.wire.answer = lambda _: Reply(202, {}, b"{}")
        shown = await watcher.until(destination, status="active")
        assert (shown["status_reason"], shown["health"]["events_at_risk_at"]) == ("Delivering.", None)


async def test_what_comes_and_goes_is_told(streaming: Gateway) -> None:
    """A new destination, a change by a person, a removal."""
    async with watching(streaming) as watcher:
        assert (await watcher.next()).data == {"data": []}
        destination = await streaming.make_destination(name="first")
        await watcher.until(destination, name="first")
        await streaming.ask("PUT", f"{SIEM}/{destination}", json={"name": "second"})
        await watcher.until(destination, name="second")
        await streaming.passing(streaming.ask("DELETE", f"{SIEM}/{destination}"))
        while (told := await watcher.next_but_heartbeats()).name != "removed":
            assert told.name == "destination"
        assert told.data == {"id": destination}


async def test_a_heartbeat_says_that_all_is_well(streaming: Gateway) -> None:
    """Every five seconds, with the gateway's time; of a destination to which nothing happens nothing is said."""
    await streaming.make_destination()
    async with watching(streaming) as watcher:
        await watcher.next()
        times: list[str] = []
        while len(times) < 3:
            told = await watcher.next()
            if told.name == "heartbeat":
                times.append(told.data["at"])
        assert times == sorted(times)
        assert len(set(times)) == 3


async def test_a_lag_that_grows_is_no_news_each_second(streaming: Gateway) -> None:
    """A dead destination is told of as its lag grows by a tenth, or as something else happens to it."""
    destination = await streaming.make_destination()
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event())
    async with watching(streaming) as watcher:
        await watcher.until(destination, status="degraded")
        began = streaming.clock.monotonic_s()
        count = 0
        while streaming.clock.monotonic_s() < began + 400:
            count += (await watcher.next()).name == "destination"
        assert count < 150


async def test_a_tenant_watches_its_own_alone(streaming: Gateway) -> None:
    """Others' destinations neither appear nor change nor go."""
    key = await streaming.make_key("acme", "siem:read")
    other = await streaming.make_destination(tenant_id="other")
    async with watching(streaming, key) as watcher:
        assert (await watcher.next()).data == {"data": []}
        await streaming.ask("PUT", f"{SIEM}/{other}", json={"name": "changed"})
        await streaming.passing(streaming.ask("DELETE", f"{SIEM}/{other}"))
        mine = await streaming.make_destination(tenant_id="acme")
        told = await watcher.next_but_heartbeats()
        assert (told.name, told.data["id"]) == ("destination", mine)


async def test_a_key_that_is_revoked_sees_no_more(streaming: Gateway) -> None:
    """The stream ends within a second; connecting again is a 401."""
    made = await streaming.ask(
        "POST", "/v1/audit/keys", json={"tenant_id": "acme", "scopes": ["siem:read"], "name": "x"}
    )
    async with watching(streaming, made.json["key"]) as watcher:
        await watcher.next()
        await streaming.ask("DELETE", f"/v1/audit/keys/{made.json['id']}")
        assert await watcher.ended()


async def test_a_stream_ends_with_the_gateway(streaming: Gateway) -> None:
    """It does not hold up the stop."""
    async with watching(streaming) as watcher:
        await watcher.next()
        streaming.stopping.set()
        assert await watcher.ended()


async def test_streams_are_bounded(streaming: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a tenant and in all; a place that is left is free again."""
    monkeypatch.setattr(live, "STREAMS_PER_TENANT", 1)
    monkeypatch.setattr(live, "STREAMS_MAX", 2)
    acme, other = await streaming.make_key("acme", "siem:read"), await streaming.make_key("other", "siem:read")
    async with watching(streaming, acme):
        refused = await streaming.ask("GET", STREAM, key=acme)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
        async with watching(streaming, other):
            assert (await streaming.ask("GET", STREAM)).status == 503
    while await is_full(streaming, acme):
        streaming.clock.advance(1)


async def test_a_reader_that_takes_nothing_is_cut_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is free again, and it holds neither memory nor the others."""
    monkeypatch.setattr(stream, "SLOW_S", 0.2)
    monkeypatch.setattr(live, "STREAMS_MAX", 1)
    streaming = await start(streams=True)
    destination = await streaming.make_destination(options={"headers": {f"X-{n}": "y" * 4_000 for n in range(30)}})
    reader, writer = await asyncio.open_connection("127.0.0.1", streaming.port, limit=1 << 10)
    writer.write(f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nX-API-Key: {OPERATOR}\r\n\r\n".encode())
    await reader.readline()
    assert await is_full(streaming, OPERATOR)
    async with asyncio.timeout(30):
        number = 0
        while await is_full(streaming, OPERATOR):
            number += 1
            await streaming.ask("PUT", f"{SIEM}/{destination}", json={"name": str(number)})
            streaming.clock.advance(1)
    writer.close()
    assert number > 1


async def test_it_needs_the_right_to_read(gateway: Gateway) -> None:
    """401 without a key, 403 without the scope."""
    assert (await gateway.ask("GET", STREAM, key=None)).status == 401
    key = await gateway.make_key("acme", "events:write")
    assert (await gateway.ask("GET", STREAM, key=key)).status == 403


async def is_full(gateway: Gateway, key: str) -> bool:
    """Whether another stream is refused."""
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as client,
        client.get(STREAM, headers={"X-API-Key": key}) as response,
    ):
        return response.status == 503
