"""What machines ask: alive, ready."""

from __future__ import annotations

import asyncio

from gateway.config import Queue
from gateway.quantity import Bytes
from tests.events import event, events
from tests.loopback_gateway import Gateway
from tests.unit.server.conftest import Start


async def test_alive_and_ready_from_the_start(gateway: Gateway) -> None:
    """200 with a word, with and without a key."""
    for path, word in (("/healthz", "alive"), ("/readyz", "ready")):
        for key in (None, "tl_live_unknown"):
            answer = await gateway.ask("GET", path, key=key)
            assert (answer.status, answer.json) == (200, {"status": word})


async def test_a_failing_disk_is_not_ready_until_it_is_mended(gateway: Gateway) -> None:
    """503 with the reason and without a path; alive all the while; ready again once the disk takes writes."""
    gateway.files.fail("write", "log/", times=1_000)
    gateway.files.fail("create", "log/", times=1_000)
    assert (await gateway.post(event())).status == 503
    answer = await gateway.ask("GET", "/readyz")
    assert (answer.status, "disk" in answer.detail) == (503, True)
    assert str(gateway.data_dir) not in answer.detail
    assert (await gateway.ask("GET", "/healthz")).status == 200
    gateway.files.mend()
    upkeep = asyncio.create_task(gateway.queue.run())
    await gateway.until(lambda: not gateway.queue.status().problem)
    upkeep.cancel()
    await asyncio.wait({upkeep})
    assert (await gateway.ask("GET", "/readyz")).status == 200
    assert (await gateway.post(event())).status == 202


async def test_a_used_up_disk_budget_is_not_ready(start: Start) -> None:
    """503 that names the setting; the reason is the same as in the 429 of ingest."""
    gateway = await start(
        queue=Queue(disk_budget_bytes=Bytes(2 << 20), segment_bytes=Bytes(1 << 20), compression_level=0)
    )
    await gateway.watch()
    for count in (300, 30, 1):
        while (answer := await gateway.post(b"\n".join(events(count)))).status == 202:
            pass
    ready = await gateway.ask("GET", "/readyz")
    assert (answer.status, ready.status, ready.detail) == (429, 503, answer.detail)


async def test_a_gateway_that_stops_is_not_ready_but_alive(gateway: Gateway) -> None:
    """503 from the moment the stop begins, so that nobody sends more."""
    gateway.stopping.set()
    answer = await gateway.ask("GET", "/readyz")
    assert (answer.status, answer.detail) == (503, "the gateway is stopping")
    assert (await gateway.ask("GET", "/healthz")).status == 200
