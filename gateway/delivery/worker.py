"""One destination's loop: take, encode, attempt, settle.

A batch grows while requests are in flight and is sent at once when none is, but for a pause where events come very
fast: real time at low load, full batches at high load. What fails is released, not kept: it is read again when the
breaker lets the next probe through. Every position that was taken ends settled or released, also when the worker is
cancelled or dies.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

import structlog

from gateway.clock import Clock
from gateway.config import Delivery, RetryPolicy
from gateway.delivery import acks, pacing
from gateway.delivery.attempt import TIMED_OUT, Sender, Sent
from gateway.delivery.bisect import Bisection, Part
from gateway.delivery.encoding import encode
from gateway.delivery.holding import Holding
from gateway.delivery.limiter import BatchLimit
from gateway.delivery.standing import Standing
from gateway.delivery.state import DeliveryState
from gateway.delivery.suspects import Suspects
from gateway.delivery.waiting import Nudges
from gateway.destinations.store import Destination
from gateway.providers.codec import (
    Acknowledging,
    AwaitAck,
    Batch,
    Codec,
    Delivered,
    Misconfigured,
    Partial,
    Prepare,
    Refusal,
    Request,
    Retry,
    Split,
)
from gateway.queue import Consumer, GapReason, Records, Refused
from gateway.telemetry import Event, Metrics, plain_code


class Result(enum.Enum):
    """What became of a request: everything in it is settled or under way, or what is left of it comes again."""

    TAKEN = enum.auto()
    LEFT = enum.auto()


class Worker:
    """Runs until cancelled, until ``stop``, until the window of an outage ends, or, when draining, until nothing
    waits.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        codec: Codec,
        consumer: Consumer,
        sender: Sender,
        state: DeliveryState,
        retry: RetryPolicy,
        delivery: Delivery,
        clock: Clock,
        random: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._id = destination.id
        self._draining, self._ordered = destination.deleting, destination.ordered
        self._codec, self._consumer, self._sender = codec, consumer, sender
        self._state, self._delivery, self._clock, self._metrics = state, delivery, clock, metrics
        self._standing = Standing(
            destination.id,
            state=state,
            retry=retry,
            in_flight_max=1 if destination.ordered else delivery.in_flight_max,
            clock=clock,
            random=random,
            metrics=metrics,
        )
        self._batch = BatchLimit(codec.limits.events_max)
        self._nudges = Nudges(clock)
        self._stop = asyncio.Event()
        self._in_flight = 0
        self._paused_until_s = 0.0
        self._suspects = Suspects()
        self._acks = acks.AckBook() if isinstance(codec, Acknowledging) else None
        self._holding = Holding(consumer, self._suspects, self._acks)

    def stop(self) -> None:
        """Start no further attempt; ``run`` returns once those in flight have ended."""
        self._stop.set()
        self._nudges.nudge()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                poller = group.create_task(self._poll_acks()) if self._acks is not None else None
                await self._pump(group)
                await self._until_idle()
                if poller is not None:
                    poller.cancel()
        finally:
            self._holding.give_back_all()
            await self._nudges.close()

    # -- the loop

    async def _pump(self, group: asyncio.TaskGroup) -> None:
        while not self._stop.is_set():
            if self._standing.window_is_over():
                await self._give_up()
                return
            if not await self._something_to_take():
                return
            if not await self._slot():
                continue
            records = await self._consumer.take(events_max=self._batch.events, bytes_max=self._codec.limits.bytes_max)
            if records is None:
                self._holding.unpark()
                await self._nudges.wait(self._delivery.linger_s)
                continue
            if self._stop.is_set():
                self._consumer.release(records.positions)
                return
            pause_s = pacing.pause_s(len(records.positions), self._delivery.linger_s)
            self._paused_until_s = self._clock.monotonic_s() + pause_s
            self._in_flight += 1
            group.create_task(self._deliver(self._holding.begin(records.positions), records))

    async def _something_to_take(self) -> bool:
        """Wait for events. False when there will be no more: draining and nothing left, or stopped."""
        while not self._suspects.parked and not self._consumer.untaken_events():
            if self._draining and not self._consumer.pending_events():
                return False
            if self._draining:  # what the worker before this one has in flight ends without a word to this one
                await self._nudges.wait(self._delivery.linger_s)
            else:  # an event that is parked while others are in flight wakes the consumer no more
                await self._nudges.wait_with(self._consumer.wait)
            if self._stop.is_set():
                return False
        return True

    async def _slot(self) -> bool:
        """Wait until another request may go out. False to look at everything again."""
        wait_s = self._standing.wait_s(self._in_flight)
        if wait_s is None or self._acks_are_full():
            await self._nudges.wait()
            return False
        if wait_s > 0:
            await self._nudges.wait(min(wait_s, self._standing.window_left_s()))
            return False
        pause_s = self._paused_until_s - self._clock.monotonic_s()
        if pause_s > 0 and not self._batch_is_full():
            await self._nudges.wait(pause_s)
            return False
        if self._in_flight and not self._batch_is_full():
            await self._nudges.wait(self._delivery.linger_s)
            return self._standing.wait_s(self._in_flight) == 0.0
        return True

    async def _until_idle(self) -> None:
        while self._in_flight:
            await self._nudges.wait()

    def _batch_is_full(self) -> bool:
        waiting = self._consumer.untaken_events()
        if waiting >= self._batch.events:
            return True
        backlog = self._consumer.backlog()
        share = waiting / backlog.pending_events if backlog.pending_events else 0.0
        return backlog.pending_bytes * share >= self._codec.limits.bytes_max

    def _acks_are_full(self) -> bool:
        return self._acks is not None and self._acks.full()

    # -- one batch

    async def _deliver(self, batch: int, records: Records) -> None:
        try:
            await self._send_whole(Part(records.positions, records.lines))
        finally:
            self._holding.end(batch)
            self._in_flight -= 1
            self._nudges.nudge()

    async def _send_whole(self, part: Part) -> None:
        since_s = self._clock.monotonic_s()
        result = await self._send(part)
        if isinstance(result, Split):
            await self._take_apart(part, result, since_s)

    async def _take_apart(self, part: Part, split: Split, since_s: float) -> Result:
        """``since_s`` is when the batch was begun: what is refused of it one by one is one failure."""
        first = part.positions[0]
        if self._suspects.count_try(first, self._clock.monotonic_s()) < split.tries:
            self._standing.failed(split.code, split.reason, since_s=since_s)
            return Result.LEFT
        if len(part) > 1:
            return await self._bisect(part, split, since_s)
        if split.alone == "degrade":
            self._standing.failed(split.code, split.reason, since_s=since_s, misconfigured=True)
            return Result.LEFT
        if split.alone == "suspect" and not self._suspects.others_are_taken(first):
            self._holding.park(first)
            self._standing.failed(split.code, split.reason, since_s=since_s)
            return Result.LEFT
        await self._refuse(part, [Refusal(0, split.code, split.reason)])
        self._succeeded(since_s)
        return Result.TAKEN

    async def _bisect(self, part: Part, split: Split, since_s: float) -> Result:
        """Send halves of halves until every refused event stands alone."""
        bisection = Bisection(part, "degrade" if split.alone != "refuse" else "refuse", in_order=self._ordered)
        while (half := bisection.next_part()) is not None:
            result = await self._send(half)
            if isinstance(result, Split):
                bisection.refused(half, result.code, result.reason)
            elif result is Result.TAKEN:
                bisection.taken()
            else:
                return result
            if bisection.hopeless():
                break
        if not bisection.are_poison():
            self._standing.failed(split.code, split.reason, since_s=since_s, misconfigured=True)
            return Result.LEFT
        for suspect in bisection.suspects:
            await self._refuse(suspect.part, [Refusal(0, suspect.code, suspect.reason)])
        return Result.TAKEN

    async def _send(self, part: Part) -> Result | Split:
        """Encode and send, until stopped; settle what is settled by it. A Split of the whole is left to the caller."""
        since_s = self._clock.monotonic_s()
        context = self._sender.context()
        encoded = encode(self._codec, Batch(part.lines), context)
        if encoded.refused:
            await self._refuse(part, encoded.refused)
        for request in encoded.requests:
            if self._stop.is_set():
                return Result.LEFT
            sent, attempt = await self._sender.send(request, context)
            self._state.record(attempt)
            result = await self._apply(part, request, sent, context.channel)
            if isinstance(result, Split) and len(request.positions) < len(part):
                result = await self._take_apart(part.pick(sorted(request.positions)), result, since_s)
                if not self._ordered:
                    continue  # the other requests may be taken
            if result is not Result.TAKEN:
                return result
        self._batch.answered(len(part))
        return Result.TAKEN

    async def _apply(self, part: Part, request: Request, sent: Sent, channel: str) -> Result | Split:
        positions = _select(part.positions, request.positions)
        failed = partial(self._standing.failed, events=len(positions), since_s=sent.started_at_s)
        match sent.outcome:
            case Delivered(slow_down=slow_down):
                self._consumer.settle_delivered(positions)
                self._suspects.taken(positions[0], sent.started_at_s)
                self._arrived(sent, slow_down=slow_down)
                return Result.TAKEN
            case AwaitAck(ack_id=ack_id, slow_down=slow_down):
                self._await_ack(channel, ack_id, positions)
                self._standing.answered(sent.duration_s, in_flight=self._in_flight, slow_down=slow_down)
                self._standing.received(sent.started_at_s)
                self._go_on()
                return Result.TAKEN
            case Partial() as outcome:
                return await self._apply_partial(part, outcome, sent)
            case Split() as split:
                self._suspects.refused(positions[0])
                return split
            case Retry(reason=reason, code=code, after_s=after_s, throttled=throttled):
                if code == TIMED_OUT:
                    self._batch.timed_out(len(positions), of_batch=len(part))
                failed(code, reason, wish_s=after_s or 0.0, throttled=throttled)
            case Misconfigured(reason=reason, code=code):
                failed(code, reason, misconfigured=True)
            case Prepare(reason=reason):
                failed("prepare", reason)
            case _:
                assert_never(sent.outcome)
        return Result.LEFT

    async def _apply_partial(self, part: Part, outcome: Partial, sent: Sent) -> Result:
        if outcome.delivered:
            self._consumer.settle_delivered(_select(part.positions, outcome.delivered))
        if outcome.refused:
            await self._refuse(part, outcome.refused)
        if outcome.retry_at_once or not outcome.retry:
            self._metrics.retried_events.labels(self._id).inc(len(outcome.retry))
            self._arrived(sent, slow_down=outcome.throttled)
            return Result.LEFT if outcome.retry else Result.TAKEN
        if outcome.delivered or outcome.refused:
            self._state.progressed()
        self._standing.failed(
            outcome.code,
            outcome.reason,
            events=len(outcome.retry),
            since_s=sent.started_at_s,
            throttled=outcome.throttled,
            misconfigured=outcome.misconfigured,
        )
        return Result.LEFT

    async def _refuse(self, part: Part, refusals: Sequence[Refusal]) -> None:
        refused = [
            Refused(part.positions[item.position], part.lines[item.position], item.code, item.reason)
            for item in refusals
        ]
        await self._consumer.settle_refused(refused)
        self._state.refused(refused[-1].code, refused[-1].reason)
        for item in refused:
            structlog.get_logger().warning(
                Event.DELIVERY_EVENT_REFUSED,
                destination=self._id,
                number=item.position + 1,
                code=plain_code(item.code),
            )

    # -- what follows from a result

    def _arrived(self, sent: Sent, *, slow_down: bool) -> None:
        self._standing.answered(sent.duration_s, in_flight=self._in_flight, slow_down=slow_down)
        self._succeeded(sent.started_at_s)

    def _succeeded(self, since_s: float) -> None:
        self._standing.succeeded(since_s)
        self._go_on()

    def _go_on(self) -> None:
        self._holding.unpark()
        self._suspects.forget_many()
        self._nudges.nudge()  # more may go out now, though the rest of this batch may take long

    async def _give_up(self) -> None:
        """The outage outlasted its window: what waits is dropped into a gap, and the destination is failed."""
        await self._until_idle()
        if not self._standing.window_is_over():
            return  # one that was in flight arrived after all
        self._holding.give_back_all()
        error = self._state.last_error
        self._state.give_up()
        detail = f"last error: {error.code}: {error.message}" if error is not None else ""
        dropped = await self._consumer.drop_pending(GapReason.RETRIES_EXHAUSTED, detail)
        structlog.get_logger().error(
            Event.DESTINATION_FAILED,
            destination=self._id,
            dropped=dropped,
            remedy="mend the destination, then update it with enabled: true to start it again",
        )

    # -- acknowledgements

    def _await_ack(self, channel: str, ack_id: int, positions: list[int]) -> None:
        assert self._acks is not None
        self._holding.hold_apart(positions)
        replaced = self._acks.add(channel, ack_id, positions, self._clock.monotonic_s())
        if replaced:
            self._sender.renew_channel()
            self._holding.give_back(replaced)

    async def _poll_acks(self) -> None:
        """Settle what has been acknowledged; what is not in time is sent again on a new channel."""
        assert self._acks is not None
        assert isinstance(self._codec, Acknowledging)
        while True:
            await self._clock.sleep(self._codec.ack_poll_s)
            async for confirmed in acks.poll(self._codec, self._sender, self._acks):
                self._consumer.settle_delivered(confirmed.positions)
                self._succeeded(confirmed.since_s)
            overdue = self._acks.overdue(self._clock.monotonic_s() - self._codec.ack_timeout_s)
            if overdue:
                self._sender.renew_channel()
                self._holding.give_back(overdue)
                self._standing.failed("ack_timeout", f"no acknowledgement within {self._codec.ack_timeout_s:.0f} s")
            self._nudges.nudge()


def _select(positions: Sequence[int], indexes: Sequence[int]) -> list[int]:
    """The consumer's positions of a request's events, ascending."""
    if len(indexes) == len(positions):
        return list(positions)
    return sorted(positions[index] for index in indexes)
