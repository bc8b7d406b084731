"""What is measured. A scenario starts what it measures afresh and returns rows of figures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import limits
from benchmarks.measured import Gateway, Measured
from benchmarks.producer import Load, Producers, Target, http_head, produce
from benchmarks.receiver import Receiver
from benchmarks.report import Row, percentiles_ms

DEPTH_CONNECTIONS = {1: 64, 100: 16, 1000: 8}  # how many connections push, by events a request


class Size(msgspec.Struct, frozen=True):
    """How much is sent; ``quick`` sizes show the same with more noise."""

    events: int = 2_000_000
    singles: int = 400_000
    seconds: float = 15.0
    backlog: int = 5_000_000
    restart_mib: tuple[int, ...] = (0, 1024, 5120)
    destinations: int = 1_000
    idle_s: float = 20.0


FULL = Size()
QUICK = Size(
    events=400_000, singles=60_000, seconds=5.0, backlog=500_000, restart_mib=(0, 256), destinations=200, idle_s=8.0
)


def load_of(per_request: int, size: Size, share: int = 1, *, connections: int = 0, tenants: int = 1) -> Load:
    events = size.singles if per_request == 1 else size.events
    depth = connections or DEPTH_CONNECTIONS[per_request]
    return Load(per_request, max(1, events // per_request // share), connections=depth, tenants=tenants)


@contextmanager
def gateway(**settings: str) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        running = Gateway(Path(folder) / "data", **settings)
        try:
            yield running
        finally:
            running.stop()


# -- throughput


def throughput(
    name: str, load: Load, *, provider: str = "splunk", destinations: int = 1, latency_s: float = 0.0
) -> Row:
    """As fast as it is taken, through the disk, until the last event has arrived everywhere."""
    receiving = Receiver(load.events, per_request=load.per_request, destinations=destinations, latency_s=latency_s)
    with receiving as receiver, gateway() as running:
        for number in range(destinations):
            tenant_number = number if load.tenants > 1 else None
            running.add_destination(number, receiver.port, provider, tenant_number=tenant_number)
        return measure_throughput(name, running, receiver, load)


def measure_throughput(name: str, measured: Measured, receiver: Receiver, load: Load) -> Row:
    """``events/s`` counts each accepted event once, to however many destinations it goes."""
    copies = receiver.shared.destinations // load.tenants
    producers = Producers(measured.target, load)
    cpu_s, began_s = measured.usage.cpu_s(), time.monotonic()
    producers.start()
    sent = producers.result()
    seconds = receiver.wait_for(load.events * copies) - began_s
    cpu_s = measured.usage.cpu_s() - cpu_s
    counts = receiver.counts(share=load.tenants)
    million = load.events / 1e6
    return Row(
        name,
        {
            "events/s": round(load.events / seconds),
            "accepted/s": round(load.events / sent.seconds),
            "CPU s per million": round(cpu_s / million, 2),
            "peak MiB": round(measured.usage.memory_mib("VmHWM")),
            **percentiles_ms("answer", sent.answers_us),
            "events a delivery": round(receiver.received / max(1, receiver.shared.requests.value)),
            "lost": counts.lost,
            "duplicated": counts.duplicated,
            "producer CPU s per million": round(sent.cpu_s / million, 2),
            "receiver CPU s per million": round(receiver.shared.cpu_s.value / million, 2),
        },
    )


def batches(size: Size) -> list[Row]:
    """1, 100 and 1,000 events a request to one HEC with gzip; single ones over 64 and over 256 connections."""
    many = throughput("1 a request, 256 connections", load_of(1, size, connections=256))
    one, *others = [throughput(f"{n} a request", load_of(n, size)) for n in (1, 100, 1000)]
    return [one, many, *others]


def destinations(size: Size) -> list[Row]:
    """One, four and sixteen HEC destinations of everything, 1,000 events a request."""
    return [throughput(f"{n} destinations", load_of(1000, size, n), destinations=n) for n in (1, 4, 16)]


def tenants(size: Size) -> list[Row]:
    """1, 100 and 1,000 tenants, each with a HEC destination of its own; 100 events of one tenant a request."""
    loads = ((n, load_of(100, size, 2, tenants=n)) for n in (1, 100, 1000) if n <= size.destinations)
    return [throughput(f"{n} tenants", whole(load), destinations=n) for n, load in loads]


def whole(load: Load) -> Load:
    """As many requests for each tenant as for any other."""
    return msgspec.structs.replace(load, requests=max(1, load.requests // load.tenants) * load.tenants)


def compression(size: Size) -> list[Row]:
    """HEC and Elasticsearch take gzip, a webhook gets its bodies plain."""
    names = {"splunk": "HEC, gzip", "elastic": "Elasticsearch, gzip", "webhook": "webhook, plain"}
    return [throughput(name, load_of(1000, size), provider=provider) for provider, name in names.items()]


def receiver_latency(size: Size) -> list[Row]:
    """A receiver that answers after 0, 50 and 200 ms."""
    return [throughput(f"{ms} ms", load_of(1000, size, 1 if not ms else 4), latency_s=ms / 1000) for ms in (0, 50, 200)]


# -- latency


def latency(size: Size) -> list[Row]:
    """Single events at a steady rate: from the moment each was due to its arrival at the receiver."""
    rows = []
    for rate in (1000, 10_000):
        load = Load(1, int(rate * size.seconds), connections=64, rate=rate)
        with Receiver(load.events, per_request=1, timed=True) as receiver, gateway() as running:
            running.add_destination(0, receiver.port)
            rows.append(measure_latency(f"{rate:,} events/s", running, receiver, load))
    return rows


def measure_latency(name: str, measured: Measured, receiver: Receiver, load: Load) -> Row:
    producers = Producers(measured.target, load)
    cpu_s = measured.usage.cpu_s()
    producers.start()
    sent = producers.result()
    receiver.wait_for(load.events)
    counts = receiver.counts()
    return Row(
        name,
        {
            **percentiles_ms("delivered", receiver.latencies_us()),
            **percentiles_ms("answer", sent.answers_us),
            "% of a core": round((measured.usage.cpu_s() - cpu_s) / sent.seconds * 100, 1),
            "lost": counts.lost,
            "duplicated": counts.duplicated,
        },
    )


# -- backlog, restart, idle


def backlog(size: Size) -> list[Row]:
    """Events that wait for a dead destination, its return, and the drain while new events come."""
    waiting = Load(1000, size.backlog // 1000, connections=8)
    fresh = Load(1000, max(20, waiting.requests // 25), first=waiting.requests, connections=4, rate=20)
    total = waiting.events + fresh.events
    with Receiver(total, per_request=1000) as receiver, gateway() as running:
        running.add_destination(0, receiver.port)
        receiver.shared.failing.value = True
        filled = produce(running.target, waiting)
        memory_mib = running.usage.memory_mib()
        newcomers = Producers(running.target, fresh)
        cpu_s = running.usage.cpu_s()
        receiver.shared.failing.value = False
        back_s = time.monotonic()
        receiver.wait_for(1)
        began_s = time.monotonic()
        newcomers.start()
        seconds = receiver.wait_for(waiting.events) - began_s
        sent = newcomers.result()
        receiver.wait_for(total)
        counts = receiver.counts()
        return [
            Row(
                f"{waiting.events:,} waiting",
                {
                    "accepted/s while away": round(waiting.events / filled.seconds),
                    "MiB when all wait": round(memory_mib),
                    "back after s": round(began_s - back_s, 2),
                    "drained/s": round(waiting.events / seconds),
                    "CPU s per million": round((running.usage.cpu_s() - cpu_s) / total * 1e6, 2),
                    "peak MiB": round(running.usage.memory_mib("VmHWM")),
                    **percentiles_ms("answer while draining", sent.answers_us),
                    "lost": counts.lost,
                    "duplicated": counts.duplicated,
                },
            )
        ]


def restart(size: Size) -> list[Row]:
    """From the start of the process to its first answer, after a kill, by what waits in the log."""
    rows = []
    for mib in size.restart_mib:
        with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
            data_dir = Path(folder) / "data"
            # without compression, so that the log grows as fast as the disk lets it
            settings = {"GATEWAY_QUEUE_COMPRESSION_LEVEL": "0", "GATEWAY_QUEUE_DISK_BUDGET": "64GiB"}
            running = Gateway(data_dir, **settings)
            running.add_destination(0, 9)  # nothing listens there
            if mib:
                produce(running.target, Load(1000, mib * 2**20 // 555_000, connections=8))
            running.kill()
            on_disk_mib = sum(path.stat().st_size for path in (data_dir / "log").glob("*.seg")) / 2**20
            began_s = time.monotonic()
            running = Gateway(data_dir, **settings)
            ready = running.call("GET", "/readyz")
            seconds = time.monotonic() - began_s
            rows.append(
                Row(
                    f"{mib:,} MiB waiting",
                    {
                        "log MiB": round(on_disk_mib),
                        "ready after s": round(seconds, 2),
                        "CPU s": round(running.usage.cpu_s(), 2),
                        "MiB": round(running.usage.memory_mib()),
                    },
                )
            )
            assert ready is not None
            running.stop()
    return rows


def idle(size: Size) -> list[Row]:
    """Destinations that have nothing to do: before their first event, and after each has had one."""
    count = size.destinations
    with Receiver(count, per_request=1, destinations=count) as receiver, gateway() as running:
        empty_mib = running.usage.memory_mib()
        for number in range(count):
            running.add_destination(number, receiver.port, tenant_number=number)
        fresh = _idle_for(running, size.idle_s)
        fresh_mib = running.usage.memory_mib()
        load = Load(1, count, tenants=count, connections=8)
        produce(running.target, load)
        receiver.wait_for(count)
        used = _idle_for(running, size.idle_s)
        return [
            Row(
                f"{count:,} destinations",
                {
                    "MiB without any": round(empty_mib),
                    "MiB": round(fresh_mib),
                    "% of a core": fresh,
                    "MiB after an event each": round(running.usage.memory_mib()),
                    "% of a core after an event each": used,
                },
            )
        ]


def _idle_for(running: Gateway, seconds: float) -> float:
    time.sleep(1)
    cpu_s = running.usage.cpu_s()
    time.sleep(seconds)
    return round((running.usage.cpu_s() - cpu_s) / seconds * 100, 2)


# -- the harness itself and the machine


def headroom(size: Size) -> list[Row]:
    """The producer against the receiver with nothing between: what the harness itself can do."""
    rows = []
    for per_request in (1, 100, 1000):
        load = load_of(per_request, size)
        with Receiver(load.events, per_request=per_request) as receiver:
            began_s = time.monotonic()
            sent = produce(Target(receiver.port, head=http_head("/d0/services/collector/event")), load)
            seconds = sent.seconds
            assert receiver.received == load.events, began_s
            rows.append(
                Row(
                    f"{per_request} a request",
                    {
                        "events/s": round(load.events / seconds),
                        "requests/s": round(load.requests / seconds),
                        "producer CPU s per million": round(sent.cpu_s / load.events * 1e6, 2),
                        "receiver CPU s per million": round(receiver.shared.cpu_s.value / load.events * 1e6, 2),
                    },
                )
            )
    return rows


def machine(size: Size) -> list[Row]:
    """What no gateway on this machine can beat: the check of the events, gzip, the disk."""
    return limits.measure()


SCENARIOS: dict[str, Callable[[Size], list[Row]]] = {
    "headroom": headroom,
    "limits": machine,
    "batches": batches,
    "destinations": destinations,
    "tenants": tenants,
    "compression": compression,
    "receiver_latency": receiver_latency,
    "latency": latency,
    "backlog": backlog,
    "restart": restart,
    "idle": idle,
}
