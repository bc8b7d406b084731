"""The newest events of a tenant that are still in the log, from memory and from disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import ALL_TENANTS, Entry, Subject, SubjectKind
from gateway.queue.wal import newest
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics

IN_MEMORY = Queue(segment_bytes=Bytes(1 << 20), tail_bytes=Bytes(64 << 20))
ON_DISK = Queue(
    disk_budget_bytes=Bytes(8 << 20),
    segment_bytes=Bytes(256 << 10),
    tail_bytes=Bytes(64 << 10),
    compression_level=0,
)


def line(tenant_id: str, number: int, padding: int = 0) -> bytes:
    return b'{"id":"%s-%d","padding":"%s"}' % (tenant_id.encode(), number, b"x" * padding)


async def put(queue: WalQueue, tenant_id: str, first: int, count: int, padding: int = 0) -> None:
    lines = b"\n".join(line(tenant_id, number, padding) for number in range(first, first + count))
    await queue.append([Entry(Subject(SubjectKind.TENANT, tenant_id), lines, count)])


async def opened(folder: Path, settings: Queue) -> WalQueue:
    files = await asyncio.to_thread(DiskFiles, folder)
    queue = await open_queue(files, settings, clock=SystemClock(), metrics=Metrics())
    await queue.add_consumer("siem_keeps", ALL_TENANTS)
    return queue


@pytest.fixture(params=[IN_MEMORY, ON_DISK], ids=["memory", "disk"])
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WalQueue]:
    queue = await opened(tmp_path / "data", request.param)
    yield queue
    await queue.close()


async def test_the_newest_of_a_tenant_come_first(queue: WalQueue) -> None:
    """As many as are asked for, over the borders of frames and segments, and nothing of another tenant."""
    for first in range(0, 600, 20):
        await put(queue, "a", first, 20, padding=1_000)
        await put(queue, "b", first, 5, padding=1_000)
    found = await queue.newest("a", 333)
    assert found == [line("a", number, 1_000) for number in reversed(range(600 - 333, 600))]
    assert await queue.newest("b", 7) == [line("b", number, 1_000) for number in (584, 583, 582, 581, 580, 564, 563)]


async def test_an_operator_sees_those_of_all_tenants(queue: WalQueue) -> None:
    """In the order of the log."""
    for number in range(100):
        await put(queue, "ab"[number % 2], number, 1, padding=2_000)
    assert await queue.newest(ALL_TENANTS, 3) == [
        line("b", 99, 2_000),
        line("a", 98, 2_000),
        line("b", 97, 2_000),
    ]
    assert len(await queue.newest(ALL_TENANTS, 1_000)) == 100


async def test_what_is_addressed_to_one_consumer_is_not_among_them(queue: WalQueue) -> None:
    """A backfill belongs to its destination alone."""
    await put(queue, "a", 1, 1)
    await queue.append([Entry(Subject(SubjectKind.BACKFILL, "siem_keeps"), b'{"id":"old"}', 1)])
    assert await queue.newest("a", 10) == await queue.newest(ALL_TENANTS, 10) == [line("a", 1)]


async def test_a_tenant_without_events_has_none(queue: WalQueue) -> None:
    """Also when others have."""
    assert await queue.newest(ALL_TENANTS, 10) == []
    await put(queue, "a", 1, 1)
    assert await queue.newest("nobody", 10) == []


async def test_segments_are_searched_once_at_a_time(tmp_path: Path) -> None:
    """However many ask, and not at all for a tenant that never had an event."""
    queue = await opened(tmp_path / "data", ON_DISK)
    await put(queue, "a", 0, 10)
    await put(queue, "b", 0, 100, padding=1_000)  # nothing of a's is in memory now
    searching, most, searches = 0, 0, 0
    search = newest._payloads

    def noted(*arguments: Any) -> list[bytes]:
        nonlocal searching, most, searches
        searching, searches = searching + 1, searches + 1
        most = max(most, searching)
        found = search(*arguments)
        time.sleep(0.01)
        searching -= 1
        return found

    with mock.patch.object(newest, "_payloads", noted):
        found = await asyncio.gather(*(queue.newest("a", 2) for _ in range(8)), queue.newest("nobody", 2))
    assert found == [[line("a", 9), line("a", 8)]] * 8 + [[]]
    assert (most, searches) == (1, 8)
    await queue.close()


async def test_they_are_found_again_after_a_restart(tmp_path: Path) -> None:
    """Memory is empty then; the segments are not."""
    queue = await opened(tmp_path / "data", IN_MEMORY)
    await put(queue, "a", 0, 50)
    await queue.close()
    queue = await opened(tmp_path / "data", IN_MEMORY)
    await put(queue, "a", 50, 1)
    assert await queue.newest("a", 10) == [line("a", number) for number in range(50, 40, -1)]
    assert len(await queue.newest("a", 100)) == 51
    await queue.close()


async def test_large_events_are_fewer(queue: WalQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is bounded in bytes, and the newest event is in it however large."""
    monkeypatch.setattr(newest, "BYTES_MAX", 100_000)
    for number in range(20):
        await put(queue, "a", number, 1, padding=30_000)
    assert await queue.newest("a", 1_000) == [line("a", number, 30_000) for number in (19, 18, 17)]
    await put(queue, "a", 20, 1, padding=200_000)
    assert await queue.newest("a", 1_000) == [line("a", 20, 200_000)]


def test_lines_are_counted_from_the_last_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of which only a part is wanted gives its last lines."""
    payloads = [b"1\n2", b"3\n4\n5"]
    assert newest.last_lines(payloads, 4) == [b"5", b"4", b"3", b"2"]
    assert newest.last_lines([], 4) == []
    monkeypatch.setattr(newest, "BYTES_MAX", 2)
    assert newest.last_lines(payloads, 9) == [b"5", b"4"]
