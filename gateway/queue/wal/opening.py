"""Opening a data directory: lock it, read what is there, make the first segment of this process."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog

from gateway.clock import Clock
from gateway.config import Queue
from gateway.errors import LogCorrupt
from gateway.queue import ALL_TENANTS, Subject
from gateway.queue.wal import retention
from gateway.queue.wal.cursor import Lane
from gateway.queue.wal.files import Files
from gateway.queue.wal.journal import Restored, restore
from gateway.queue.wal.log import Opened, WalQueue
from gateway.queue.wal.recovery import recover
from gateway.queue.wal.writer import Numbers, Writer
from gateway.telemetry import Event, Metrics

FORMAT = 1


class _Meta(msgspec.Struct, frozen=True):
    log_id: str
    format: int


async def open_queue(files: Files, settings: Queue, *, clock: Clock, metrics: Metrics) -> WalQueue:
    """Open the queue of a data directory, recovering whatever the last process left.

    Raises DataDirectoryInUse, LogCorrupt (the directory is of another format) or OSError.
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
    if not files.exists("META"):
        files.replace("META", msgspec.json.encode(_Meta(secrets.token_hex(16), FORMAT)))
    log_id = read_log_id(files)
    restored = restore(files, log_id)
    recovered = recover(files, log_id=log_id, proven=restored.proven)
    _raise_numbers(recovered.numbers, restored)
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


def read_log_id(files: Files) -> bytes:
    """The random name of the log in this directory. Raises LogCorrupt when the format is not ours."""
    file = files.open("META")
    try:
        meta = msgspec.json.decode(file.read_at(0, file.size()), type=_Meta)
    except msgspec.MsgspecError as error:
        raise LogCorrupt(
            f"the file META of the data directory cannot be read ({error}); restore it from a backup"
        ) from error
    finally:
        file.close()
    if meta.format != FORMAT:
        raise LogCorrupt(
            f"the data directory has format {meta.format}, this version reads {FORMAT}: use a newer gateway"
        )
    return bytes.fromhex(meta.log_id)


def _raise_numbers(numbers: Numbers, restored: Restored) -> None:
    """Numbers are never used twice: what a consumer has passed stays passed, also where its segments are gone or
    lost.
    """
    for state in restored.states.values():
        floor = state.floor
        numbers.next_offset = max(numbers.next_offset, floor.offset)
        for lane, name in (
            (Lane.TENANT, state.tenant_id),
            (Lane.BACKFILL, state.consumer_id),
            (Lane.REPLAY, state.consumer_id),
        ):
            if lane is Lane.TENANT and name == ALL_TENANTS:
                numbers.next_stream_sequence = max(numbers.next_stream_sequence, floor.tenant)
            else:
                subject = Subject(lane, name)
                known = numbers.next_sequence.get(subject, 0)
                numbers.next_sequence[subject] = max(known, floor.sequence(lane))
