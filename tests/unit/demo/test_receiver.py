"""The HTTP around the receivers, and their faults on the wire."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Literal

import aiohttp
import pytest

from gateway.demo.receivers import (
    KINDS,
    NORMAL,
    Fault,
    Hang,
    HugeReply,
    Refuse,
    Reset,
    Respond,
    Slow,
    SplunkReceiver,
    WebhookReceiver,
    all_kinds,
    always,
    in_turn,
    redirect,
)
from gateway.demo.receivers.splunk import TOKEN
from tests.certificates import Certificate
from tests.unit.demo.samples import event

HEADERS = {"Authorization": f"Splunk {TOKEN}"}
LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as opened:
        yield opened


async def post(
    session: aiohttp.ClientSession, receiver: SplunkReceiver, number: int, *, large: bool = False
) -> tuple[int, bytes]:
    item = event(number, text="x" * 200_000) if large else event(number)
    async with session.post(receiver.endpoint, data=b'{"event":%b}' % item, headers=HEADERS) as response:
        return response.status, await response.read()


def test_every_provider_has_a_kind() -> None:
    """The receivers are as many as the providers, under their names."""
    assert list(KINDS) == ["splunk", "datadog", "cloudwatch", "elastic", "webhook"]


async def test_all_kinds_listen_on_ports_of_their_own() -> None:
    """All five run at once, and their ports are closed afterwards."""
    async with all_kinds() as receivers:
        ports = {receiver.url for receiver in receivers.values()}
        assert len(ports) == 5
        for receiver in receivers.values():
            assert receiver.endpoint.startswith(receiver.url)
            assert receiver.credentials
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session, session.get(receivers["splunk"].url):
            pass


async def test_logs_requests_and_waits_for_events(session: aiohttp.ClientSession) -> None:
    """The log has what came and what was answered; ``wait_for`` returns once enough different ids are there."""
    async with SplunkReceiver(keep_bodies=True) as receiver:
        waiting = asyncio.ensure_future(receiver.wait_for(2))
        await post(session, receiver, 1)
        await post(session, receiver, 1)
        assert not waiting.done()
        await post(session, receiver, 2)
        await waiting
        arrival = receiver.requests[-1]
        assert (arrival.method, arrival.path, arrival.status) == ("POST", "/services/collector", 200)
        assert arrival.headers["authorization"] == HEADERS["Authorization"]
        assert arrival.body == b'{"event":%b}' % event(2)
        assert arrival.size_bytes == len(arrival.body)
        with pytest.raises(TimeoutError, match="2 of 3 events"):
            await receiver.wait_for(3, timeout_s=0.01)


async def test_comes_back_on_the_same_port(session: aiohttp.ClientSession) -> None:
    """A receiver that is stopped and started again keeps its address and what it has stored."""
    receiver = SplunkReceiver()
    async with receiver:
        await post(session, receiver, 1)
        before = receiver.url
    async with receiver:
        assert receiver.url == before
        await post(session, receiver, 2)
    assert list(receiver.events) == ["evt_0001", "evt_0002"]
    assert receiver.requests[0].body is None


async def test_answers_as_the_script_says(session: aiohttp.ClientSession) -> None:
    """Faults come in turn, then everything is normal again."""
    faults: list[Fault] = [
        Respond(503, b"busy", {"Retry-After": "7"}),
        Respond(200, b'{"code":24}', stores=True),
        NORMAL,
        Refuse(lambda item: b"evt_0003" in item),
        redirect("http://127.0.0.1:1/"),
        HugeReply(2_000_000),
    ]
    async with SplunkReceiver(script=faults) as receiver:
        assert await post(session, receiver, 0) == (503, b"busy")
        assert await post(session, receiver, 1) == (200, b'{"code":24}')
        assert (await post(session, receiver, 2))[0] == 200
        assert (await post(session, receiver, 3))[0] == 400
        async with session.post(receiver.endpoint, data=b"{}", headers=HEADERS, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, "http://127.0.0.1:1/")
        assert len((await post(session, receiver, 5))[1]) == 2_000_000
        assert (await post(session, receiver, 6))[0] == 200
        assert list(receiver.events) == ["evt_0001", "evt_0002", "evt_0005", "evt_0006"]


async def test_other_requests_do_not_use_up_the_script(session: aiohttp.ClientSession) -> None:
    """The script is asked for requests that carry events, which it numbers, and for no others."""
    asked = []

    def script(number: int) -> Fault:
        asked.append(number)
        return NORMAL

    async with SplunkReceiver() as receiver:
        receiver.script = script
        async with session.get(f"{receiver.endpoint}/health") as response:
            assert response.status == 200
        await post(session, receiver, 1)
        await post(session, receiver, 2)
    assert asked == [0, 1]


@pytest.mark.parametrize(("at", "stored"), [("request", 0), ("body", 0), ("stored", 1), ("reply", 1)])
async def test_breaks_connections(
    session: aiohttp.ClientSession, at: Literal["request", "body", "stored", "reply"], stored: int
) -> None:
    """Each place of the break is seen as a lost connection; only the later two have taken the event."""
    async with SplunkReceiver(script=[Reset(at)]) as receiver:
        with pytest.raises(LOST):
            await post(session, receiver, 1, large=True)
        assert len(receiver.events) == stored
        assert receiver.requests[0].status == (200 if at == "reply" else None)
        assert (await post(session, receiver, 2))[0] == 200


async def test_hangs_until_it_is_stopped(session: aiohttp.ClientSession) -> None:
    """A hanging request is not answered and stores nothing; stopping breaks it."""
    receiver = SplunkReceiver(script=always(Hang()))
    await receiver.start()
    waiting = asyncio.ensure_future(post(session, receiver, 1))
    while receiver.sends == 0:
        await asyncio.sleep(0)
    assert not waiting.done()
    await receiver.stop()
    with pytest.raises(LOST):
        await waiting
    assert receiver.events == {}


async def test_waits_before_it_answers(session: aiohttp.ClientSession) -> None:
    """A slow answer comes when its event is set."""
    go = asyncio.Event()
    async with WebhookReceiver(script=in_turn([Slow(until=go)])) as receiver:
        waiting = asyncio.ensure_future(session.post(receiver.endpoint, data=b"{}"))
        while receiver.sends == 0:
            await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
        async with await waiting as response:
            assert response.status == 401


async def test_speaks_tls_when_asked(session: aiohttp.ClientSession, certificate: Certificate) -> None:
    """With a certificate it is an https server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain_file)
    async with SplunkReceiver(tls=context) as receiver:
        assert receiver.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=certificate.ca_file)
        async with session.get(f"{receiver.endpoint}/health", ssl=trusting) as response:
            assert response.status == 200
