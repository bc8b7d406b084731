"""What runs against what is wanted, when the catalog changes in the middle of a look."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.config import Activity, Delivery, Queue, RetryPolicy
from gateway.delivery.outage import Memory, remember
from gateway.delivery.supervisor import Supervisor
from gateway.delivery.trail import Trail
from gateway.destinations.catalog import Catalog
from gateway.destinations.store import Filter
from gateway.errors import StoreUnavailable
from gateway.providers import PROVIDERS
from gateway.queue import Consumer, Entry, GapReason, Ledger, Subject, SubjectKind
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.destinations import destination
from tests.events import events
from tests.faulty_files import FaultyFiles
from tests.loopback_gateway import Wire
from tests.provider_cases import ENDPOINTS, settings
from tests.stores import MemoryContents, MemoryStore


class Held:
    """Something that takes until ``go``."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()


class House:
    """A supervisor on a real queue, beside a store that others may write to."""

    def __init__(
        self, queue: WalQueue, files: FaultyFiles, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.queue, self.files, self.clock, self.wire = queue, files, clock, Wire()
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
            finish_deletion=self.catalog.finish_deletion,
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
        self.refused: set[str] = set()  # by the disk, once each
        self._starts: dict[str, Held] = {}
        self._add_consumer = queue.add_consumer
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(queue, "add_consumer", self._add_slowly)

    def run(self) -> None:
        self.running = asyncio.create_task(self.supervisor.run())

    def hold(self, name: str) -> Held:
        """Delivery's way to the consumer."""
        start = self._starts[name] = Held()
        return start

    def hold_drop(self, name: str) -> Held:
        """Giving up what waits for it."""
        consumer, held = self.queue.consumer(name), Held()
        assert consumer is not None
        drop = consumer.drop_pending

        async def slowly(reason: GapReason, detail: str = "") -> int:
            held.begun.set()
            await held.go.wait()
            return await drop(reason, detail)

        self._monkeypatch.setattr(consumer, "drop_pending", slowly)
        return held

    async def _add_slowly(self, name: str, tenant_id: str, *, created_at_s: float | None = None) -> Consumer:
        if name in self.refused:
            self.refused.discard(name)
            raise OSError(errno.EIO, "injected fault")
        if created_at_s is not None and (start := self._starts.get(name)) is not None:  # not the request that makes it
            start.begun.set()
            await start.go.wait()
        return await self._add_consumer(name, tenant_id, created_at_s=created_at_s)

    async def make(self, name: str, **members: Any) -> None:
        """As a request does: the consumer is there when it is answered."""
        made = destination(
            id=name, endpoint=ENDPOINTS["webhook"], created_at_s=self.clock.time_s(), **{"revision": 1} | members
        )
        await self.catalog.create_destination(made)
        await self._add_consumer(name, made.tenant_id)

    def has_failed(self, name: str) -> None:
        """Before this process began: only its consumer knows."""
        consumer = self.queue.consumer(name)
        assert consumer is not None
        consumer.set_memo(remember(Memory(failed_at_s=self.clock.time_s())))

    def fail_checkpoints(self) -> None:
        for operation in ("sync", "create"):
            self.files.fail(operation, "cursors/", times=1_000_000)

    async def change(self, name: str, **members: Any) -> None:
        known = self.catalog.destinations()[name]
        changed = replace(known, revision=known.revision + 1, **members)
        await self.catalog.update_destination(changed, expected_revision=known.revision)
        await self.supervisor.take_up(known)

    async def post(self, count: int) -> None:
        subject = Subject(SubjectKind.TENANT, "t")
        await self.queue.append([Entry(subject, b"\n".join(events(count, tenant_id="t")), count)])

    def ledger(self, name: str) -> Ledger:
        consumer = self.queue.consumer(name)
        assert consumer is not None
        return consumer.ledger()

    async def gap_reasons(self, name: str) -> list[GapReason]:
        consumer = self.queue.consumer(name)
        assert consumer is not None
        return [gap.reason for gap in await consumer.gaps()]

    def is_taken_up(self, name: str) -> bool:
        return self.supervisor.health(name) is not None

    async def until(self, condition: Callable[[], bool]) -> None:
        """While delivery runs, within a minute of its time."""
        running = self.running
        assert running is not None
        await self.clock.run_until(lambda: condition() or running.done(), within_s=60)
        assert not running.done()

    async def settled(self, name: str) -> None:
        await self.until(lambda: self.ledger(name).pending == 0)
        assert self.ledger(name).balanced


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    clock = ManualClock()
    files = await asyncio.to_thread(FaultyFiles, tmp_path / "data")
    queue = await open_queue(files, Queue(), clock=clock, metrics=Metrics())
    house = House(queue, files, clock, monkeypatch)
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
    await house.until(lambda: house.is_taken_up("siem_2"))
    await house.settled("siem_2")
    assert house.ledger("siem_2").delivered == 3


async def test_what_is_gone_while_another_is_taken_up_keeps_its_consumer_until_its_stream_has_ended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another gateway removes one that streams: no worker is left to settle for a consumer that is not there."""
    await house.make("siem_1")
    house.run()
    await house.until(lambda: house.is_taken_up("siem_1"))
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
    await house.until(lambda: streamed != [])
    assert streamed == [False]


@pytest.mark.parametrize(
    ("change", "booked"), [({"enabled": False}, "dropped"), ({"filter": Filter(actions=("login",))}, "filtered")]
)
async def test_a_change_is_in_force_although_the_destination_is_just_being_taken_up(
    house: House, change: dict[str, Any], booked: str
) -> None:
    """Nothing that is accepted after the answer is handled as before it, however busy the look is with others."""
    first, second = house.hold("siem_1"), house.hold("siem_2")
    await house.make("siem_1")
    await house.make("siem_2", tenant_id="other")
    house.run()
    await first.begun.wait()
    await house.change("siem_1", **change)
    await house.post(3)
    first.go.set()
    await second.begun.wait()
    await house.settled("siem_1")
    assert getattr(house.ledger("siem_1"), booked) == 3
    assert house.wire.requests == []


async def test_what_came_while_it_was_disabled_is_a_gap_although_nobody_has_taken_it_up(house: House) -> None:
    """It is booked when the change that enables it is answered, and what comes after that is delivered."""
    start = house.hold("siem_1")
    await house.make("siem_1", enabled=False)
    house.run()
    await start.begun.wait()
    await house.post(3)
    drop = house.hold_drop("siem_1")
    changing = asyncio.create_task(house.change("siem_1", enabled=True))
    await drop.begun.wait()
    start.go.set()
    await house.until(lambda: house.clock.monotonic_s() > 1_010)
    drop.go.set()
    await changing
    assert (house.ledger("siem_1").dropped, house.ledger("siem_1").pending) == (3, 0)
    await house.post(2)
    await house.until(lambda: house.is_taken_up("siem_1"))
    await house.settled("siem_1")
    assert (house.ledger("siem_1").dropped, house.ledger("siem_1").delivered) == (3, 2)


async def test_what_came_while_it_was_failed_is_a_gap_although_nobody_has_taken_it_up(house: House) -> None:
    """It failed before this process began: what came since is not sent when a change starts it again."""
    start = house.hold("siem_1")
    await house.make("siem_1")
    house.has_failed("siem_1")
    house.run()
    await start.begun.wait()
    await house.post(3)
    await house.change("siem_1", resumed_at_s=house.clock.time_s() + 1)
    await house.post(2)
    start.go.set()
    await house.until(lambda: house.is_taken_up("siem_1"))
    await house.settled("siem_1")
    assert (house.ledger("siem_1").dropped, house.ledger("siem_1").delivered) == (3, 2)
    assert await house.gap_reasons("siem_1") == [GapReason.RETRIES_EXHAUSTED]


async def test_what_comes_between_two_changes_is_a_gap_although_nobody_has_taken_it_up(house: House) -> None:
    """Disabled, then enabled while delivery is busy with another: nothing of what came meanwhile is sent."""
    start = house.hold("siem_1")
    await house.make("siem_1")
    await house.make("siem_2", tenant_id="other", enabled=False)
    house.run()
    await start.begun.wait()
    await house.change("siem_1", enabled=False)
    await house.post(3)
    drop = house.hold_drop("siem_2")
    others = asyncio.create_task(house.change("siem_2", enabled=True))
    await drop.begun.wait()
    start.go.set()
    await asyncio.sleep(0)  # the look goes on
    changing = asyncio.create_task(house.change("siem_1", enabled=True))
    await asyncio.sleep(0)  # it is stored
    drop.go.set()
    await asyncio.wait({others, changing})
    await house.settled("siem_1")
    assert house.ledger("siem_1").dropped == 3
    assert house.wire.requests == []


async def test_what_comes_after_a_change_is_delivered_although_the_queue_was_not_there_yet(house: House) -> None:
    """It was lost, and is made good with what the log has: by then the destination is enabled."""
    start = house.hold("siem_1")
    made = destination(id="siem_1", endpoint=ENDPOINTS["webhook"], enabled=False, created_at_s=1.0)
    await house.catalog.create_destination(made)
    house.run()
    await start.begun.wait()
    await house.change("siem_1", enabled=True)
    await house.post(3)
    start.go.set()
    await house.until(lambda: house.is_taken_up("siem_1"))
    await house.settled("siem_1")
    assert house.ledger("siem_1").delivered == 3


async def test_a_stop_while_a_destination_is_taken_up_starts_no_attempt(house: House) -> None:
    """A look that is under way takes up no more once the gateway stops."""
    start = house.hold("siem_1")
    await house.make("siem_1")
    await house.post(1)
    async with asyncio.TaskGroup() as group:
        look = group.create_task(house.supervisor.reconcile(group))
        await start.begun.wait()
        await house.supervisor.stop(grace_s=0)
        start.go.set()
        await look
        assert not house.is_taken_up("siem_1")


async def test_a_destination_that_could_not_be_given_up_goes_on(house: House) -> None:
    """The store is away in the midst of a forced deletion: the next look streams again, to the end of the deletion."""
    await house.make("siem_1")
    house.run()
    await house.until(lambda: house.is_taken_up("siem_1"))
    await house.change("siem_1", deleting=True)
    house.contents.away = True
    with pytest.raises(StoreUnavailable):
        await house.supervisor.drop("siem_1")
    house.contents.away = False
    await house.make("siem_2")
    await house.until(lambda: house.queue.consumer_ids() == ["siem_2"])


async def test_a_destination_that_is_being_given_up_does_not_go_on(house: House) -> None:
    """A look in the midst of a forced deletion leaves it alone: nothing more is sent."""
    await house.make("siem_1")
    house.run()
    await house.until(lambda: house.is_taken_up("siem_1"))
    drop = house.hold_drop("siem_1")
    dropping = asyncio.create_task(house.supervisor.drop("siem_1"))
    await drop.begun.wait()
    await house.make("siem_2", tenant_id="other")
    await house.until(lambda: house.is_taken_up("siem_2"))
    await house.post(2)
    await house.until(lambda: house.clock.monotonic_s() > 1_010)
    drop.go.set()
    assert await dropping == 2
    assert house.wire.requests == []


async def test_a_destination_that_is_being_given_up_is_not_taken_up(house: House) -> None:
    """Delivery has its consumer while what waits is dropped: nothing of it is sent."""
    start = house.hold("siem_1")
    await house.make("siem_1")
    await house.post(2)
    house.run()
    await start.begun.wait()
    drop = house.hold_drop("siem_1")
    dropping = asyncio.create_task(house.supervisor.drop("siem_1"))
    await drop.begun.wait()
    start.go.set()
    await house.make("siem_2", tenant_id="other")
    await house.until(lambda: house.is_taken_up("siem_2"))
    drop.go.set()
    assert await dropping == 2
    assert house.wire.requests == []


@pytest.mark.parametrize("is_forced", [True, False])
async def test_a_destination_that_is_gone_after_a_change_does_not_run(house: House, is_forced: bool) -> None:
    """The change came before delivery had taken it up: nothing of it is sent, and whoever waits learns the end."""
    first, second = house.hold("siem_1"), house.hold("siem_2")
    await house.make("siem_1")
    await house.make("siem_2", tenant_id="other")
    house.run()
    await first.begun.wait()
    await house.post(2)
    await house.change("siem_1", ordered=True)
    flushed = asyncio.create_task(house.supervisor.flushed("siem_1", 300))
    if is_forced:
        await house.change("siem_1", deleting=True)
        await house.supervisor.drop("siem_1")
    else:
        del house.contents.destinations["siem_1"]
        await house.catalog.refresh()
    first.go.set()
    await second.begun.wait()
    await house.until(lambda: house.clock.monotonic_s() > 1_010)
    second.go.set()
    await house.until(lambda: house.queue.consumer_ids() == ["siem_2"])
    assert await flushed
    assert house.wire.requests == []


async def test_a_destination_that_is_gone_while_a_look_waits_for_a_change_of_it_does_not_run(house: House) -> None:
    """It is enabled and then removed by another gateway: nothing of what comes for its queue is sent."""
    first, second = house.hold("siem_1"), house.hold("siem_2")
    await house.make("siem_1", enabled=False)
    await house.make("siem_2", tenant_id="other")
    house.run()
    await first.begun.wait()
    drop = house.hold_drop("siem_1")
    changing = asyncio.create_task(house.change("siem_1", enabled=True))
    await drop.begun.wait()
    first.go.set()
    await house.until(lambda: house.clock.monotonic_s() > 1_010)
    del house.contents.destinations["siem_1"]
    await house.catalog.refresh()
    drop.go.set()
    await changing
    await house.post(2)
    await second.begun.wait()
    await house.until(lambda: house.clock.monotonic_s() > 1_020)
    assert house.wire.requests == []


@pytest.mark.parametrize("is_forced", [True, False])
async def test_whoever_waits_for_a_deletion_learns_that_it_is_gone_before_it_was_taken_up(
    house: House, is_forced: bool
) -> None:
    """At once, whether it was given up here or removed by another gateway."""
    start = house.hold("siem_1")
    await house.make("siem_1", deleting=True)
    house.run()
    await start.begun.wait()
    flushed = asyncio.create_task(house.supervisor.flushed("siem_1", 300))
    await asyncio.sleep(0)  # it waits
    if is_forced:
        await house.supervisor.drop("siem_1")
    else:
        del house.contents.destinations["siem_1"]
        await house.catalog.refresh()
    await house.until(flushed.done)
    assert await flushed


async def test_a_disk_that_refuses_a_queue_ends_nothing(house: House) -> None:
    """The destination waits for a later look; others are taken up as soon as they can be."""
    house.fail_checkpoints()
    await house.catalog.create_destination(destination(id="siem_1", created_at_s=house.clock.time_s()))
    house.run()
    await house.until(lambda: house.files.failed != [])
    house.files.mend()
    await house.make("siem_2")
    await house.until(lambda: house.is_taken_up("siem_1") and house.is_taken_up("siem_2"))


async def test_a_disk_that_does_not_let_a_queue_go_ends_nothing(house: House) -> None:
    """A forced deletion while checkpoints fail: that it is gone is written with a later one, others are served."""
    await house.make("siem_1")
    house.run()
    await house.until(lambda: house.is_taken_up("siem_1"))
    house.fail_checkpoints()
    await house.supervisor.drop("siem_1")
    await house.until(lambda: house.files.failed != [])
    house.files.mend()
    await house.make("siem_2")
    await house.until(lambda: house.is_taken_up("siem_2"))
    assert house.queue.consumer_ids() == ["siem_2"]
    assert await house.supervisor.flushed("siem_1", 300)


async def test_the_queue_keeps_everything_while_the_disk_refuses_one_that_may_need_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged checkpoints count as made good only once each destination has its consumer again."""
    ended: list[list[str]] = []
    monkeypatch.setattr(house.queue, "end_restoration", lambda: ended.append(house.queue.consumer_ids()))
    await house.make("siem_1")
    house.refused.add("siem_2")
    await house.catalog.create_destination(destination(id="siem_2", created_at_s=house.clock.time_s()))
    house.run()
    await house.until(lambda: house.is_taken_up("siem_1") and not house.refused)
    await house.catalog.create_destination(destination(id="siem_3", created_at_s=house.clock.time_s()))
    await house.until(lambda: house.is_taken_up("siem_3"))
    assert {"siem_1", "siem_2"} <= set(ended[0])


async def test_nothing_is_swept_away_by_a_view_that_may_be_old(house: House) -> None:
    """A start without the store knows what a file says, which may be older than the queue's consumers."""
    await house.make("siem_1")
    await house.queue.add_consumer("siem_2", "t")
    await house.post(3)
    house.contents.away = True
    await house.catalog.refresh()
    house.run()
    await house.until(lambda: house.is_taken_up("siem_1"))
    await house.settled("siem_1")
    house.contents.away = False
    made = destination(id="siem_2", endpoint=ENDPOINTS["webhook"], created_at_s=house.clock.time_s())
    house.contents.destinations["siem_2"] = made
    await house.catalog.refresh()
    await house.until(lambda: house.is_taken_up("siem_2"))
    await house.settled("siem_2")
    assert house.ledger("siem_2").delivered == 3


async def test_a_deletion_that_failed_starts_nothing_while_another_is_under_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks again finds the first one's failure without consequences: nothing more is sent."""
    await house.make("siem_1")
    house.run()
    await house.until(lambda: house.is_taken_up("siem_1"))
    remove, held, asked = house.supervisor._remove_destination, Held(), []

    async def failing_first(destination_id: str) -> None:
        asked.append(destination_id)
        if len(asked) == 1:
            raise StoreUnavailable("away")
        held.begun.set()
        await held.go.wait()
        await remove(destination_id)

    monkeypatch.setattr(house.supervisor, "_remove_destination", failing_first)
    first, second = [asyncio.create_task(house.supervisor.drop("siem_1")) for _ in range(2)]
    with pytest.raises(StoreUnavailable):
        await first
    await held.begun.wait()
    await house.make("siem_2", tenant_id="other")  # a look at what runs
    await house.until(lambda: house.is_taken_up("siem_2"))
    await house.post(2)
    held.go.set()
    await second
    assert house.wire.requests == []
