"""What ``/metrics`` shows of ingest and of the books: read at scrape time from where it is known, so that nothing is
counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.delivery import Streams
from gateway.delivery.health import BreakerState, Status
from gateway.destinations.catalog import Catalog
from gateway.destinations.store import Destination
from gateway.queue import EventQueue, Ledger

_LABELS = ("destination", "provider")
_COUNTERS: Mapping[str, str] = {
    "accepted": "Events accepted for the destination since it was created.",
    "delivered": "Events that its provider has.",
    "dropped": "Events in gaps.",
    "filtered": "Events that its filter leaves out.",
}


class IngestCounts(Collector):
    """What became of the requests to ingest. Plain numbers: a small request costs less than the library's counters."""

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}
        self.events = self.event_bytes = self.rejections = 0

    def add(
        self, status: int, events: int = 0, event_bytes: int = 0, rejections: int = 0, *, requests: int = 1
    ) -> None:
        self.requests[status] = self.requests.get(status, 0) + requests
        self.events += events
        self.event_bytes += event_bytes
        self.rejections += rejections

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("gateway_ingest_requests", "Ingest requests by answer.", labels=["status"])
        for status, count in self.requests.items():
            requests.add_metric([str(status)], count)
        yield requests
        for name, text, value in (
            ("gateway_ingest_events", "Events accepted, each durable when counted.", self.events),
            ("gateway_ingest_bytes", "Bytes of accepted events, decoded.", self.event_bytes),
            ("gateway_ingest_rejections", "Events that were refused as invalid.", self.rejections),
        ):
            yield CounterMetricFamily(name, text, value=value)


class BooksCollector(Collector):
    """Whoever reaches the listener may scrape: which tenants there are is told only ``with_tenants``."""

    def __init__(self, catalog: Catalog, queue: EventQueue, streams: Streams, *, with_tenants: bool) -> None:
        self._catalog, self._queue, self._streams = catalog, queue, streams
        self._with_tenants = with_tenants
        self._labels = (*_LABELS, "tenant") if with_tenants else _LABELS

    def collect(self) -> Iterator[Metric]:
        yield from self._log()
        yield from self._destinations()

    def _log(self) -> Iterator[Metric]:
        status = self._queue.status()
        for name, text, value in (
            ("gateway_log_bytes", "Bytes of the queue on disk.", status.disk_bytes),
            ("gateway_log_budget_bytes", "Bytes that the queue may have on disk.", status.disk_budget_bytes),
            ("gateway_log_segments", "Segments on disk.", status.segments),
            ("gateway_log_ready", "1 while the queue takes events.", int(not status.problem)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        yield CounterMetricFamily(
            "gateway_log_events", "Events in the log since it was made.", value=status.events_total
        )

    def _destinations(self) -> Iterator[Metric]:
        counters = {
            name: CounterMetricFamily(f"gateway_{name}_events", text, labels=self._labels)
            for name, text in _COUNTERS.items()
        }
        gauges = {
            name: GaugeMetricFamily(f"gateway_{name}", text, labels=self._labels)
            for name, text in (
                ("dead_lettered_events", "Events that the provider refused for good, less those replayed."),
                ("pending_events", "Events that wait for the destination."),
                ("pending_bytes", "About how many bytes wait for the destination."),
                ("lag_seconds", "Age of the oldest undelivered event."),
                ("consecutive_failures", "Attempts that failed since the last success."),
                ("ledger_imbalance_events", "Accepted events that the books do not account for. Must be 0."),
            )
        }
        at_risk = GaugeMetricFamily(
            "gateway_events_at_risk_timestamp_seconds",
            "When the first pending event will be lost if the outage goes on. Only while one is on.",
            labels=self._labels,
        )
        breaker = GaugeMetricFamily(
            "gateway_breaker_state", "1 for the state that it is in.", labels=(*self._labels, "state")
        )
        status = GaugeMetricFamily(
            "gateway_destination_status", "1 for the status that it has.", labels=(*self._labels, "status")
        )
        for destination in self._catalog.destinations().values():
            consumer, health = self._queue.consumer(destination.id), self._streams.health(destination.id)
            if consumer is None or health is None:
                continue
            labels = self._labels_of(destination)
            ledger = consumer.ledger()
            for name, counter in counters.items():
                counter.add_metric(labels, getattr(ledger, name))
            for name, value in _gauge_values(ledger, health.pending_bytes, health.lag_s, health.consecutive_failures):
                gauges[name].add_metric(labels, value)
            if health.events_at_risk_at_s is not None:
                at_risk.add_metric(labels, health.events_at_risk_at_s)
            for state in BreakerState:
                breaker.add_metric((*labels, state.value), int(health.breaker is state))
            for known in Status:
                status.add_metric((*labels, known.value), int(health.status is known))
        yield from (*counters.values(), *gauges.values(), at_risk, breaker, status)

    def _labels_of(self, destination: Destination) -> tuple[str, ...]:
        labels = (destination.id, destination.provider)
        return (*labels, destination.tenant_id) if self._with_tenants else labels


def _gauge_values(ledger: Ledger, pending_bytes: int, lag_s: float, failures: int) -> Iterator[tuple[str, float]]:
    yield "dead_lettered_events", ledger.dead_lettered
    yield "pending_events", ledger.pending
    yield "pending_bytes", pending_bytes
    yield "lag_seconds", lag_s
    yield "consecutive_failures", failures
    yield "ledger_imbalance_events", ledger.imbalance()
