"""What is measured. Each scenario starts a gateway of its own and returns a row of figures."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import msgspec

from benchmarks import producer
from benchmarks.process import KEY, Gateway
from benchmarks.receiver import Counts, Shared, counts, serve


class Row(msgspec.Struct, frozen=True):
    scenario: str
    figures: dict[str, float | int | str]


@contextmanager
def house(events: int, **settings: str) -> Iterator[tuple[Gateway, Shared]]:
    """A receiver, a gateway and one Splunk destination with gzip."""
    shared = Shared(events)
    receiver = get_context("spawn").Process(target=serve, args=(shared,), daemon=True)
    receiver.start()
    while not shared.port.value:
        time.sleep(0.01)
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        gateway = Gateway(Path(folder) / "data", **settings)
        try:
            gateway.call(
                "POST",
                "/v1/audit/siem",
                {"provider": "splunk", "endpoint": f"http://127.0.0.1:{shared.port.value}", "token": "bench"},
            )
            yield gateway, shared
        finally:
            gateway.stop()
            receiver.terminate()
            receiver.join()


def wait_for(shared: Shared, expected: int, timeout_s: float = 600) -> Counts:
    deadline_s = time.monotonic() + timeout_s
    while shared.received.value < expected and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return counts(shared, expected)


def throughput(per_request: int, events: int, connections: int) -> Row:
    """Batches through fsync to a gzip HEC receiver, as fast as they are taken."""
    with house(events) as (gateway, shared):
        cpu_before_s, began_s = gateway.cpu_s(), time.monotonic()
        load = asyncio.run(
            producer.pushed(gateway.port, KEY, first=0, count=events, per_request=per_request, connections=connections)
        )
        counted = wait_for(shared, events)
        seconds = time.monotonic() - began_s
        return Row(
            f"{per_request} events a request, {connections} connections",
            {
                "events/s": round(events / seconds),
                "accepted/s": round(events / load.seconds),
                "cpu s per million": round((gateway.cpu_s() - cpu_before_s) / events * 1e6, 2),
                "peak MiB": round(gateway.memory_mib("VmHWM")),
                "answer p99 ms": percentile(load.answers_us, 0.99) / 1000,
                "lost": counted.lost,
                "duplicated": counted.duplicated,
            },
        )


def latency(rate: int, seconds: float) -> Row:
    """Single events at a steady rate: from the moment each was due to its arrival at the receiver."""
    events = int(rate * seconds)
    with house(events) as (gateway, shared):
        load = asyncio.run(producer.paced(gateway.port, KEY, first=0, rate=rate, seconds=seconds, connections=32))
        counted = wait_for(shared, events, timeout_s=30)
        arrived_us = list(shared.latencies_us[: shared.latency_count.value])
        return Row(
            f"{rate} single events/s",
            {
                "delivered p50 ms": percentile(arrived_us, 0.5) / 1000,
                "delivered p99 ms": percentile(arrived_us, 0.99) / 1000,
                "answer p50 ms": percentile(load.answers_us, 0.5) / 1000,
                "answer p99 ms": percentile(load.answers_us, 0.99) / 1000,
                "lost": counted.lost,
                "duplicated": counted.duplicated,
            },
        )


def backlog(events: int) -> Row:
    """Events that wait for a dead destination, and the drain when it is back."""
    with house(events) as (gateway, shared):
        shared.failing.value = True
        memory_mib: list[float] = []
        step = events // 10
        for first in range(0, events, step):
            asyncio.run(producer.pushed(gateway.port, KEY, first=first, count=step, per_request=1000, connections=4))
            memory_mib.append(gateway.memory_mib())
        shared.failing.value = False
        began_s = time.monotonic()
        while not shared.received.value:
            time.sleep(0.01)
        waited_s = time.monotonic() - began_s
        counted = wait_for(shared, events)
        return Row(
            f"{events:,} events wait for a dead destination",
            {
                "MiB after 10 %": round(memory_mib[0]),
                "MiB after 50 %": round(memory_mib[len(memory_mib) // 2]),
                "MiB after 100 %": round(memory_mib[-1]),
                "back after s": round(waited_s, 1),
                "drained/s": round(events / (time.monotonic() - began_s - waited_s)),
                "lost": counted.lost,
                "duplicated": counted.duplicated,
            },
        )


def percentile(values: list[int], share: float) -> float:
    ordered = sorted(values)
    return float(ordered[min(int(len(ordered) * share), len(ordered) - 1)]) if ordered else float("nan")
