"""What runs against what is wanted, when the catalog changes in the middle of a look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.config import Activity, Delivery, Queue, RetryPolicy
from gateway.delivery.supervisor import Supervisor
from gateway.delivery.trail import Trail
from gateway.destinations.catalog import Catalog
from gateway.providers import PROVIDERS
from gateway.queue import Consumer, Entry, Ledger, Subject, SubjectKind
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.destinations import destination
from tests.events import events
from tests.loopback_gateway import Wire
from tests.provider_cases import ENDPOINTS, settings
from tests.stores import MemoryContents, MemoryStore


class Start:
    """Delivery's way to a consumer, which takes until ``go``."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()


class House:
    """A supervisor on a real queue, beside a store that others may write to."""

    def __init__(self, queue: WalQueue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue, self.clock, self.wire = queue, clock, Wire()
        self.contents = MemoryContents()
        store = MemoryStore(self.contents)
        self.catalog = Catalog(store)
        self.supervisor = Supervisor(
            catalog=self.catalog,
            queue=queue,
            providers=PROVIDERS,
            settings_of=lambda _: settings("webhook"),
            make_transport=self.wire.connect,
            remove_destination=self.catalog.delete_destination,
            history=store,
            trail=Trail(store, queue, Activity(emit=False), instance="gw", clock=clock),
            instance="gw",
            retry=RetryPolicy(),
            delivery=Delivery(),
            clock=clock,
            metrics=Metrics(),
            random=lambda: 0.5,
        )
        self.running: asyncio.Task[None] | None = None
        self._starts: dict[str, Start] = {}
        self._add_consumer = queue.add_consumer
        monkeypatch.setattr(queue, "add_consumer", self._add_slowly)

    def run(self) -> None:
        self.running = asyncio.create_task(self.supervisor.run())

    def hold(self, name: str) -> Start:
        start = self._starts[name] = Start()
        return start

    async def _add_slowly(self, name: str, tenant_id: str, *, created_at_s: float | None = None) -> Consumer:
        consumer = await self._add_consumer(name, tenant_id, created_at_s=created_at_s)
        if created_at_s is not None and (start := self._starts.get(name)) is not None:  # not the request that makes it
            start.begun.set()
            await start.go.wait()
        return consumer

    async def make(self, name: str, **members: Any) -> None:
        """As a request does: the consumer is there when it is answered."""
        made = destination(
            id=name, endpoint=ENDPOINTS["webhook"], created_at_s=self.clock.time_s(), **{"revision": 1} | members
        )
        await self.catalog.create_destination(made)
        await self._add_consumer(name, made.tenant_id)

    async def change(self, name: str, **members: Any) -> None:
        known = self.catalog.destinations()[name]
        changed = replace(known, revision=known.revision + 1, **members)
        await self.catalog.update_destination(changed, expected_revision=known.revision)
        await self.supervisor.take_up(name)

    async def post(self, count: int) -> None:
        subject = Subject(SubjectKind.TENANT, "t")
        await self.queue.append([Entry(subject, b"\n".join(events(count, tenant_id="t")), count)])

    def ledger(self, name: str) -> Ledger:
        consumer = self.queue.consumer(name)
        assert consumer is not None
        return consumer.ledger()

    def is_taken_up(self, name: str) -> bool:
        return self.supervisor.health(name) is not None

    async def settled(self, name: str) -> None:
        await self.clock.run_until(lambda: self.ledger(name).pending == 0, within_s=60)
        assert self.ledger(name).balanced


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    clock = ManualClock()
    queue = await open_queue(DiskFiles(tmp_path / "data"), Queue(), clock=clock, metrics=Metrics())
    house = House(queue, clock, monkeypatch)
    yield house
    if house.running is not None:
        house.running.cancel()
        await asyncio.wait({house.running})
    await house.supervisor.close()
    await queue.close()


async def test_what_is_made_while_another_is_taken_up_keeps_its_events(house: House) -> None:
    """The look that was under way does not take its consumer for one that nobody wants."""
    start = house.hold("siem_1")
    await house.make("siem_1")
    house.run()
    await start.begun.wait()
    await house.make("siem_2")
    await house.post(3)
    start.go.set()
    await house.clock.run_until(lambda: house.is_taken_up("siem_2"), within_s=60)
    await house.settled("siem_2")
    assert house.ledger("siem_2").delivered == 3


async def test_what_is_gone_while_another_is_taken_up_keeps_its_consumer_until_its_stream_has_ended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another gateway removes one that streams: no worker is left to settle for a consumer that is not there."""
    await house.make("siem_1")
    house.run()
    await house.clock.run_until(lambda: house.is_taken_up("siem_1"), within_s=60)
    start = house.hold("siem_2")
    await house.make("siem_2")
    await start.begun.wait()
    remove, streamed = house.queue.remove_consumer, []

    async def noting(name: str) -> None:
        streamed.append(house.is_taken_up(name))
        await remove(name)

    monkeypatch.setattr(house.queue, "remove_consumer", noting)
    del house.contents.destinations["siem_1"]
    await house.catalog.refresh()
    start.go.set()
    await house.clock.run_until(lambda: streamed != [], within_s=60)
    assert streamed == [False]
