"""Connections without a network, fed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from aiohttp import web

from gateway.server.call import PARTS
from gateway.server.front.connection import Connection
from gateway.server.front.front import Front
from gateway.server.handler import ApiHandler
from tests.conformance.raw_http import RawAnswer, answers
from tests.loopback_gateway import Gateway


class Transport(asyncio.Transport):
    """What a connection writes, without a network. It never gets to be full."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reads = True
        self.ended = asyncio.Event()
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended.is_set()
        self.written += bytes(data)

    def writelines(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(parts))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.ended.is_set()

    def write_eof(self) -> None:
        self.ended.set()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.ended.set()

    def abort(self) -> None:
        self.ended.set()


class Wire:
    """Connections to one gateway, fed by hand."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def send(self, parts: list[bytes], *, end: bool) -> list[RawAnswer]:
        """What is answered until the connection ends. Nothing is sent while it does not read."""
        transport = Transport()
        transport.protocol = connection = Connection(self._front)
        connection.connection_made(transport)
        async with asyncio.timeout(20):
            for part in parts:
                while not transport.reads and not transport.ended.is_set():
                    await asyncio.sleep(0)
                if transport.ended.is_set():
                    break
                assert isinstance(transport.protocol, asyncio.Protocol | ApiHandler)
                transport.protocol.data_received(part)
                await asyncio.sleep(0)
            if end and not transport.ended.is_set():
                assert isinstance(transport.protocol, asyncio.Protocol | ApiHandler)
                if not transport.protocol.eof_received():
                    transport.close()
            await transport.ended.wait()
        assert isinstance(transport.protocol, asyncio.Protocol | ApiHandler)
        transport.protocol.connection_lost(None)
        return list(answers(transport.written))


@pytest.fixture
async def wire(gateway: Gateway) -> AsyncIterator[Wire]:
    runner = web.AppRunner(gateway.app, handle_signals=False)
    await runner.setup()
    server = runner.server
    assert server is not None
    front = Front(
        gateway.app[PARTS], lambda on_lost: ApiHandler(server, on_lost, keep_alive_s=5, unread_s=5), connections_max=100
    )
    yield Wire(front)
    assert front.held_bytes == 0
    await front.stop()
    await runner.cleanup()
