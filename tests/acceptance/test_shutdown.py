"""Ends and beginnings of the process: asked to stop, asked twice, killed, started twice, started on a socket."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.demo.receivers import Hang, Refuse, Respond, Slow, SplunkReceiver, WebhookReceiver, all_kinds, always
from tests.acceptance.api import WAIT_S_MAX, Api
from tests.acceptance.audit_events import by_id, event, events
from tests.acceptance.gateway_process import GatewayProcess, StartGateway


class Producer:
    """Posts one body after another until the gateway takes no more; keeps what was acknowledged and what was not."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.unanswered: dict[str, bytes] = {}
        self.enough = asyncio.Event()

    async def run(self, api: Api) -> None:
        while True:
            lines = events(7)
            try:
                answer = await api.post_lines(lines)
            except (aiohttp.ClientError, OSError):
                self.unanswered |= by_id(lines)
                return
            if answer.status != 202:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) > 0
                return
            self.acknowledged |= by_id(lines)
            if len(self.acknowledged) > 700:
                self.enough.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_under_load_loses_nothing(gateway: GatewayProcess, number: signal.Signals) -> None:
    """Asked to stop while events pour in, it exits with 0; whatever it had acknowledged arrives after the next start,
    and nothing arrives twice.
    """
    producer = Producer()
    async with all_kinds() as receivers:
        created = {await gateway.api.create(receiver): receiver for receiver in receivers.values()}
        for receiver in receivers.values():
            receiver.script = always(Slow(0.01))
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(producer.run(gateway.api))
            await producer.enough.wait()
            gateway.send(number)
        assert await gateway.wait() == 0
        await gateway.start()
        for destination, receiver in created.items():
            books = await gateway.api.until_settled(destination)
            assert books["delivered"] == books["accepted"] >= len(producer.acknowledged)
            assert producer.acknowledged.items() <= receiver.events.items()
            assert receiver.events.items() <= (producer.acknowledged | producer.unanswered).items()
            assert receiver.duplicates == {}


async def test_a_destination_that_hangs_does_not_keep_it(start_gateway: StartGateway) -> None:
    """What is in flight when the grace is over is given up, and sent again after the next start."""
    gateway = await start_gateway(shutdown_grace="200ms")
    async with SplunkReceiver(script=[Hang()]) as receiver:
        await gateway.api.create(receiver)
        lines = events(10)
        await gateway.api.accept(lines)
        await until_sent(receiver)
        assert await gateway.terminate() == 0
        await gateway.start()
        await receiver.wait_for(10)
        assert receiver.events == by_id(lines)


async def test_a_second_signal_ends_it_at_once(start_gateway: StartGateway) -> None:
    """It does not wait for the grace any more, and what was acknowledged arrives after the next start."""
    gateway = await start_gateway(shutdown_grace="1h")
    async with SplunkReceiver(script=[Hang()]) as receiver:
        await gateway.api.create(receiver)
        lines = events(10)
        await gateway.api.accept(lines)
        await until_sent(receiver)
        gateway.send(signal.SIGTERM)
        await until_logged(gateway, "gateway.stopping")
        gateway.send(signal.SIGTERM)
        assert await gateway.wait() == 1
        gateway.settings |= {"shutdown_grace": "5s"}
        await gateway.start()
        await receiver.wait_for(10)
        assert receiver.events == by_id(lines)


async def test_a_request_under_way_is_answered(gateway: GatewayProcess) -> None:
    """A body that is still coming when the stop is asked for gets an answer, and the answer is true."""
    async with WebhookReceiver(format="ndjson") as receiver:
        destination = await gateway.api.create(receiver)
        lines = events(50)
        begun, stopping = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"\n".join(lines[:25]) + b"\n"
            begun.set()
            await stopping.wait()
            yield b"\n".join(lines[25:])

        posting = asyncio.ensure_future(gateway.api.stream("/v1/audit/events", body()))
        await begun.wait()
        await gateway.api.expect(200, "GET", "/readyz")  # one that was sent later is answered, so this one is known
        gateway.send(signal.SIGTERM)
        await until_logged(gateway, "gateway.stopping")
        stopping.set()
        answer = await posting
        assert answer.status in (202, 503)
        assert (answer.status == 503) == ("Retry-After" in answer.headers)
        assert await gateway.wait() == 0
        await gateway.start()
        await gateway.api.until_settled(destination)
        assert receiver.events == (by_id(lines) if answer.status == 202 else {})


async def test_a_long_upload_is_told_how_far_it_came(start_gateway: StartGateway) -> None:
    """What of it was durable at the stop stays and arrives; from which line on it has to be sent again is said."""
    gateway = await start_gateway(ingest_piece="64KiB")
    async with WebhookReceiver(format="ndjson") as receiver:
        destination = await gateway.api.create(receiver)
        lines = events(600)
        stopping = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"\n".join(lines[:500]) + b"\n"
            await stopping.wait()
            yield b"\n".join(lines[500:])

        posting = asyncio.ensure_future(gateway.api.stream("/v1/audit/events", body()))
        await receiver.wait_for(1)
        gateway.send(signal.SIGTERM)
        await until_logged(gateway, "gateway.stopping")
        stopping.set()
        answer = await posting
        told = answer.json()
        assert answer.status == 207
        assert 0 < told["accepted"] <= 500
        (error,) = told["errors"]
        assert error["line"] == told["accepted"] + 1
        assert await gateway.wait() == 0
        await gateway.start()
        await gateway.api.until_settled(destination)
        assert receiver.events == by_id(lines[: told["accepted"]])


async def test_a_kill_keeps_the_books(start_gateway: StartGateway) -> None:
    """After kill -9 and a start the ledger, the dead letters and the gaps are what they were."""
    gateway = await start_gateway(queue_checkpoint="20ms")
    refuses_poison = always(Refuse(lambda item: b"evt_bad" in item))
    async with SplunkReceiver(script=refuses_poison) as receiver:
        destination = await gateway.api.create(receiver, tenant_id="tenant-a", filter={"exclude_actions": ["login.*"]})
        clock = await gateway.api.create(receiver, endpoint="http://127.0.0.1:9", tenant_id="tenant-clock")
        await gateway.api.accept([*events(20), event(name="evt_bad"), *events(4, action="login.failure")])
        await gateway.api.until_settled(destination)
        await gateway.api.change(destination, enabled=False)
        await gateway.api.accept(events(6))
        before = await books_of(gateway, destination)
        await gateway.api.accept(events(1, tenant_id="tenant-clock"))
        await gateway.api.until(clock, lambda shown: shown["health"]["lag_seconds"] > 0.5)  # a checkpoint, and more
        await gateway.kill()
        await gateway.start()
        await gateway.api.until_settled(destination)
        assert await books_of(gateway, destination) == before
        assert before["ledger"] == {
            "accepted": 31,
            "delivered": 20,
            "dead_lettered": 1,
            "dropped": 6,
            "filtered": 4,
            "pending": 0,
            "balanced": True,
        }


async def test_one_directory_has_one_gateway(gateway: GatewayProcess) -> None:
    """A second process on the same data directory does not start, says why in one line, and harms nothing."""
    second = GatewayProcess(gateway.data_dir.parent / "second", data_dir=str(gateway.data_dir))
    await second.launch()
    assert await second.wait() == 2
    (line,) = second.log.splitlines()
    assert line.startswith("gateway: ")
    assert str(gateway.data_dir) in line
    async with SplunkReceiver() as receiver:
        await gateway.api.create(receiver)
        await gateway.api.accept(events(3))
        await receiver.wait_for(3)


async def test_a_port_in_use_is_said_so(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The address and the remedy in one line, exit code 2."""
    address = gateway.address.removeprefix("http://")
    second = GatewayProcess(tmp_path / "elsewhere", listen=address)
    await second.launch()
    assert await second.wait() == 2
    (line,) = [line for line in second.log.splitlines() if line.startswith("gateway: ")]
    assert address in line
    assert "--listen" in line


async def test_a_data_directory_that_is_none(tmp_path: Path) -> None:
    """A file in its place stops the start with one line that names it."""
    (tmp_path / "data").write_text("a file")
    gateway = GatewayProcess(tmp_path / "data")
    await gateway.launch()
    assert await gateway.wait() == 2
    (line,) = gateway.log.splitlines()
    assert line.startswith("gateway: ")
    assert str(tmp_path / "data") in line


async def test_it_listens_on_a_socket_file(start_gateway: StartGateway, tmp_path: Path) -> None:
    """On unix:PATH everything works as over TCP, and a socket that a killed process left behind is no obstacle."""
    path = tmp_path / "s"
    gateway = await start_gateway(listen=f"unix:{path}")
    async with SplunkReceiver() as receiver:
        await gateway.api.create(receiver)
        lines = events(5)
        await gateway.api.accept(lines)
        await receiver.wait_for(5)
        await gateway.kill()
        assert path.is_socket()
        await gateway.start()
        more = events(5)
        await gateway.api.accept(more)
        await receiver.wait_for(10)
        assert receiver.events == by_id(lines + more)
    assert await gateway.terminate() == 0
    with socket.socket(socket.AF_UNIX) as client, pytest.raises((FileNotFoundError, ConnectionRefusedError)):
        client.connect(str(path))


async def test_what_waits_outlives_many_ends(gateway: GatewayProcess) -> None:
    """Events for a dead destination stay, in their order, over polite and impolite ends, and all arrive at last."""
    async with WebhookReceiver(script=always(Respond(503)), format="array") as receiver:
        destination = await gateway.api.create(receiver, ordered=True)
        lines: list[bytes] = []
        for number in range(4):
            batch = events(50)
            lines += batch
            await gateway.api.accept(batch)
            await (gateway.kill() if number % 2 else gateway.terminate())
            await gateway.start()
        assert (await gateway.api.ledger(destination))["pending"] == 200
        receiver.script = None
        assert (await gateway.api.until_settled(destination))["delivered"] == 200
        assert list(receiver.events.items()) == list(by_id(lines).items())


async def books_of(gateway: GatewayProcess, destination: str) -> dict[str, object]:
    return {
        "ledger": await gateway.api.ledger(destination),
        "gaps": await gateway.api.listed(destination, "gaps"),
        "dead letters": await gateway.api.listed(destination, "dead-letters"),
    }


async def until_sent(receiver: SplunkReceiver) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not receiver.sends:
            await asyncio.sleep(0.01)


async def until_logged(gateway: GatewayProcess, name: str) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while name not in gateway.log:
            await asyncio.sleep(0.01)
