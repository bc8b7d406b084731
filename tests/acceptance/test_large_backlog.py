"""A start with much that waits: soon ready, in bounded memory, with books that are right."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from pathlib import Path

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import Entry, Subject, SubjectKind
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.inspect import inspect_directory
from gateway.queue.wal.opening import open_queue
from gateway.queue.wal.writer import SEGMENT_FRAMES_MAX
from gateway.telemetry import Metrics
from tests.acceptance.audit_events import event
from tests.acceptance.gateway_process import GatewayProcess

GIB = 1 << 30
TENANTS = 20
START_CPU_S_MAX = 2.0
MEMORY_BYTES_MAX = 256 << 20
_EVENTS_IN_ENTRY = 200


async def test_a_start_with_a_large_backlog(tmp_path: Path, soak: bool) -> None:
    """With as many segments as 10 GiB have (and, in a soak, with all of their bytes, after less than two seconds of
    work) the gateway listens, knows exactly what waits, and its memory does not grow with it.
    """
    backlog_bytes, segment = (10 * GIB, "64MiB") if soak else (GIB // 6, "1MiB")
    gateway = GatewayProcess(tmp_path / "data", queue_segment=segment, queue_disk_budget="40GiB")
    try:
        await gateway.start()
        dead = {
            tenant: await gateway.api.expect(
                201, "POST", "/v1/audit/siem", json={**DEAD, **({"tenant_id": tenant} if tenant != "*" else {})}
            )
            for tenant in ("*", "tenant-7")
        }
        assert await gateway.terminate() == 0
        stored = await fill(gateway.data_dir, backlog_bytes, 64 << 20 if soak else 1 << 20)
        await gateway.start()
        cpu_s, memory_bytes = used(gateway.pid)
        print(f"{stored} events: listens after {cpu_s:.2f} s of CPU time, {memory_bytes >> 20} MiB")  # noqa: T201 - the figures
        assert cpu_s < START_CPU_S_MAX or not soak  # the time of a busy machine says nothing
        assert (await gateway.api.ledger(dead["*"]["id"]))["pending"] == stored
        assert (await gateway.api.ledger(dead["tenant-7"]["id"]))["pending"] == stored // TENANTS
        await gateway.api.until_degraded(dead["*"]["id"])
        await asyncio.sleep(3)  # some looks at retention, some reads
        assert used(gateway.pid)[1] < MEMORY_BYTES_MAX
        await gateway.kill()
        await gateway.start()
        assert (await gateway.api.ledger(dead["*"]["id"]))["pending"] == stored
    finally:
        await gateway.end()
        shutil.rmtree(gateway.data_dir)


async def test_a_start_after_many_small_commits(tmp_path: Path) -> None:
    """However small its frames, a start walks no more than so many: a segment ends after them, be it full or not."""
    gateway = GatewayProcess(tmp_path / "data", queue_segment="64MiB")
    try:
        await gateway.start()
        made = await gateway.api.expect(201, "POST", "/v1/audit/siem", json=DEAD)
        assert await gateway.terminate() == 0
        queue = await open_queue(DiskFiles(gateway.data_dir), Queue(), clock=SystemClock(), metrics=Metrics())
        entries = [
            Entry(Subject(SubjectKind.TENANT, f"tenant-{n}"), event(tenant_id=f"tenant-{n}"), 1) for n in range(500)
        ]
        for _ in range(250):
            await queue.append(entries)
        await queue.close()
        segments = (await asyncio.to_thread(inspect_directory, gateway.data_dir)).segments
        assert sum(item.frames for item in segments) == 125_000
        assert max(item.frames for item in segments) < SEGMENT_FRAMES_MAX + len(entries)  # the last commit fits whole
        await gateway.start()
        assert (await gateway.api.ledger(made["id"]))["pending"] == 125_000
    finally:
        await gateway.end()


DEAD = {"provider": "webhook", "endpoint": "http://127.0.0.1:9/nobody", "secret": "whsec_nobody"}


async def fill(data_dir: Path, size_bytes: int, segment_bytes: int) -> int:
    """Store events of all tenants until there is so much. How many."""
    settings = Queue(
        disk_budget_bytes=Bytes(1 << 40),
        segment_bytes=Bytes(segment_bytes),
        tail_bytes=Bytes(1 << 20),
        compression_level=0,
    )
    queue = await open_queue(DiskFiles(data_dir), settings, clock=SystemClock(), metrics=Metrics())
    payloads = {
        tenant: b"\n".join(event(tenant_id=tenant) for _ in range(_EVENTS_IN_ENTRY))
        for tenant in (f"tenant-{n}" for n in range(TENANTS))
    }
    entries = [
        Entry(Subject(SubjectKind.TENANT, name), payload, _EVENTS_IN_ENTRY) for name, payload in payloads.items()
    ]
    per_append = sum(map(len, payloads.values()))
    for number in itertools.count(1):
        await queue.append(entries)
        if number * per_append >= size_bytes:
            break
    await queue.close()
    return number * TENANTS * _EVENTS_IN_ENTRY


def used(pid: int) -> tuple[float, int]:
    """Seconds of CPU time and the most memory that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return cpu_s, int(lines["VmHWM"].split()[0]) << 10
