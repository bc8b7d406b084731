"""A worker against random destinations: whatever they did, what waits is on its way again, and arrives in the end.

Every step is drawn from a seed, the queue's threads run inline and time is moved by hand, so a seed always does the
same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from gateway.config import Delivery, Queue, RetryPolicy
from gateway.delivery.attempt import Sender
from gateway.delivery.state import DeliveryState
from gateway.delivery.worker import Worker
from gateway.errors import ConnectFailed, TimedOut
from gateway.providers.codec import (
    AckReport,
    AwaitAck,
    Batch,
    Context,
    Delivered,
    Encoded,
    Limits,
    Misconfigured,
    Outcome,
    Partial,
    Refusal,
    Reply,
    Request,
    Retry,
    Split,
)
from gateway.quantity import Seconds
from gateway.queue import Entry, GapReason, Subject, SubjectKind
from gateway.queue.wal.consumer import WalConsumer
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.destinations import destination
from tests.inline_threads import InlineLoop, inline_threads
from tests.memory_files import MemoryFiles

SEEDS = range(60)
STEPS = 80
EVENTS_MAX, IN_FLIGHT_MAX = 7, 4
LINGER_S, ROUND_TRIP_S, TIMEOUT_S, BACKOFF_MAX_S = 0.02, 0.004, 1.0, 0.2
STRIDES, TICKS_MAX = 5, 500
IDLE_LINGERS_MAX = 3
RECOVERY_LINGERS_MAX = 600
WELL, POISON, DULL = b'"well"', b'"poison"', b'"dull"'
FAULTS = ("hang", "break", "slow", "busy", "throttle", "deny", "part", "cut", "refuse")


_DESTINATION = destination(provider="fake")


def _matches(lines: Sequence[bytes]) -> list[bool]:
    return [DULL not in line for line in lines]


class Siem:
    """Codec and transport of one destination; ``share`` of its requests meet a fault. Poison is always refused."""

    limits = Limits(events_max=EVENTS_MAX, bytes_max=1 << 20)

    def __init__(self, clock: ManualClock, random_: random.Random, *, pieces: int, alone: str) -> None:
        self._clock, self._random, self._pieces, self.alone = clock, random_, pieces, alone
        self.faults: Sequence[str] = FAULTS
        self.share = 0.0
        self.requests = 0

    def encode(self, batch: Batch, context: Context) -> Encoded:
        size = max(1, -(-len(batch) // self._pieces))
        return Encoded(
            tuple(
                Request(
                    "http://siem", (), b"\n".join(batch.lines[at : at + size]), range(at, at + size)[: len(batch) - at]
                )
                for at in range(0, len(batch), size)
            )
        )

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        self.requests += 1
        return Reply(200, {}, (await self._suffer()).encode())

    async def _suffer(self) -> str:
        await self._clock.sleep(ROUND_TRIP_S)
        fault = self._random.choice(self.faults) if self._random.random() < self.share else "well"
        match fault:
            case "hang":
                await self._clock.sleep(TIMEOUT_S)
                raise TimedOut("no answer")
            case "break":
                raise ConnectFailed("gone")
            case "slow":
                await self._clock.sleep(self._random.uniform(0, TIMEOUT_S))
        return fault

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        count = len(request.positions)
        poison = [at for at, line in zip(request.positions, request.body.split(b"\n"), strict=True) if POISON in line]
        match reply.body.decode():
            case "busy":
                return Retry("busy", code="503")
            case "throttle":
                return Retry("slow down", code="429", after_s=self._random.uniform(0, 2), throttled=True)
            case "deny":
                return Misconfigured("who are you", code="401")
            case "part" if count > 1 and not poison:
                return Partial(request.positions[1:], retry=request.positions[:1], reason="busy", code="429")
            case "cut" if count > 1 and not poison:
                return Partial((), retry=request.positions[1:], refused=(Refusal(request.positions[0], "400", "no"),))
            case "refuse":
                return Split("no", code="400", tries=2, alone="degrade")
        if poison:
            return Split("poison", code="422", tries=2, alone="suspect" if self.alone == "suspect" else "refuse")
        return self._taken()

    def _taken(self) -> Outcome:
        return Delivered()


class Confirming(Siem):
    """One that confirms later what it took, or never, and at times restarts and counts from the beginning."""

    ack_poll_s, ack_timeout_s = 0.5, 2.0
    given = 0

    def _taken(self) -> Outcome:
        restarts = self._random.random() < self.share / 4
        self.given = 1 if restarts else self.given + 1
        return AwaitAck(self.given)

    def encode_ack_poll(self, ack_ids: Sequence[int], context: Context) -> Request:
        return Request("http://siem/ack", (), b" ".join(b"%d" % ack_id for ack_id in ack_ids))

    def classify_ack_poll(self, reply: Reply) -> AckReport:
        forgets = self._random.random() < self.share
        return AckReport(frozenset() if forgets else frozenset(range(1, self.given + 1)))


class House:
    """A queue in memory, a worker and its destination."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.posted = self.idle_lingers = 0
        kind = self.random.choice((Siem, Siem, Confirming))
        self.siem = kind(
            self.clock,
            self.random,
            pieces=self.random.choice((1, 1, 3)),
            alone="refuse" if kind is Confirming else self.random.choice(("suspect", "refuse")),
        )

    async def open(self) -> None:
        self.queue = await open_queue(MemoryFiles(), Queue(), clock=self.clock, metrics=self.metrics)
        consumer = await self.queue.add_consumer("siem_1", "t")
        assert isinstance(consumer, WalConsumer)
        self.consumer = consumer
        self.consumer.set_filter(_matches if self.random.random() < 0.5 else None)
        self.state = DeliveryState(consumer, self.clock, attempts_kept=1, retry_window_s=86_400)
        self.worker = self._worker()
        self.running = asyncio.create_task(self.worker.run())

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])
        await self.queue.close()

    # -- what may happen

    async def something(self) -> None:
        match self.random.choices(("post", "change", "pass", "drop", "replay"), (40, 15, 30, 5, 5))[0]:
            case "post":
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.post(self.random.randint(1, 15), (WELL,) * 12 + (DULL,) * 4 + (POISON,)))
                    await self.some_turns(12)
                    self.clock.advance(ROUND_TRIP_S)  # answers may come in the very turn in which events do
            case "change":
                self.consumer.set_filter(_matches if self.random.random() < 0.5 else None)
                self.siem.share = self.random.choice((0.0, 0.2, 0.7, 1.0))
                self.siem.faults = self.random.sample(FAULTS, self.random.randint(1, 3))
            case "pass":
                for _ in range(self.random.randint(1, 15)):
                    await self.linger()
            case "drop":
                await self.consumer.drop_pending(GapReason.DISK_BUDGET)
            case "replay" if self.siem.alone == "refuse":  # a batch of poison alone speaks against the destination
                await self.consumer.replay_dead_letters()
        await self.some_turns(5)

    async def some_turns(self, turns_max: int) -> None:
        for _ in range(self.random.randint(0, turns_max)):
            await asyncio.sleep(0)

    async def post(self, count: int, texts: Sequence[bytes] = (WELL,)) -> None:
        numbers = range(self.posted, self.posted + count)
        self.posted += count
        lines = [b'{"id":"e%d","text":%s}' % (number, self.random.choice(texts)) for number in numbers]
        await self.queue.append([Entry(Subject(SubjectKind.TENANT, "t"), b"\n".join(lines), count)])

    async def linger(self) -> None:
        """Let so much time pass that a worker that may send has sent."""
        requests = self.siem.requests
        for _ in range(STRIDES):
            self.clock.advance(LINGER_S / STRIDES)
            await self.come_to_rest()
        self.idle_lingers = self.idle_lingers + 1 if self._could_send() and self.siem.requests == requests else 0
        assert self.idle_lingers <= IDLE_LINGERS_MAX, "events wait, and the worker sleeps"

    async def come_to_rest(self) -> None:
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # what asyncio would run next
        for _ in range(TICKS_MAX):
            await asyncio.sleep(0)
            if not ready:
                break
        else:
            raise AssertionError("the worker turns round and round")
        if self.running.done():
            self.running.result()

    def _could_send(self) -> bool:
        worker, in_flight = self.worker, self.worker._in_flight
        untaken = self.consumer.pending_events() - self.consumer._cursor.taken
        return bool(untaken) and worker._standing.wait_s(in_flight) == 0.0

    def _worker(self) -> Worker:
        metrics, clock = self.metrics, self.clock
        return Worker(
            _DESTINATION,
            codec=self.siem,
            consumer=self.consumer,
            sender=Sender(
                self.siem,
                self.siem,
                destination_id="siem_1",
                instance="gw",
                clock=clock,
                metrics=metrics,
                timeout_s=TIMEOUT_S,
            ),
            state=self.state,
            retry=RetryPolicy(
                backoff_s=Seconds(0.02),
                backoff_max_s=Seconds(BACKOFF_MAX_S),
                misconfigured_s=Seconds(0.02),
                misconfigured_max_s=Seconds(BACKOFF_MAX_S),
            ),
            delivery=Delivery(in_flight_max=IN_FLIGHT_MAX, linger_s=Seconds(LINGER_S)),
            clock=clock,
            random=self.random.random,
            metrics=metrics,
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_what_waits_is_sent_and_arrives(seed: int) -> None:
    """While a destination fails in every way a worker neither sleeps nor spins when it may send; once it behaves,
    everything ends within a bounded time, and what comes later goes out at once.
    """
    with inline_threads():
        loop = InlineLoop()
        loop.run_until_complete(_live(House(seed)))
        loop.close()


async def _live(house: House) -> None:
    await house.open()
    try:
        await _misbehave_and_recover(house)
    finally:
        await house.close()


async def _misbehave_and_recover(house: House) -> None:
    for _ in range(STEPS):
        await house.something()
    house.siem.share = 0.0
    for number in range(RECOVERY_LINGERS_MAX):
        if number % 50 == 0:
            await house.post(1)  # proves that it is poison which is refused
        await house.linger()
        if not house.consumer.pending_events():
            break
    ledger = house.consumer.ledger()
    assert (ledger.pending, ledger.balanced) == (0, True)
    requests = house.siem.requests
    await house.post(7)
    await house.linger()
    assert house.siem.requests > requests
