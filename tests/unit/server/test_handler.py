"""aiohttp's side of the port: a client that does not read is not waited for without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web

from gateway.server.handler import ApiHandler
from tests.loopback_gateway import Gateway
from tests.unit.server.front.conftest import Transport

LOOK_S = 0.001


class Unread(Transport):
    """Has so many bytes to send at each look; the last number stays."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.looks = 0
        self._sizes: Iterator[int] = iter(sizes)
        self._size = 0

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        self._size = next(self._sizes, self._size)
        return self._size


@pytest.fixture
async def server(gateway: Gateway) -> AsyncIterator[web.Server]:
    runner = web.AppRunner(gateway.app, handle_signals=False)
    await runner.setup()
    assert runner.server is not None
    yield runner.server
    await runner.cleanup()


def made(server: web.Server, transport: Transport) -> ApiHandler:
    handler = ApiHandler(server, lambda: None, keep_alive_s=60, unread_s=LOOK_S)
    handler.connection_made(transport)
    return handler


@pytest.mark.parametrize(("sizes", "looks"), [((10,), 2), ((10, 20), 2), ((0, 0, 30, 20, 10), 6)])
async def test_a_client_that_takes_nothing_is_cut_off(server: web.Server, sizes: tuple[int, ...], looks: int) -> None:
    """However long its connection was of use before; while it takes something it is not."""
    transport = Unread(*sizes)
    handler = made(server, transport)
    await transport.ended.wait()
    assert transport.looks == looks
    handler.connection_lost(None)


async def test_one_that_takes_as_much_as_comes_is_not(server: web.Server) -> None:
    """What waits can be as much as before, and something else."""
    transport = Unread(10)
    handler = made(server, transport)
    while transport.looks < 5:
        looks = transport.looks
        handler.pause_writing()
        handler.resume_writing()
        while transport.looks == looks:
            await asyncio.sleep(LOOK_S / 10)
    assert not transport.ended.is_set()
    handler.connection_lost(None)


async def test_nothing_is_looked_at_behind_the_end(server: web.Server) -> None:
    """Nothing of the connection is kept."""
    transport = Unread(10)
    made(server, transport).connection_lost(None)
    await asyncio.sleep(10 * LOOK_S)
    assert transport.looks == 0
