"""Keys that end while a producer goes on using them, on the short way of ingest and on the long one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from gateway.clock import rfc3339
from gateway.errors import StoreUnavailable
from tests.conformance.raw_http import RawAnswer, answers, chunked, request
from tests.events import event
from tests.loopback_gateway import Gateway, stored

ENDS = ("expired", "revoked", "revoked by another gateway")
LIVES_S = 60.0


class Producer:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> RawAnswer:
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        (answer,) = answers(head.replace(b"\r\nContent-Length: ", b"\r\nX-Length: "))
        return answer._replace(body=await self._reader.readexactly(int(answer.headers["x-length"])))


@pytest.fixture
async def producer(gateway: Gateway) -> AsyncIterator[Producer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    yield Producer(reader, writer)
    writer.close()


@pytest.fixture
def submitted(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What took the short way."""
    submit = gateway.queue.submit
    seen: list[Any] = []

    def spy(entries: Sequence[Any], done: Any) -> bool:
        seen.extend(entries)
        return submit(entries, done)

    monkeypatch.setattr(gateway.queue, "submit", spy)
    return seen


async def end(gateway: Gateway, key: str, how: str) -> None:
    """Its time passes, or it is revoked: here, or in the store alone, as the other gateways on it see it."""
    key_id = (await gateway.ask("GET", "/v1/audit/whoami", key=key)).json["id"]
    match how:
        case "expired":
            gateway.clock.advance(1.0)
        case "revoked":
            assert (await gateway.ask("DELETE", f"/v1/audit/keys/{key_id}")).status == 204
        case _:
            await gateway.store.delete_key(key_id)
            await gateway.catalog.refresh()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("way", ["short", "long"])
async def test_a_key_that_ends_is_refused_from_the_next_request_on(
    gateway: Gateway, producer: Producer, submitted: list[Any], way: str, how: str
) -> None:
    """The very bytes that were taken a second before, on the same connection and with a head that is known already,
    are 401; of their events nothing is stored.
    """
    consumer = await gateway.watch()
    key = await gateway.make_key("acme", expires_at=rfc3339(gateway.clock.time_s() + LIVES_S))
    line = event(tenant_id="acme")
    asked = (
        request(key=key.encode(), body=line)
        if way == "short"
        else request(b"Transfer-Encoding: chunked", key=key.encode()) + chunked(line)
    )
    gateway.clock.advance(LIVES_S - 1.0)
    assert [(await producer.send(asked)).status for _ in range(3)] == [202] * 3
    assert len(submitted) == (3 if way == "short" else 0)
    await end(gateway, key, how)
    refused = await producer.send(asked)
    assert (refused.status, b"revoked or has expired" in refused.body) == (401, True)
    assert len(await stored(consumer)) == 3


@pytest.mark.parametrize("how", ENDS)
async def test_a_key_that_ends_is_refused_on_every_connection(gateway: Gateway, producer: Producer, how: str) -> None:
    """On a new one as on those that were there before; other keys go on."""
    key = await gateway.make_key("acme", expires_at=rfc3339(gateway.clock.time_s() + 1.0))
    other = await gateway.make_key("acme")
    asked = [request(key=name.encode(), body=event(tenant_id="acme")) for name in (key, other)]
    assert [(await producer.send(data)).status for data in asked] == [202, 202]
    await end(gateway, key, how)
    assert (await gateway.post(event(tenant_id="acme"), key=key)).status == 401
    assert [(await producer.send(data)).status for data in reversed(asked)] == [202, 401]


async def test_a_store_that_is_away_keeps_no_key_alive(
    gateway: Gateway, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys go on from the last view of the store, until their time is over."""

    async def away() -> None:
        raise StoreUnavailable("the store is away")

    key = await gateway.make_key("acme", expires_at=rfc3339(gateway.clock.time_s() + LIVES_S))
    asked = request(key=key.encode(), body=event(tenant_id="acme"))
    monkeypatch.setattr(gateway.store, "load", away)
    await gateway.catalog.refresh()
    gateway.clock.advance(LIVES_S - 1.0)
    assert (await producer.send(asked)).status == 202
    gateway.clock.advance(1.0)
    assert (await producer.send(asked)).status == 401
