"""One destination as the supervisor runs it: the consumer and the state that outlive its workers, and the worker of
the moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.clock import Clock
from gateway.delivery.reason import SEALED
from gateway.delivery.state import DeliveryState
from gateway.delivery.waiting import first_of
from gateway.delivery.worker import Worker
from gateway.destinations.store import Destination, Filter
from gateway.errors import CredentialsSealed, StoreUnavailable
from gateway.queue import Consumer, GapReason, Matcher
from gateway.telemetry import Event

RESTART_S = 1.0
RESTART_MAX_S = 60.0
_SKIP_INTERVAL_S = 1.0
_OTHERS_S = 5.0  # between two looks whether other gateways have flushed it too


class Stream:
    """``make_worker`` builds a worker for the present configuration; it may raise when that cannot be used.

    ``on_flushed`` finishes a deletion and says whether the destination is gone.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        consumer: Consumer,
        state: DeliveryState,
        make_worker: Callable[[Destination, Consumer, DeliveryState], Worker],
        make_matcher: Callable[[Filter], Matcher | None],
        on_flushed: Callable[[str], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self.destination = destination
        self.consumer = consumer
        self.state = state
        self.removed = asyncio.Event()
        self.changing = asyncio.Lock()  # held by whoever calls ``change``
        self._make_worker, self._make_matcher = make_worker, make_matcher
        self._on_flushed = on_flushed
        self._clock = clock
        self._changed = asyncio.Event()
        self._stopping = False
        self._worker: Worker | None = None
        self._running: set[asyncio.Task[Exception | None]] = set()  # the worker, and those before it that still send

    async def change(self, destination: Destination) -> None:
        """Apply a new configuration to everything that is not in flight, at once; one that keeps the order lets that
        end first.

        What came for one that took nothing is booked first, and durably: a crash must not bring those events back.
        Raises OSError, and then nothing is applied unless the books alone could not be made durable.
        """
        was_skipping = self._skip_reason() is not None
        await self.skip_now()
        self._apply(destination)
        if was_skipping and self._skip_reason() is None:
            await self.consumer.checkpoint()

    def _apply(self, destination: Destination) -> None:
        if destination.resumed_at_s != self.destination.resumed_at_s:  # not "later": the clock may have been set back
            self.state.resume()
        if self.destination.enabled and not destination.enabled:
            self.state.disabled(destination.updated_at_s)
        if destination.filter != self.destination.filter:
            self.consumer.set_filter(self._make_matcher(destination.filter))
        self.destination = destination
        self._changed.set()
        if self._worker is not None:
            self._worker.stop()

    def stop(self) -> None:
        """Start no further attempt. ``run`` returns once what is in flight has ended."""
        self._stopping = True
        self._apply(self.destination)

    async def run(self) -> None:
        """Until stopped or removed. A bug in a worker ends at this guard: it is recorded once and the worker starts
        anew.
        """
        failures = 0
        async with asyncio.TaskGroup() as draining:
            while not self._stopping and not self.removed.is_set():
                self._changed.clear()
                try:
                    await self._run_once(draining)
                    failures = 0
                except StoreUnavailable as error:  # only the removal of a flushed destination needs the store
                    structlog.get_logger().warning(
                        Event.STORE_UNAVAILABLE, destination=self.destination.id, error=str(error)
                    )
                    await self._rest(RESTART_S)
                except CredentialsSealed as error:
                    self._tell_of_sealed(error)
                    await self._rest(RESTART_MAX_S)
                except Exception as error:  # noqa: BLE001 - the guard around one destination: no fault of it may reach the others
                    if (fault := _disk_fault(error)) is not None:
                        self.tell_of_disk(fault)
                        await self._rest(RESTART_S)
                        continue
                    failures += 1
                    delay_s = min(RESTART_S * 2.0 ** min(failures, 10), RESTART_MAX_S)
                    structlog.get_logger().error(
                        Event.DESTINATION_CRASHED, destination=self.destination.id, restart_s=delay_s, exc_info=error
                    )
                    await self._rest(delay_s)

    def tell_of_disk(self, fault: OSError) -> None:
        """What the provider refused, or a gap, cannot be kept now: it stays pending and is tried again."""
        self.state.refused(
            "disk", "the disk of the data directory fails, so a refused event or a gap cannot be kept: wait for it"
        )
        tell_of_held(self.destination.id, fault)

    def _tell_of_sealed(self, error: CredentialsSealed) -> None:
        """Nothing can be sent, and nothing is lost: it is no outage of the provider, whose window would end."""
        self.state.refused(SEALED, str(error))
        structlog.get_logger().error(Event.DESTINATION_SEALED, destination=self.destination.id, remedy=str(error))

    async def _rest(self, seconds: float) -> None:
        """A change, or the stop, ends it."""
        await first_of(self._changed.wait(), self._clock.sleep(seconds))

    async def skip_now(self) -> None:
        """Book what came for a destination that takes nothing, up to now."""
        reason = self._skip_reason()
        if reason is not None:
            await self.consumer.drop_pending(reason)

    async def _run_once(self, draining: asyncio.TaskGroup) -> None:
        if self.destination.deleting:
            await self.consumer.end_intake()
        if self._skip_reason() is not None:
            await self._skip_until_changed()
            return
        if self.destination.ordered and self._running:  # what those send must not arrive behind what comes now
            await first_of(asyncio.wait(set(self._running)), self._changed.wait())
            if self._changed.is_set():
                return
        worker = self._make_worker(self.destination, self.consumer, self.state)
        self._worker = worker
        running = draining.create_task(_collect(worker))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({running, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._worker = None
            changed.cancel()
            if not self._changed.is_set():
                running.cancel()
        if running.done():
            error = running.result()
            if error is not None:
                raise error
            await self._finish_deletion()
        elif self._stopping:
            await asyncio.wait({running})

    async def _skip_until_changed(self) -> None:
        """Nothing is kept for a disabled or failed destination: what comes goes into a gap."""
        while not self._changed.is_set():
            await self.skip_now()
            await self._finish_deletion()
            if self.removed.is_set():
                return
            if self.destination.deleting:  # nothing comes any more: what is in flight ends, or other gateways do
                await self._rest(_SKIP_INTERVAL_S)
                continue
            await first_of(self.consumer.wait(), self._changed.wait())
            if not self._changed.is_set():
                await self._clock.sleep(_SKIP_INTERVAL_S)

    def _skip_reason(self) -> GapReason | None:
        if not self.destination.enabled:
            return GapReason.DISABLED
        return GapReason.RETRIES_EXHAUSTED if self.state.failed_at_s is not None else None

    async def _finish_deletion(self) -> None:
        if not self.destination.deleting or self.consumer.backlog().pending_events:
            return
        if await self._on_flushed(self.destination.id):
            self.removed.set()
        else:
            await self._rest(_OTHERS_S)


def tell_of_held(destination_id: str, fault: OSError) -> None:
    structlog.get_logger().warning(
        Event.DESTINATION_HELD,
        destination=destination_id,
        error=str(fault),
        remedy="free space on the disk of the data directory, or check it",
    )


def _disk_fault(error: Exception) -> OSError | None:
    """The queue's disk is the only thing that raises OSError here: what goes wrong on the wire is an outcome."""
    disk, others = error.split(OSError) if isinstance(error, ExceptionGroup) else (error, None)
    if disk is None or others is not None:
        return None
    while isinstance(disk, ExceptionGroup):
        disk = disk.exceptions[0]
    return disk if isinstance(disk, OSError) else None


async def _collect(worker: Worker) -> Exception | None:
    """Run a worker to its end; its fault is a value, so that it cannot cancel the tasks beside it."""
    try:
        await worker.run()
    except Exception as error:  # noqa: BLE001 - handed to the guard in Stream.run
        return error
    return None
