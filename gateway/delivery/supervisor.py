"""Desired destinations → running streams. The only owner of what runs.

``reconcile`` compares what is wanted with what runs and acts on the difference, so a change that was missed costs
delay and never correctness. Every stream runs in a task of its own behind its own guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as system_random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import structlog

from gateway.clock import Clock
from gateway.config import Delivery, RetryPolicy
from gateway.delivery.attempt import Sender, Transport
from gateway.delivery.health import Attempt, Health, TestResult
from gateway.delivery.probe import probe
from gateway.delivery.rollup import Rollup
from gateway.delivery.state import DeliveryState
from gateway.delivery.stream import Stream, tell_of_held
from gateway.delivery.trail import Trail
from gateway.delivery.unreached import Unreached
from gateway.delivery.waiting import first_of
from gateway.delivery.watch import Watch
from gateway.delivery.worker import Worker
from gateway.destinations.filter import compile_filter
from gateway.destinations.history import Figures, HistoryStore
from gateway.destinations.store import Destination, Filter
from gateway.providers.codec import Codec, Provider, Settings
from gateway.providers.trace import Trace
from gateway.queue import Consumer, EventQueue, GapReason, Matcher
from gateway.telemetry import Event, Metrics

_RECONCILE_INTERVAL_S = 30.0
_LAST_FIGURES_S = 1.0  # at the stop, for a store that may be away


class Catalog(Protocol):
    """The destinations that are wanted."""

    def destinations(self) -> Mapping[str, Destination]: ...

    @property
    def version(self) -> int: ...

    @property
    def store_problem(self) -> str | None:
        """Why what is shown may be out of date; None while it is not."""

    async def wait_for_change(self, version: int) -> int: ...


class ClosableTransport(Transport, Protocol):
    def secured(self, settings: Settings) -> Transport:
        """The same connections with the TLS that the settings ask for."""

    async def close(self) -> None: ...


class MakeTransport(Protocol):
    def __call__(self, *, trace: Trace | None = None) -> ClosableTransport:
        """``trace`` is filled in with what the first connection came to."""


class Supervisor:
    """``settings_of`` opens a destination's credentials; ``make_transport`` gives each destination connections of its
    own. ``remove_destination`` deletes one whatever holds something of it; ``finish_deletion`` once nothing does in any
    gateway, and says whether it is gone.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: EventQueue,
        providers: Mapping[str, Provider],
        settings_of: Callable[[Destination], Settings],
        make_transport: MakeTransport,
        remove_destination: Callable[[str], Awaitable[None]],
        finish_deletion: Callable[[str], Awaitable[bool]],
        history: HistoryStore,
        trail: Trail,
        instance: str,
        retry: RetryPolicy,
        delivery: Delivery,
        clock: Clock,
        metrics: Metrics,
        random: Callable[[], float] = system_random.random,
    ) -> None:
        self._catalog = catalog
        self._queue = queue
        self._providers = providers
        self._settings_of = settings_of
        self._make_transport = make_transport
        self._remove_destination, self._finish_deletion = remove_destination, finish_deletion
        self._instance = instance
        self._retry, self._delivery = retry, delivery
        self._clock, self._metrics, self._random = clock, metrics, random
        self._streams: dict[str, Stream] = {}
        self._transports: dict[str, ClosableTransport] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._dropping: Counter[str] = Counter()  # by id, how often ``drop`` is giving them up
        self._started = asyncio.Event()  # set, and another in its place, when a destination is taken up
        self._stopping = False
        self._rollup = Rollup(history, self._states, instance=instance, clock=clock)
        self._unreached = Unreached(catalog.destinations, metrics)
        self._watch = Watch(lambda: self._streams, self._rollup, trail, clock)

    async def run(self) -> None:
        """Keep what runs equal to what is wanted, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.run())
            while True:
                version = self._catalog.version
                await self.reconcile(group)
                await first_of(self._catalog.wait_for_change(version), self._clock.sleep(_RECONCILE_INTERVAL_S))

    async def reconcile(self, group: asyncio.TaskGroup) -> None:
        if self._stopping:
            return
        wanted = self._catalog.destinations()
        self._unreached.follow()
        for destination_id in [known for known in self._streams if known not in wanted]:
            await self._forget(destination_id)
        for destination in wanted.values():
            try:
                await self._follow(group, destination)
            except OSError as error:
                self._tell_of_disk(destination.id, error)
        if self._catalog.store_problem is None:
            await self._settle_consumers()

    async def stop(self, grace_s: float) -> None:
        """Start no further attempt; wait for those in flight, then give up on them (they come again)."""
        self._stopping = True
        for stream in self._streams.values():
            stream.stop()
        tasks = [task for task in self._tasks.values() if not task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for stream in self._streams.values():
            stream.state.save()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FIGURES_S):
                await self._rollup.finish()

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.close()
        self._transports.clear()

    # -- Streams

    def health(self, destination_id: str) -> Health | None:
        stream = self._streams.get(destination_id)
        return stream.state.health(stream.consumer.ledger()) if stream is not None else None

    def attempts(self, destination_id: str, *, before: int, limit: int) -> list[tuple[int, Attempt]]:
        stream = self._streams.get(destination_id)
        return stream.state.attempts_before(before, limit) if stream is not None else []

    async def figures(self, destination_ids: Collection[str], *, step_s: int, since_s: int) -> list[Figures]:
        return await self._rollup.read(destination_ids, step_s=step_s, since_s=since_s)

    def unreached_actions(self) -> list[tuple[str, str]]:
        return self._unreached.actions()

    async def take_up(self, before: Destination) -> None:
        stream = self._streams.get(before.id) or self._begin(before)
        if stream is None:
            return
        async with stream.changing:
            destination = self._catalog.destinations().get(before.id)
            if destination is not None and destination.revision != stream.destination.revision:
                await stream.change(destination)

    async def catch_up(self, destination_id: str) -> None:
        stream = self._streams.get(destination_id)
        if stream is not None:
            await stream.skip_now()

    async def flushed(self, destination_id: str, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while (stream := self._streams.get(destination_id)) is None:
                    if not self._is_wanted(destination_id):
                        return True
                    changed = self._catalog.wait_for_change(self._catalog.version)
                    await first_of(self._started.wait(), changed)
                await stream.removed.wait()
        except TimeoutError:
            return False
        return True

    async def drop(self, destination_id: str) -> int:
        """Give up what is left of a destination that is being deleted, in flight or not. Returns how many events.

        One that does not run yet never will: nothing of it may be sent any more.
        """
        self._dropping[destination_id] += 1
        try:
            task = self._tasks.get(destination_id)
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            consumer = self._queue.consumer(destination_id)
            dropped = 0 if consumer is None else await consumer.drop_pending(GapReason.FORCED_DELETE)
            structlog.get_logger().warning(
                Event.GAP_RECORDED, destination=destination_id, reason=GapReason.FORCED_DELETE, events=dropped
            )
            await self._remove_destination(destination_id)
            structlog.get_logger().info(Event.DESTINATION_DELETED, destination=destination_id)
        finally:
            self._dropping -= Counter([destination_id])  # without those of whom none is left
        stream = self._streams.get(destination_id)
        if stream is not None:
            stream.removed.set()
        return dropped

    async def test(self, provider: Provider, settings: Settings, tenant_id: str) -> TestResult:
        trace, codec = Trace(), provider.build(settings)
        transport = self._make_transport(trace=trace)
        try:
            return await probe(
                self._sender("test", codec, transport.secured(settings)),
                codec,
                tenant_id=tenant_id,
                endpoint=provider.normalise_endpoint(settings.endpoint),
                trace=trace,
                clock=self._clock,
            )
        finally:
            await transport.close()

    # -- inside

    def _is_wanted(self, destination_id: str) -> bool:
        """Now: what was read before an await knows nothing of a destination that was made, or is gone, since."""
        return destination_id in self._catalog.destinations()

    async def _follow(self, group: asyncio.TaskGroup, seen: Destination) -> None:
        """Raises OSError, and then this one stays as it was until the next look.

        It starts with what the store says once its queue is there. One whose task has ended could not be given up: it
        goes on.
        """
        if seen.id not in self._tasks:
            await self._queue.add_consumer(seen.id, seen.tenant_id, created_at_s=seen.created_at_s)
        if not self._may_run(seen.id):
            return
        await self.take_up(self._catalog.destinations()[seen.id])
        task = self._tasks.get(seen.id)
        if self._may_run(seen.id) and (task is None or task.done()):
            self._tasks[seen.id] = group.create_task(self._streams[seen.id].run())

    def _may_run(self, destination_id: str) -> bool:
        return not self._stopping and destination_id not in self._dropping and self._is_wanted(destination_id)

    def _tell_of_disk(self, destination_id: str, fault: OSError) -> None:
        stream = self._streams.get(destination_id)
        if stream is not None:
            stream.tell_of_disk(fault)
        else:
            tell_of_held(destination_id, fault)

    def _states(self) -> dict[str, DeliveryState]:
        return {destination_id: stream.state for destination_id, stream in self._streams.items()}

    def _begin(self, destination: Destination) -> Stream | None:
        """From here on what it becomes is a change of its stream, which runs from the next look on.

        None for one that has no queue yet, so that there is nothing to book.
        """
        consumer = self._queue.consumer(destination.id)
        if consumer is None:
            return None
        consumer.set_filter(self._matcher(destination.filter))
        provider = self._providers.get(destination.provider)
        state = DeliveryState(
            consumer,
            self._clock,
            attempts_kept=self._delivery.attempts_kept,
            retry_window_s=self._retry.window_s,
            provider_window_s=provider.window_s if provider is not None else None,
        )
        if state.failed_at_s is not None and destination.resumed_at_s > state.failed_at_s:
            state.resume()
        stream = Stream(
            destination,
            consumer=consumer,
            state=state,
            make_worker=self._worker,
            make_matcher=self._matcher,
            on_flushed=self._flushed,
            clock=self._clock,
        )
        self._streams[destination.id] = stream
        started, self._started = self._started, asyncio.Event()
        started.set()
        self._transports[destination.id] = self._make_transport()
        structlog.get_logger().info(
            Event.DESTINATION_STARTED,
            destination=destination.id,
            provider=destination.provider,
            tenant=destination.tenant_id,
        )
        return stream

    async def _settle_consumers(self) -> None:
        """Those that are wanted are all there; the others go. Not by a view that may be older than the queue."""
        if all(self._queue.consumer(known) is not None for known in self._catalog.destinations()):
            self._queue.end_restoration()
        for stray in [known for known in self._queue.consumer_ids() if known not in self._streams]:
            consumer = self._queue.consumer(stray)
            if consumer is not None and not self._is_wanted(stray):
                await self._remove_consumer(stray, consumer)

    async def _forget(self, destination_id: str) -> None:
        """A destination that is gone from the store: end its stream and free what it held."""
        stream = self._streams.pop(destination_id)
        task = self._tasks.pop(destination_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._transports.pop(destination_id).close()
        await self._remove_consumer(destination_id, stream.consumer)
        self._metrics.forget_destination(destination_id)
        self._rollup.forget(destination_id)
        stream.removed.set()
        structlog.get_logger().info(Event.DESTINATION_STOPPED, destination=destination_id)

    async def _remove_consumer(self, destination_id: str, consumer: Consumer) -> None:
        """Whatever still waits goes with its destination, and not without a word.

        When the disk fails, the queue writes with a later checkpoint that it is gone.
        """
        pending = consumer.backlog().pending_events
        if pending:
            structlog.get_logger().warning(
                Event.GAP_RECORDED, destination=destination_id, reason=GapReason.FORCED_DELETE, events=pending
            )
        try:
            await self._queue.remove_consumer(destination_id)
        except OSError as error:
            tell_of_held(destination_id, error)

    async def _flushed(self, destination_id: str) -> bool:
        """Nothing waits here any more. Whether it is gone: another gateway may hold some of it."""
        is_gone = await self._finish_deletion(destination_id)
        if is_gone:
            structlog.get_logger().info(Event.DESTINATION_DELETED, destination=destination_id)
        return is_gone

    def _matcher(self, chosen: Filter) -> Matcher | None:
        return compile_filter(chosen, tell=self._unreached.look_at)

    def _worker(self, destination: Destination, consumer: Consumer, state: DeliveryState) -> Worker:
        settings = self._settings_of(destination)
        codec = self._providers[destination.provider].build(settings)
        return Worker(
            destination,
            codec=codec,
            consumer=consumer,
            sender=self._sender(destination.id, codec, self._transports[destination.id].secured(settings)),
            state=state,
            retry=self._retry,
            delivery=self._delivery,
            clock=self._clock,
            random=self._random,
            metrics=self._metrics,
        )

    def _sender(self, label: str, codec: Codec, transport: Transport) -> Sender:
        return Sender(
            codec,
            transport,
            destination_id=label,
            instance=self._instance,
            clock=self._clock,
            metrics=self._metrics,
            timeout_s=self._delivery.request_timeout_s,
        )
