"""Opening a data directory: lock it, read what is there, make the first segment of this process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog

from gateway.clock import Clock
from gateway.config import Queue
from gateway.queue import ALL_TENANTS, Subject
from gateway.queue.wal import journal, meta, retention
from gateway.queue.wal.cursor import Lane
from gateway.queue.wal.files import Files
from gateway.queue.wal.journal import Restored
from gateway.queue.wal.log import Opened, WalQueue
from gateway.queue.wal.recovery import recover
from gateway.queue.wal.writer import Numbers, Writer
from gateway.telemetry import Event, Metrics


async def open_queue(files: Files, settings: Queue, *, clock: Clock, metrics: Metrics) -> WalQueue:
    """Open the queue of a data directory, recovering whatever the last process left.

    Raises DataDirectoryInUse, LogCorrupt (the directory is of another format, or nothing tells which log it is) or
    OSError.
    """
    spares = ThreadPoolExecutor(1, "log-spare")
    opened = await asyncio.to_thread(open_directory, files, settings, clock, spares)
    queue = WalQueue(opened, settings, clock=clock, metrics=metrics, spares=spares)
    await queue.restore_consumers(opened.restored)
    structlog.get_logger().info(
        Event.LOG_OPENED,
        events=queue.end().offset,
        consumers=len(queue.consumer_ids()),
        segments=queue.status().segments,
    )
    return queue


def open_directory(files: Files, settings: Queue, clock: Clock, spares: ThreadPoolExecutor) -> Opened:
    """Lock, read what is there, and make the first segment of this process. Blocks."""
    files.lock("LOCK")
    log_id = meta.establish(files)
    restored = journal.recovered(files, log_id)
    recovered = recover(files, log_id=log_id, proven=restored.proven)
    if restored.is_lost and recovered.numbers.next_offset:
        restored.is_damaged = True  # there are events, and no checkpoint at all
    recovered.numbers.raise_to(restored.numbers)
    recovered.numbers.raise_to(_passed(restored))
    segment_bytes = retention.segment_bytes_of(settings.disk_budget_bytes, settings.segment_bytes)
    writer = Writer(
        files,
        log_id=log_id,
        numbers=recovered.numbers,
        previous=recovered.previous,
        next_segment_id=recovered.next_segment_id,
        segment_bytes=segment_bytes,
        compression_level=settings.compression_level,
        now_us=lambda: int(clock.time_s() * 1e6),
        spare_executor=spares,
    )
    for index, item in enumerate(recovered.segments):
        if item.segment_id == recovered.previous[0] and item.file_bytes > item.durable_end:
            files.truncate(item.name, item.durable_end)
            recovered.segments[index] = msgspec.structs.replace(item, file_bytes=item.durable_end)
    return Opened(files, log_id, writer, recovered, restored, segment_bytes)


def _passed(restored: Restored) -> Numbers:
    """What consumers have passed stays passed, also where its segments are gone or lost."""
    numbers = Numbers()
    for state in restored.states.values():
        lanes = ((Lane.TENANT, state.tenant_id), (Lane.BACKFILL, state.consumer_id), (Lane.REPLAY, state.consumer_id))
        of_all = state.tenant_id == ALL_TENANTS
        numbers.raise_to(
            Numbers(
                state.floor.offset,
                state.floor.tenant if of_all else 0,
                {Subject(lane, name): state.floor.sequence(lane) for lane, name in lanes if name != ALL_TENANTS},
            )
        )
    return numbers
