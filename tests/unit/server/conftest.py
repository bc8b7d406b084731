"""Gateways for the tests of this directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.config import Activity, Delivery, Ingest, Queue, RetryPolicy, Server
from gateway.quantity import Bytes
from tests.loopback_gateway import Gateway

Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a gateway with the settings given. ``streams=True`` runs delivery, too. It emits no events of its own
    unless told, so that what tests count is what they posted.
    """
    async with AsyncExitStack() as resources:

        async def begin(
            *,
            ingest: Ingest | None = None,
            server: Server | None = None,
            queue: Queue | None = None,
            retry: RetryPolicy | None = None,
            activity: Activity | None = None,
            delivery: Delivery | None = None,
            streams: bool = False,
        ) -> Gateway:
            gateway = Gateway(tmp_path / "data")
            await gateway.build(
                resources,
                ingest=ingest or Ingest(),
                server=server or Server(),
                queue=queue or Queue(segment_bytes=Bytes(1 << 20)),
                retry=retry or RetryPolicy(),
                activity=activity or Activity(emit=False),
                delivery=delivery,
            )
            if streams:
                for part in (gateway.supervisor.run(), gateway.queue.run()):
                    resources.push_async_callback(_end, asyncio.create_task(part))
                resources.callback(gateway.let_streams_end)
            return gateway

        yield begin


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    """Takes events and requests; nothing is delivered."""
    return await start()


@pytest.fixture
async def streaming(start: Start) -> Gateway:
    """Delivers too, as time passes."""
    return await start(streams=True)
