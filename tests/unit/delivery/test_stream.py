"""One destination from queue to provider: the stream, its worker and its state, with time moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import structlog

from gateway.config import Delivery, Queue, RetryPolicy
from gateway.delivery.acks import AckBook
from gateway.delivery.attempt import Sender
from gateway.delivery.health import BreakerState, Status
from gateway.delivery.state import DeliveryState
from gateway.delivery.stream import Stream
from gateway.delivery.worker import Worker
from gateway.destinations.filter import compile_filter
from gateway.destinations.store import Destination, Filter
from gateway.errors import ConnectFailed, CredentialsSealed, EgressBlocked, TimedOut, TransportError
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
from gateway.queue import Consumer, Entry, GapReason, Subject, SubjectKind
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.destinations import destination

Decide = Callable[[list[bytes]], Outcome | TransportError]


class Provider:
    """A codec and a transport in one: ``decide`` is the server, and remembers what it has taken."""

    def __init__(self, decide: Decide, *, events_max: int = 10) -> None:
        self.decide = decide
        self.limits = Limits(events_max=events_max, bytes_max=1 << 20)
        self.requests: list[list[bytes]] = []
        self.hold: asyncio.Event | None = None

    def encode(self, batch: Batch, context: Context) -> Encoded:
        return Encoded((Request("http://siem", (), batch.payload, range(len(batch))),))

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        outcome = self.decide(request.body.split(b"\n"))
        assert not isinstance(outcome, TransportError)
        return outcome

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        if request.url.endswith("/ack"):
            return Reply(200, {}, b"")
        self.requests.append(request.body.split(b"\n"))
        if self.hold is not None:
            await self.hold.wait()
        if self.failing is not None:
            raise self.failing
        return Reply(200, {}, b"")

    failing: TransportError | None = None


class OneByOne(Provider):
    """Puts each event into a request of its own."""

    def encode(self, batch: Batch, context: Context) -> Encoded:
        lines = enumerate(batch.lines)
        return Encoded(tuple(Request("http://siem", (), line, range(at, at + 1)) for at, line in lines))


class AcknowledgingProvider(Provider):
    """One that confirms later: ``confirmed`` are the ids that it admits to when it is asked."""

    ack_poll_s = 10.0
    ack_timeout_s = 300.0

    def __init__(self, decide: Decide) -> None:
        super().__init__(decide)
        self.confirmed: set[int] = set()

    def encode_ack_poll(self, ack_ids: Sequence[int], context: Context) -> Request:
        return Request("http://siem/ack", (), b"")

    def classify_ack_poll(self, reply: Reply) -> AckReport:
        return AckReport(frozenset(self.confirmed))


DESTINATION = destination(provider="fake")


class House:
    """A queue, a consumer and a stream around one provider."""

    def __init__(self, queue: WalQueue, clock: ManualClock, consumer: Consumer) -> None:
        self.queue, self.clock, self.consumer = queue, clock, consumer
        self.state = DeliveryState(consumer, clock, attempts_kept=100, retry_window_s=86_400)
        self.flushed: list[str] = []
        self.held_elsewhere = 0  # how often another gateway still holds something of what is flushed here
        self.next_id = 0
        self.sealed: CredentialsSealed | None = None
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, provider: Provider, destination: Destination = DESTINATION) -> Stream:
        self.provider = provider

        def make_worker(destination: Destination, consumer: Consumer, state: DeliveryState) -> Worker:
            if self.sealed is not None:
                raise self.sealed
            provider = self.provider
            sender = Sender(
                provider,
                provider,
                destination_id="siem_1",
                instance="gw",
                clock=self.clock,
                metrics=Metrics(),
                timeout_s=60,
            )
            return Worker(
                destination,
                codec=provider,
                consumer=consumer,
                sender=sender,
                state=state,
                retry=RetryPolicy(),
                delivery=Delivery(),
                clock=self.clock,
                random=lambda: 0.5,
                metrics=Metrics(),
            )

        async def on_flushed(destination_id: str) -> bool:
            self.flushed.append(destination_id)
            return len(self.flushed) > self.held_elsewhere

        stream = Stream(
            destination,
            consumer=self.consumer,
            state=self.state,
            make_worker=make_worker,
            make_matcher=compile_filter,
            on_flushed=on_flushed,
            clock=self.clock,
        )
        self.tasks.append(asyncio.create_task(stream.run()))
        return stream

    async def post(self, count: int) -> list[bytes]:
        lines = [b'{"id":"e%d"}' % n for n in range(self.next_id, self.next_id + count)]
        self.next_id += count
        await self.queue.append([Entry(Subject(SubjectKind.TENANT, "t"), b"\n".join(lines), count)])
        return lines

    async def drained(self, within_s: float = 1e6) -> None:
        await self.clock.run_until(lambda: self.consumer.ledger().pending == 0, within_s=within_s)
        assert self.consumer.ledger().balanced


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = ManualClock()
    queue = await open_queue(DiskFiles(tmp_path / "data"), Queue(), clock=clock, metrics=Metrics())
    house = House(queue, clock, await queue.add_consumer("siem_1", "t"))
    yield house
    for task in house.tasks:
        task.cancel()
    if house.tasks:
        await asyncio.wait(house.tasks)
    await queue.close()


def taken_by(provider: Provider) -> list[bytes]:
    return [line for request in provider.requests for line in request]


async def test_events_arrive_and_the_destination_is_active(house: House) -> None:
    """What is posted is sent in order and settled as delivered."""
    provider = Provider(lambda lines: Delivered())
    house.start(provider)
    lines = await house.post(25)
    await house.drained()
    assert taken_by(provider) == lines
    assert house.state.status is Status.ACTIVE
    assert house.consumer.ledger().delivered == 25


async def test_an_outage_degrades_and_a_success_ends_it(house: House) -> None:
    """While every attempt fails events are kept and retried; the first success makes the destination active."""
    failures = 5

    def decide(lines: list[bytes]) -> Outcome:
        return Retry("busy", code="503") if len(provider.requests) <= failures else Delivered()

    provider = Provider(decide)
    house.start(provider)
    await house.post(5)
    await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
    assert house.state.last_error is not None
    assert house.state.last_error.code == "503"
    assert house.state.next_attempt_at_s is not None
    await house.drained(within_s=120)
    assert house.state.status is Status.ACTIVE
    assert house.consumer.ledger().delivered == 5
    assert house.state.consecutive_failures == 0


@pytest.mark.parametrize("kind", [Retry, Misconfigured])
async def test_a_providers_words_are_kept_for_the_tenant_and_not_logged(
    house: House, kind: type[Retry | Misconfigured]
) -> None:
    """A provider may quote the events that it got: the log has the code alone, and no name that is more than a word."""
    for code, logged in (("hec_4", "hec_4"), ("user 12345", "other")):
        with structlog.testing.capture_logs() as logs:
            house.start(Provider(lambda lines, code=code: kind(f"refused {lines[0]!r}", code=code)))  # type: ignore[misc]
            await house.post(1)
            await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
        assert house.state.last_error is not None
        assert '"id"' in house.state.last_error.message
        told = [line["code"] for line in logs if line["event"] in {"destination.degraded", "delivery.attempted"}]
        assert set(told) == {logged}
        assert '"id"' not in repr(logs)
        house.tasks.pop().cancel()
        house.state.resume()


async def test_the_window_runs_out_and_what_comes_goes_into_the_gap_until_a_change(house: House) -> None:
    """After 24 hours of failure the destination is failed, its events a gap, and a PUT starts it again."""
    provider = Provider(lambda lines: Retry("down", code="connection"))
    stream = house.start(provider)
    await house.post(3)
    await house.clock.run_until(lambda: house.state.status is Status.FAILED, within_s=86_500)
    assert house.clock.time_s() - 1_782_822_900.0 >= 86_400
    await house.drained()
    await house.post(4)
    await house.drained(within_s=10)
    (gap,) = await house.consumer.gaps()
    assert (gap.reason, gap.count, gap.first_id, gap.last_id) == (GapReason.RETRIES_EXHAUSTED, 7, "e0", "e6")
    provider.decide = lambda lines: Delivered()
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2, resumed_at_s=house.clock.time_s()))
    lines = await house.post(2)
    await house.drained(within_s=10)
    assert provider.requests[-1] == lines
    assert house.state.status is Status.ACTIVE
    assert house.consumer.ledger().delivered == 2


async def test_the_outage_clock_survives_a_restart(house: House) -> None:
    """A process that starts in the midst of an outage does not begin its 24 hours anew."""
    provider = Provider(lambda lines: Retry("down"))
    house.start(provider)
    await house.post(1)
    await house.clock.run_until(lambda: house.state.outage_s() > 80_000)
    house.state.save()
    house.tasks.pop().cancel()
    again = DeliveryState(house.consumer, house.clock, attempts_kept=1, retry_window_s=86_400)
    assert again.status is Status.DEGRADED
    assert again.outage_s() > 80_000
    assert again.retrying_since_s == house.state.retrying_since_s


async def test_retry_after_is_honoured(house: House) -> None:
    """A throttled destination is not asked again before the provider's time."""
    provider = Provider(
        lambda lines: Retry("slow down", after_s=90, throttled=True) if len(provider.requests) == 1 else Delivered()
    )
    house.start(provider)
    began_s = house.clock.monotonic_s()
    await house.post(1)
    await house.drained()
    assert house.clock.monotonic_s() - began_s >= 90


async def test_retry_after_is_honoured_though_a_request_beside_it_failed_first(house: House) -> None:
    """Requests that fail together are one failure, and the longest of their waits is kept."""

    class TwoAtOnce(Provider):
        async def send(self, request: Request, *, timeout_s: float) -> Reply:
            reply = await super().send(request, timeout_s=timeout_s)
            await house.clock.sleep(0.1 * len(self.requests))
            return reply

        def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
            if len(self.requests) > 2:
                return Delivered()
            throttled = b'"e10"' in request.body
            return Retry("slow down", after_s=120, throttled=True) if throttled else Retry("busy", code="503")

    provider = TwoAtOnce(lambda lines: Delivered())
    house.start(provider)
    await house.post(20)
    await house.clock.run_until(lambda: len(provider.requests) == 2, within_s=1)
    began_s = house.clock.monotonic_s()
    await house.clock.run_until(lambda: house.state.consecutive_failures == 2, within_s=1)
    assert house.state.next_attempt_at_s is not None
    assert house.state.next_attempt_at_s == pytest.approx(house.clock.time_s() + 120)
    await house.drained(within_s=200)
    assert house.clock.monotonic_s() - began_s >= 120


async def test_retry_after_is_honoured_though_a_request_beside_it_succeeds_later(house: House) -> None:
    """What was sent before the provider asked for time says nothing against it."""

    class TwoAtOnce(Provider):
        async def send(self, request: Request, *, timeout_s: float) -> Reply:
            reply = await super().send(request, timeout_s=timeout_s)
            if len(self.requests) <= 2:
                await house.clock.sleep(0.2 if b'"e0"' in request.body else 0.1)
            return reply

        def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
            throttled = len(self.requests) == 2 and b'"e10"' in request.body
            return Retry("slow down", after_s=120, throttled=True) if throttled else Delivered()

    provider = TwoAtOnce(lambda lines: Delivered())
    house.start(provider)
    await house.post(20)
    began_s = house.clock.monotonic_s()
    await house.clock.run_until(lambda: house.consumer.ledger().delivered == 10, within_s=1)
    assert house.state.status is Status.ACTIVE
    assert house.state.breaker is BreakerState.OPEN
    assert house.state.next_attempt_at_s == pytest.approx(house.clock.time_s() + 120, abs=1)
    await house.drained(within_s=200)
    assert house.clock.monotonic_s() - began_s >= 120
    assert len(provider.requests) == 3


async def test_poison_is_isolated_and_dead_lettered_alone(house: House) -> None:
    """One refused event of a batch ends as a dead letter with the provider's words; all others are delivered."""
    provider = Provider(lambda lines: Split("cannot parse", code="400") if b'{"id":"e7"}' in lines else Delivered())
    house.start(provider)
    await house.post(10)
    await house.drained()
    (letter,) = await house.consumer.dead_letters()
    assert (letter.event_id, letter.code, letter.reason) == ("e7", "400", "cannot parse")
    assert house.consumer.ledger().delivered == 9
    assert house.state.status is Status.ACTIVE


async def test_a_request_that_is_wrong_as_a_whole_dead_letters_nothing(house: House) -> None:
    """When every part of a batch is refused and the codec says degrade, all events are kept."""
    provider = Provider(lambda lines: Split("unknown parameter", code="400", alone="degrade"))
    house.start(provider)
    await house.post(10)
    await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
    assert house.consumer.dead_letter_count() == 0
    assert house.consumer.ledger().pending == 10


async def test_a_suspect_is_dead_lettered_when_others_are_taken(house: House) -> None:
    """A webhook that refuses one event again and again but takes the others has a poison event."""
    provider = Provider(
        lambda lines: Split("no", code="422", tries=3, alone="suspect") if b'{"id":"e2"}' in lines else Delivered(),
        events_max=1,
    )
    house.start(provider)
    await house.post(6)
    await house.drained()
    (letter,) = await house.consumer.dead_letters()
    assert letter.event_id == "e2"
    assert house.consumer.ledger().delivered == 5


async def test_the_very_first_event_can_be_the_poison(house: House) -> None:
    """A refused event with no other success before it is held back so that the next one can prove the destination
    works.
    """
    provider = Provider(
        lambda lines: Split("no", code="422", tries=3, alone="suspect") if b'{"id":"e0"}' in lines else Delivered(),
        events_max=1,
    )
    house.start(provider)
    await house.post(1)
    await house.clock.run_until(lambda: len(provider.requests) >= 3)
    await house.post(1)
    await house.drained()
    assert house.consumer.ledger().delivered == 1
    assert house.consumer.ledger().dead_lettered == 1


async def test_several_poison_events_in_a_row_do_not_hold_up_what_follows(house: House) -> None:
    """However many refused events wait in front, the good one behind them arrives and proves them to be poison."""
    poison = {b'{"id":"e%d"}' % number for number in range(5)}
    provider = Provider(
        lambda lines: Split("no", code="422", tries=3, alone="suspect") if poison & set(lines) else Delivered(),
        events_max=1,
    )
    house.start(provider)
    await house.post(5)
    await house.clock.run_until(lambda: len(provider.requests) >= 30)
    assert house.consumer.dead_letter_count() == 0
    await house.post(1)
    await house.drained()
    assert [letter.event_id for letter in await house.consumer.dead_letters()] == ["e0", "e1", "e2", "e3", "e4"]
    assert house.consumer.ledger().delivered == 1


async def test_the_last_events_may_all_be_refused_together(house: House) -> None:
    """When nothing but refused events waits, they are tried on and on, until the destination takes them."""
    provider = OneByOne(lambda lines: Split("no", code="400", tries=3, alone="suspect"))
    house.start(provider)
    await house.post(3)
    await house.clock.run_until(lambda: len(provider.requests) >= 60)
    provider.decide = lambda lines: Delivered()
    await house.drained()
    assert house.consumer.ledger().delivered == 3


async def test_events_of_a_batch_that_are_refused_one_by_one_count_once(house: House) -> None:
    """One round of refusals is one failure: the next waits no longer than after one."""

    class LateOneByOne(OneByOne):
        async def send(self, request: Request, *, timeout_s: float) -> Reply:
            await house.clock.sleep(0.01)
            return await super().send(request, timeout_s=timeout_s)

    provider = LateOneByOne(lambda lines: Split("no", code="400", tries=3, alone="suspect"))
    house.start(provider)
    await house.post(10)
    await house.clock.run_until(lambda: len(provider.requests) == 10)
    await house.clock.run_until(lambda: len(provider.requests) == 11, within_s=1)


async def test_an_ordered_destination_gets_nothing_behind_an_event_that_it_refused(house: House) -> None:
    """While a refused event is to be tried again, those behind it in its batch wait too."""
    refused: list[list[bytes]] = []

    def decide(lines: list[bytes]) -> Outcome:
        if lines == [b'{"id":"e3"}'] and len(refused) < 2:
            refused.append(lines)
            return Split("no", code="400", tries=3, alone="suspect")
        taken.extend(lines)
        return Delivered()

    taken: list[bytes] = []
    house.start(OneByOne(decide), msgspec.structs.replace(DESTINATION, ordered=True))
    lines = await house.post(8)
    await house.drained()
    assert taken == lines


async def test_an_ordered_destination_gets_a_batch_that_is_taken_apart_in_order(house: House) -> None:
    """Whatever stands beside the poison arrives before what came after it."""
    provider = Provider(
        lambda lines: Split("no", code="400") if b'{"id":"e2"}' in lines else took(lines), events_max=16
    )

    def took(lines: list[bytes]) -> Outcome:
        taken.extend(lines)
        return Delivered()

    taken: list[bytes] = []
    house.start(provider, msgspec.structs.replace(DESTINATION, ordered=True))
    lines = await house.post(16)
    await house.drained()
    assert taken == [line for line in lines if line != b'{"id":"e2"}']


async def test_a_webhook_that_begins_to_refuse_everything_loses_nothing_more(house: House) -> None:
    """Once nothing else is taken any more, what is refused waits, though others were taken before."""
    provider = Provider(lambda lines: Delivered(), events_max=1)
    house.start(provider)
    await house.post(3)
    await house.drained()
    provider.decide = lambda lines: Split("no", code="400", tries=3, alone="suspect")
    await house.post(6)
    await house.clock.run_until(lambda: len(provider.requests) >= 60)
    assert house.consumer.dead_letter_count() <= 1
    provider.decide = lambda lines: Delivered()
    await house.drained()
    assert house.consumer.ledger().delivered >= 8


async def test_a_webhook_that_refuses_everything_loses_nothing(house: House) -> None:
    """A broken handler answers 400 to all: that is an outage, not a heap of poison."""
    provider = Provider(lambda lines: Split("no", code="400", tries=3, alone="suspect"), events_max=1)
    house.start(provider)
    await house.post(5)
    await house.clock.run_until(lambda: len(provider.requests) >= 30)
    assert house.consumer.dead_letter_count() == 0
    assert house.state.status is Status.DEGRADED
    provider.decide = lambda lines: Delivered()
    await house.drained()
    assert house.consumer.ledger().delivered == 5


async def test_partial_failures_retry_only_what_failed(house: House) -> None:
    """Delivered items are settled, refused ones dead-lettered, and only the rest is sent again."""

    def decide(lines: list[bytes]) -> Outcome:
        if len(provider.requests) > 1:
            return Delivered()
        return Partial(
            delivered=[0, 3], retry=[1], refused=(Refusal(2, "400", "mapping"),), reason="busy", throttled=True
        )

    provider = Provider(decide)
    house.start(provider)
    lines = await house.post(4)
    await house.drained()
    assert provider.requests[1:] == [[lines[1]]]
    assert house.consumer.ledger().delivered == 3
    assert house.consumer.ledger().dead_lettered == 1


async def test_what_a_provider_has_not_judged_yet_is_sent_at_once(house: House) -> None:
    """One that names bad events one by one works: no outage comes of it, and what stands behind them does not wait."""

    def decide(lines: list[bytes]) -> Outcome:
        bad = next((at for at, line in enumerate(lines) if line.endswith(b'5"}')), None)
        if bad is None:
            return Delivered()
        after, refused = range(bad + 1, len(lines)), (Refusal(bad, "hec_6", "no"),)
        return Partial(range(bad), retry=after, refused=refused, code="hec_6", retry_at_once=True)

    provider = Provider(decide, events_max=100)
    house.start(provider, msgspec.structs.replace(DESTINATION, ordered=True))
    lines = await house.post(100)
    await house.drained(within_s=1)
    assert house.consumer.ledger().dead_lettered == 10
    assert len(provider.requests) == 11
    assert [request[0] for request in provider.requests] == [lines[0], *lines[6::10]]
    assert house.state.consecutive_failures == 0
    assert house.state.status is Status.ACTIVE


async def test_wrong_credentials_keep_everything_and_a_change_applies_at_once(house: House) -> None:
    """A 401 degrades and waits; a PUT cuts the waiting short."""
    provider = Provider(lambda lines: Misconfigured("invalid token", code="4"))
    stream = house.start(provider)
    await house.post(3)
    await house.clock.run_until(lambda: house.state.consecutive_failures >= 6)
    assert house.state.breaker is BreakerState.OPEN
    provider.decide = lambda lines: Delivered()
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2))
    await house.drained(within_s=1)
    assert house.state.status is Status.ACTIVE


@pytest.mark.parametrize(
    ("error", "code"), [(ConnectFailed("refused"), "connection"), (EgressBlocked("not allowed"), "egress_blocked")]
)
async def test_transport_faults_lose_nothing(house: House, error: TransportError, code: str) -> None:
    """A connection that fails is a failed attempt; its events come again."""
    provider = Provider(lambda lines: Delivered())
    provider.failing = error
    house.start(provider)
    await house.post(2)
    await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
    assert house.state.last_error is not None
    assert house.state.last_error.code == code
    provider.failing = None
    await house.drained()


async def test_a_bug_ends_at_the_guard_and_nothing_is_lost(house: House) -> None:
    """An exception out of a codec restarts the worker after a pause; its events are handed out again."""

    def decide(lines: list[bytes]) -> Outcome:
        if len(provider.requests) <= 2:
            raise RuntimeError("a bug")
        return Delivered()

    provider = Provider(decide)
    house.start(provider)
    await house.post(3)
    await house.drained()
    assert house.consumer.ledger().delivered == 3


async def test_a_disabled_destination_keeps_nothing_and_says_so(house: House) -> None:
    """The period without streaming becomes one gap; what is enabled again goes on with new events."""
    provider = Provider(lambda lines: Delivered())
    stream = house.start(provider, msgspec.structs.replace(DESTINATION, enabled=False))
    await house.post(3)
    await house.drained(within_s=10)
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2))
    lines = await house.post(2)
    await house.clock.run_until(lambda: len(taken_by(provider)) == 2)
    assert taken_by(provider) == lines
    (gap,) = await house.consumer.gaps()
    assert (gap.reason, gap.count) == (GapReason.DISABLED, 3)


async def test_a_request_that_fails_once_its_destination_is_disabled_begins_no_outage(house: House) -> None:
    """Nothing will be sent again, so nothing is retried and nobody is told."""
    provider = Provider(lambda lines: Delivered())
    provider.hold, provider.failing = asyncio.Event(), ConnectFailed("gone")
    stream = house.start(provider)
    await house.post(1)
    await house.clock.run_until(lambda: len(provider.requests) == 1)
    house.state.disabled(house.clock.time_s())
    changing = asyncio.create_task(stream.change(msgspec.structs.replace(DESTINATION, enabled=False, revision=2)))
    provider.hold.set()
    await changing
    await house.clock.run_until(lambda: house.state.last_error is not None)
    health = house.state.health(house.consumer.ledger())
    assert (health.status, health.retrying_since_s, health.next_attempt_at_s) == (Status.ACTIVE, None, None)


async def test_a_disabled_moment_is_a_gap_too(house: House) -> None:
    """Switched off and on before the stream has looked even once: what came in between is not delivered."""
    provider = Provider(lambda lines: Delivered())
    stream = house.start(provider)
    before = await house.post(2)
    await house.drained()
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2, enabled=False))
    await house.post(3)
    await stream.change(msgspec.structs.replace(DESTINATION, revision=3, resumed_at_s=house.clock.time_s()))
    after = await house.post(2)
    await house.drained()
    assert taken_by(provider) == before + after
    (gap,) = await house.consumer.gaps()
    assert (gap.reason, gap.count, gap.first_id, gap.last_id) == (GapReason.DISABLED, 3, "e2", "e4")


async def test_a_gap_that_cannot_be_booked_leaves_it_disabled(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked is told of the disk; once that works, the gap is booked and the change applies."""
    provider = Provider(lambda lines: Delivered())
    stream = house.start(provider)
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2, enabled=False))
    await house.post(3)
    enabled = msgspec.structs.replace(DESTINATION, revision=3)

    async def fail(reason: GapReason, detail: str = "") -> int:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(house.consumer, "drop_pending", fail)
        with pytest.raises(OSError, match="disk"):
            await stream.change(enabled)
    assert not stream.destination.enabled
    await stream.change(enabled)
    after = await house.post(1)
    await house.drained()
    assert taken_by(provider) == after
    assert [gap.count for gap in await house.consumer.gaps()] == [3]


async def test_a_deleted_destination_is_flushed_first(house: House) -> None:
    """Events that wait are delivered before the destination is reported flushed; later ones are not taken."""
    provider = Provider(lambda lines: Retry("busy") if len(provider.requests) < 3 else Delivered())
    stream = house.start(provider)
    await house.post(15)
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2, deleting=True))
    await house.clock.run_until(stream.removed.is_set)
    assert house.flushed == ["siem_1"]
    assert house.consumer.ledger().delivered == 15


@pytest.mark.parametrize("enabled", [True, False])
async def test_what_other_gateways_hold_is_waited_for(house: House, enabled: bool) -> None:
    """A flushed destination is not gone while another gateway has some of it; it is asked after every few seconds."""
    house.held_elsewhere = 2
    stream = house.start(Provider(lambda lines: Delivered()))
    await house.post(1)
    begun_s = house.clock.monotonic_s()
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2, deleting=True, enabled=enabled))
    await house.clock.run_until(stream.removed.is_set, within_s=60)
    assert house.flushed == ["siem_1"] * 3
    assert 10 <= house.clock.monotonic_s() - begun_s < 20


async def test_what_the_filter_leaves_out_is_booked_as_filtered(house: House) -> None:
    """Events that the destination does not want are settled without being sent."""
    provider = Provider(lambda lines: Delivered())
    house.consumer.set_filter(lambda lines: [line.endswith((b'2"}', b'4"}')) for line in lines])
    house.start(provider)
    await house.post(6)
    await house.drained()
    assert taken_by(provider) == [b'{"id":"e2"}', b'{"id":"e4"}']
    assert house.consumer.ledger().filtered == 4


async def test_what_the_filter_leaves_out_is_not_pending_while_the_destination_fails(house: House) -> None:
    """What comes during an outage is judged at once, not at the next attempt."""
    provider = Provider(lambda lines: Retry("down"))
    house.consumer.set_filter(lambda lines: [line.endswith((b'0"}', b'5"}')) for line in lines])
    house.start(provider)
    await house.post(1)
    await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
    requests = len(provider.requests)
    await house.post(9)
    assert len(provider.requests) == requests
    assert (house.consumer.ledger().filtered, house.consumer.ledger().pending) == (8, 2)


async def test_a_changed_filter_is_applied_at_once(house: House) -> None:
    """To what waits in an outage too; the same filter once more changes nothing."""
    stream = house.start(Provider(lambda lines: Retry("down")))
    await house.post(3)
    await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
    none = msgspec.structs.replace(DESTINATION, revision=2, filter=Filter(actions=("another",)))
    await stream.change(none)
    await house.clock.run_until(lambda: house.consumer.ledger().pending == 0, within_s=1)
    assert house.consumer.ledger().filtered == 3
    await stream.change(msgspec.structs.replace(none, revision=3))
    await house.post(2)
    assert house.consumer.ledger().filtered == 5


async def test_what_a_disabled_destination_would_not_have_got_is_in_no_gap(house: House) -> None:
    """Its filter holds meanwhile."""
    house.consumer.set_filter(lambda lines: [line.endswith(b'1"}') for line in lines])
    stream = house.start(Provider(lambda lines: Delivered()), msgspec.structs.replace(DESTINATION, enabled=False))
    await house.post(4)
    await stream.skip_now()
    (gap,) = await house.consumer.gaps()
    assert (gap.count, gap.first_id, gap.last_id) == (1, "e1", "e1")
    assert house.consumer.ledger().filtered == 3


async def test_events_count_as_delivered_only_when_acknowledged(house: House) -> None:
    """With acknowledgement a 200 is not enough: events stay pending until confirmed, and come again when they are
    not.
    """
    ids = iter(range(100))
    provider = AcknowledgingProvider(lambda lines: AwaitAck(next(ids)))
    house.start(provider)
    await house.post(3)
    await house.clock.run_until(lambda: len(provider.requests) == 1)
    await house.clock.run_until(lambda: len(provider.requests) == 2)
    assert house.consumer.ledger().pending == 3
    provider.confirmed = set(range(100))
    await house.drained()
    assert house.consumer.ledger().delivered == 3


async def test_what_is_received_and_never_acknowledged_is_an_outage(house: House) -> None:
    """That the endpoint answers is no success: the window of an outage ends it."""
    ids = iter(range(10_000))
    provider = AcknowledgingProvider(lambda lines: AwaitAck(next(ids)))
    house.start(provider)
    await house.post(3)
    await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
    await house.clock.run_until(lambda: house.state.status is not Status.DEGRADED, within_s=86_400 + 600)
    assert house.state.status is Status.FAILED
    assert house.state.last_success_at_s is None


async def test_events_whose_acknowledgement_id_is_given_again_come_again(house: House) -> None:
    """A provider that restarts counts its ids anew on a channel that goes on. Nobody can ask for the earlier batch any
    more, so its events are sent again at once, on a new channel.
    """
    provider = Channels()
    house.start(provider)
    (first,) = await house.post(1)
    await house.clock.run_until(lambda: sum(map(len, provider.given.values())) == 1)
    next(iter(provider.given.values())).clear()
    (second,) = await house.post(1)
    await house.clock.run_until(lambda: len(provider.requests) == 3, within_s=5)
    provider.confirms = True
    await house.drained(within_s=30)
    assert taken_by(provider) == [first, second, first]
    assert list(provider.given.values()) == [[second], [first]]
    assert house.consumer.ledger().delivered == 2


async def test_a_request_that_ends_does_not_look_through_all_that_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million events may wait for their acknowledgements. Each is sent once all the same."""
    looks: list[AckBook] = []
    look = AckBook.positions

    def positions(book: AckBook) -> list[int]:
        looks.append(book)
        return look(book)

    monkeypatch.setattr(AckBook, "positions", positions)
    provider = Channels()
    house.start(provider)
    lines = await house.post(5)
    await house.clock.run_until(lambda: len(provider.requests) == 5)
    lines += await house.post(5)
    await house.clock.run_until(lambda: bool(provider.questions))
    assert looks == []
    assert taken_by(provider) == lines


async def test_what_is_filtered_out_of_a_hanging_batch_holds_up_nothing(house: House) -> None:
    """What comes while a request hangs goes out beside it, however much of that batch was filtered."""
    house.consumer.set_filter(lambda lines: [line != b'{"id":"e0"}' for line in lines])
    provider = Provider(lambda lines: Delivered())
    provider.hold = asyncio.Event()
    house.start(provider)
    await house.post(2)
    await house.clock.run_until(lambda: len(provider.requests) == 1)
    await house.post(1)
    await house.clock.run_until(lambda: len(provider.requests) == 2, within_s=1)
    provider.hold.set()
    await house.drained()


async def test_a_success_in_the_midst_of_a_batch_lets_others_go_out(house: House) -> None:
    """Once a probe was taken nothing waits for the rest of its batch, which may hang."""
    provider = OneByOne(lambda lines: Retry("busy") if len(provider.requests) == 1 else Delivered(), events_max=2)
    house.start(provider)
    await house.post(2)
    await house.clock.run_until(lambda: house.state.status is Status.DEGRADED)
    provider.hold = asyncio.Event()
    await house.post(2)
    await house.clock.run_until(lambda: len(provider.requests) == 2)
    provider.hold.set()
    provider.hold = asyncio.Event()
    await house.clock.run_until(lambda: len(provider.requests) == 4, within_s=1)
    assert provider.requests[2:] == [[b'{"id":"e1"}'], [b'{"id":"e2"}']]
    provider.hold.set()
    await house.drained()


async def test_events_that_come_fast_share_requests(house: House) -> None:
    """After a request of many events the next waits a moment for more, though nothing is in flight."""
    provider = Provider(lambda lines: Delivered(), events_max=500)
    house.start(provider)
    await house.post(100)
    await house.clock.run_until(lambda: house.consumer.pending_events() == 0)
    for _ in range(3):
        await house.post(10)
        await at_this_moment(lambda: house.consumer.untaken_events() == 0, turns=20)
    assert len(provider.requests) == 1
    await house.drained(within_s=1)
    assert [len(lines) for lines in provider.requests] == [100, 30]


async def test_what_fills_a_request_at_once_waits_for_nothing(house: House) -> None:
    """However soon it comes after the one before."""
    provider = Provider(lambda lines: Delivered(), events_max=100)
    house.start(provider)
    await house.post(100)
    await house.clock.run_until(lambda: house.consumer.pending_events() == 0)
    await house.post(100)
    await at_this_moment(lambda: len(provider.requests) == 2)
    assert [len(lines) for lines in provider.requests] == [100, 100]


class Slow(Provider):
    """Takes ten events a request in time, and no more."""

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        await super().send(request, timeout_s=timeout_s)
        if len(self.requests[-1]) > 10:
            raise TimedOut("no answer in time")
        return Reply(200, {}, b"")


async def test_who_cannot_take_full_requests_in_time_gets_smaller_ones(house: House) -> None:
    """Else the same full request would be sent for a day, and given up."""
    provider = Slow(lambda lines: Delivered(), events_max=1000)
    house.start(provider)
    await house.post(500)
    await house.drained(within_s=3600)
    assert house.consumer.ledger().delivered == 500
    assert house.state.status is Status.ACTIVE


async def test_batches_of_several_requests_are_full_again_after_one_was_late(house: House) -> None:
    """What is cut into requests grows again by whole batches: each of its requests is smaller than what it may have."""

    class InPairs(Provider):
        batches: list[int]

        def encode(self, batch: Batch, context: Context) -> Encoded:
            self.batches.append(len(batch))
            return Encoded(
                tuple(
                    Request("http://siem", (), b"\n".join(batch.lines[at : at + 2]), range(len(batch))[at : at + 2])
                    for at in range(0, len(batch), 2)
                )
            )

    provider = InPairs(lambda lines: Delivered(), events_max=16)
    provider.batches = []
    provider.failing = TimedOut("no answer in time")
    house.start(provider, msgspec.structs.replace(DESTINATION, ordered=True))
    await house.post(200)
    await house.clock.run_until(lambda: len(provider.requests) == 2)
    provider.failing = None
    await house.drained()
    assert min(provider.batches[:2]) < 16
    assert provider.batches[-4:-1] == [16, 16, 16]


async def at_this_moment(condition: Callable[[], bool], turns: int = 10_000) -> None:
    """Let others work while the clock stands still."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0.001)


class Channels(AcknowledgingProvider):
    """Counts its acknowledgements for each channel, as Splunk does, and each event is a request; ``holds`` are what the
    requests wait for in turn.
    """

    def __init__(self) -> None:
        super().__init__(lambda lines: Delivered())
        self.holds: list[asyncio.Event] = []
        self.given: dict[str, list[bytes]] = {}
        self.asked: dict[str, set[int]] = {}
        self.confirms = False
        self.questions: list[str] = []
        self.hangs_from_question = 1 << 30

    def encode(self, batch: Batch, context: Context) -> Encoded:
        lines, headers = enumerate(batch.lines), (("channel", context.channel),)
        return Encoded(tuple(Request("http://siem", headers, line, range(at, at + 1)) for at, line in lines))

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        if request.url.endswith("/ack") and len(self.questions) > self.hangs_from_question:
            await asyncio.Event().wait()
        if self.holds and not request.url.endswith("/ack"):
            self.requests.append([request.body])
            await self.holds.pop(0).wait()
            return Reply(200, {}, b"")
        return await super().send(request, timeout_s=timeout_s)

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        given = self.given.setdefault(request.headers[0][1], [])
        given.append(request.body)
        return AwaitAck(len(given) - 1)

    def encode_ack_poll(self, ack_ids: Sequence[int], context: Context) -> Request:
        self.questions.append(context.channel)
        self.asked.setdefault(context.channel, set()).update(ack_ids)
        self.confirmed = set(ack_ids) if self.confirms else set()
        return super().encode_ack_poll(ack_ids, context)


async def test_what_comes_again_while_its_batch_is_under_way_is_its_own_batchs_no_more(house: House) -> None:
    """An acknowledgement may be overdue before the rest of its batch is answered. What was taken anew by then stays
    with the new batch, and each answer is asked for on the channel on which it was given.
    """
    provider = Channels()
    at_once, second, third, again = (asyncio.Event() for _ in range(4))
    at_once.set()
    provider.holds = [at_once, second, third, again]
    house.start(provider)
    lines = await house.post(3)
    await house.clock.run_until(lambda: len(provider.requests) == 2)
    await house.clock.run_until(lambda: house.state.last_error is not None)
    second.set()
    await house.clock.run_until(lambda: len(provider.requests) == 4)
    third.set()
    await house.clock.run_until(lambda: sum(map(len, provider.given.values())) == 3)
    again.set()
    provider.confirms = True
    await house.drained(within_s=100)
    assert taken_by(provider) == [*lines, lines[0]]
    assert list(provider.given.values()) == [lines, lines[:1]]
    assert {channel: len(ids) for channel, ids in provider.asked.items()} == dict(
        zip(provider.given, (3, 1), strict=True)
    )
    assert house.consumer.ledger().delivered == 3


async def test_what_was_confirmed_is_settled_though_the_next_channel_hangs(house: House) -> None:
    """A change that ends the worker in the midst of its questions leaves nothing neither settled nor given back."""
    provider = Channels()
    second = asyncio.Event()
    provider.holds = [asyncio.Event(), second]
    provider.holds[0].set()
    stream = house.start(provider)
    await house.post(2)
    await house.clock.run_until(lambda: house.state.last_error is not None)
    second.set()
    await house.clock.run_until(lambda: sum(map(len, provider.given.values())) == 3)
    assert len(provider.given) == 2
    provider.confirms = True
    provider.hangs_from_question = len(provider.questions) + 1
    await house.clock.run_until(lambda: len(provider.questions) > provider.hangs_from_question)
    assert house.consumer.ledger().delivered == 1
    provider.hangs_from_question = 1 << 30
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2))
    await house.drained(within_s=100)


@pytest.mark.parametrize("change", [{"enabled": False}, {"deleting": True}, {"endpoint": "https://other.example.com"}])
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_change_ends_a_batch_of_several_requests(
    house: House, change: dict[str, object], ordered: bool
) -> None:
    """Of the old configuration only the request in flight goes out; the rest of its batch goes as the new one says."""
    before, after = OneByOne(lambda lines: Delivered()), OneByOne(lambda lines: Delivered())
    before.hold = asyncio.Event()
    known = msgspec.structs.replace(DESTINATION, ordered=ordered)
    stream = house.start(before, known)
    lines = await house.post(5)
    await house.clock.run_until(lambda: len(before.requests) == 1)
    house.provider = after
    await stream.change(msgspec.structs.replace(known, revision=2, **change))
    before.hold.set()
    await house.drained(within_s=10)
    assert taken_by(before) == lines[:1]
    assert taken_by(after) == ([] if "enabled" in change else lines[1:])


async def test_an_ordered_destination_has_one_request_in_flight_over_a_change(house: House) -> None:
    """What the worker of the old configuration still sends is waited for, unless the next change is there first."""
    provider = OneByOne(lambda lines: Delivered())
    provider.hold = asyncio.Event()
    ordered = msgspec.structs.replace(DESTINATION, ordered=True)
    stream = house.start(provider, ordered)
    lines = await house.post(15)
    await house.clock.run_until(lambda: len(provider.requests) == 1)
    for revision in (2, 3):
        await stream.change(msgspec.structs.replace(ordered, revision=revision))
        await at_this_moment(lambda: len(provider.requests) > 1, turns=20)
    assert taken_by(provider) == lines[:1]
    provider.hold.set()
    await house.drained(within_s=10)
    assert taken_by(provider) == lines


async def test_an_ordered_destination_that_waits_for_a_request_can_be_stopped(house: House) -> None:
    """The stop after a change waits for the request of before, and starts none."""
    provider = OneByOne(lambda lines: Delivered())
    provider.hold = asyncio.Event()
    ordered = msgspec.structs.replace(DESTINATION, ordered=True)
    stream = house.start(provider, ordered)
    await house.post(15)
    await house.clock.run_until(lambda: len(provider.requests) == 1)
    await stream.change(msgspec.structs.replace(ordered, revision=2))
    await at_this_moment(lambda: len(provider.requests) > 1, turns=20)
    stream.stop()
    await at_this_moment(house.tasks[0].done, turns=20)
    assert not house.tasks[0].done()
    provider.hold.set()
    await asyncio.wait(house.tasks)
    assert len(provider.requests) == 1
    assert house.consumer.ledger().pending == 14


async def test_a_stopped_stream_lets_what_is_in_flight_end(house: House) -> None:
    """Shutting down starts nothing new, waits for the answer under way and keeps the rest."""
    provider = Provider(lambda lines: Delivered())
    provider.hold = asyncio.Event()
    stream = house.start(provider, msgspec.structs.replace(DESTINATION, ordered=True))
    await house.post(30)
    await house.clock.run_until(lambda: len(provider.requests) == 1)
    stream.stop()
    await asyncio.sleep(0)
    provider.hold.set()
    await asyncio.wait(house.tasks)
    assert len(provider.requests) == 1
    assert house.consumer.ledger().delivered == 10
    assert house.consumer.ledger().pending == 20


async def test_a_cancelled_stream_gives_back_what_it_held(house: House) -> None:
    """Events in flight when the worker is cut off are handed out again."""
    provider = Provider(lambda lines: Delivered())
    provider.hold = asyncio.Event()
    house.start(provider)
    await house.post(30)
    await house.clock.run_until(lambda: len(provider.requests) >= 2)
    task = house.tasks.pop()
    task.cancel()
    await asyncio.wait({task})
    records = await house.consumer.take(events_max=100, bytes_max=1 << 20)
    assert records is not None
    assert records.positions == list(range(30))


async def test_credentials_that_no_key_opens_wait_for_the_operator(house: House) -> None:
    """The destination says why, and so does the log, once a minute; nothing is lost, however long it takes."""
    house.sealed = CredentialsSealed("add the key")
    with structlog.testing.capture_logs() as lines:
        stream = house.start(Provider(lambda lines: Delivered()))
        await house.post(3)
        await house.clock.run_until(lambda: len(lines) == 3, within_s=180)
    assert {line["event"] for line in lines} == {"destination.sealed"}
    assert house.state.last_error is not None
    assert (house.state.last_error.code, house.state.last_error.message) == ("secret_key", "add the key")
    began_s = house.clock.monotonic_s()
    await house.clock.run_until(lambda: house.clock.monotonic_s() > began_s + 2 * 86_400)
    assert house.consumer.ledger().pending == 3
    house.sealed = None
    await stream.change(msgspec.structs.replace(DESTINATION, revision=2))
    await house.drained()
    assert house.consumer.ledger().delivered == 3
