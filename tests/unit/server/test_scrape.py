"""What ``/metrics`` shows, read as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from gateway.config import Server
from gateway.providers.codec import Reply
from gateway.queue.wal.cursor import Cursor
from gateway.telemetry import Event as LogEvent
from tests.events import event, events
from tests.loopback_gateway import Gateway
from tests.unit.server.conftest import Start

LABELLED = {"destination", "provider"}
COUNTERS = {
    *("gateway_accepted_events_total", "gateway_delivered_events_total", "gateway_dropped_events_total"),
    "gateway_filtered_events_total",
}
GAUGES = {
    *("gateway_dead_lettered_events", "gateway_pending_events", "gateway_pending_bytes", "gateway_lag_seconds"),
    *("gateway_consecutive_failures", "gateway_ledger_imbalance_events"),
}


class Scrape:
    """Samples by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        found = [
            value
            for (sample, known), value in self.samples.items()
            if sample == name and labels.items() <= dict(known).items()
        ]
        assert len(found) == 1, (name, labels, found)
        return found[0]

    def labels(self, name: str) -> set[str]:
        return {label for (sample, known), _ in self.samples.items() if sample == name for label, _ in known}

    def destinations(self) -> set[str]:
        return {dict(known)["destination"] for _, known in self.samples if "destination" in dict(known)}


async def scrape(gateway: Gateway) -> Scrape:
    answer = await gateway.ask("GET", "/metrics", key=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return Scrape(answer.body.decode())


async def test_ingest_is_counted(gateway: Gateway) -> None:
    """Requests by answer, events and bytes that are durable, events that were refused."""
    good = events(3)
    await gateway.post(b"\n".join(good))
    await gateway.post(good[0] + b"\nrubbish")
    await gateway.post(b"rubbish\nrubbish")
    await gateway.post(b"", Content_Encoding="br")
    gateway.queue.refuse_appends()
    await gateway.post(good[0])
    seen = await scrape(gateway)
    requests = {status: seen.value("gateway_ingest_requests_total", status=status) for status in ("202", "207", "400")}
    assert requests == {"202": 1, "207": 1, "400": 1}
    assert seen.value("gateway_ingest_requests_total", status="415") == 1
    assert seen.value("gateway_ingest_requests_total", status="503") == 1
    assert seen.value("gateway_ingest_events_total") == 4
    assert seen.value("gateway_ingest_bytes_total") == len(b"\n".join(good)) + len(good[0])
    assert seen.value("gateway_ingest_rejections_total") == 3


async def test_the_log_is_measured(gateway: Gateway) -> None:
    """Commits with their time, bytes and failures; what is on disk, what may be, and whether it takes events."""
    await gateway.watch()
    for number in range(5):
        await gateway.post(event(number))
    seen = await scrape(gateway)
    assert seen.families["gateway_log_commit_seconds"].type == "histogram"
    assert seen.value("gateway_log_commit_seconds_count") == 5
    assert seen.value("gateway_log_written_bytes_total") > 5 * 100
    assert seen.value("gateway_log_commit_failures_total") == 0
    assert seen.value("gateway_log_events_total") == 5
    assert seen.value("gateway_log_segments") >= 1
    assert 0 < seen.value("gateway_log_bytes") < seen.value("gateway_log_budget_bytes")
    assert seen.value("gateway_log_ready") == 1
    for operation in ("write", "create"):
        gateway.files.fail(operation, "log/", times=1_000)
    await gateway.post(event())
    seen = await scrape(gateway)
    assert (seen.value("gateway_log_ready"), seen.value("gateway_log_commit_failures_total")) == (0, 1)


async def test_each_destination_has_its_books_in_the_metrics(streaming: Gateway) -> None:
    """Accepted, delivered, dropped, filtered, dead-lettered, pending: the ledger's figures, by destination."""
    made = {
        "acme": await streaming.make_destination(tenant_id="acme", filter={"exclude_actions": ["boring"]}),
        "*": await streaming.make_destination(provider="datadog", enabled=False),
    }
    await streaming.post(b"\n".join([*events(3), event(4, action="boring"), event(5, tenant_id="other")]))
    for destination in made.values():
        await streaming.settled(destination)
    ledgers = {tenant: await streaming.ledger(destination) for tenant, destination in made.items()}
    seen = await scrape(streaming)
    acme = {"accepted": 4, "delivered": 3, "filtered": 1, "dropped": 0, "dead_lettered": 0, "pending": 0}
    assert ledgers["acme"] == {**acme, "balanced": True}
    for tenant, destination in made.items():
        labels = {
            "destination": destination,
            "provider": "webhook" if tenant == "acme" else "datadog",
        }
        figures: Mapping[str, float] = ledgers[tenant]
        for name in ("accepted", "delivered", "dropped", "filtered"):
            assert seen.value(f"gateway_{name}_events_total", **labels) == figures[name], name
        for name in ("dead_lettered", "pending"):
            assert seen.value(f"gateway_{name}_events", **labels) == figures[name], name
        assert seen.value("gateway_ledger_imbalance_events", **labels) == 0
    for name in COUNTERS | GAUGES:
        assert seen.labels(name) == LABELLED


async def test_an_outage_shows(streaming: Gateway) -> None:
    """Pending events and bytes, lag, failures in a row, retried events, the attempts by decision, and the state."""
    destination = await streaming.make_destination()
    await streaming.post(event(1))
    await streaming.settled(destination)
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(b"\n".join(events(2, 2)))
    await streaming.until(lambda: len(streaming.wire.requests) > 6)
    seen = await scrape(streaming)
    assert seen.value("gateway_pending_events", destination=destination) == 2
    assert seen.value("gateway_pending_bytes", destination=destination) > 100
    assert seen.value("gateway_lag_seconds", destination=destination) > 0.5
    assert seen.value("gateway_consecutive_failures", destination=destination) >= 5
    assert seen.value("gateway_retried_events_total", destination=destination) >= 5
    assert seen.value("gateway_attempts_total", destination=destination, decision="delivered") == 1
    assert seen.value("gateway_attempts_total", destination=destination, decision="throttled") >= 6
    assert seen.families["gateway_attempt_seconds"].type == "histogram"
    assert seen.value("gateway_attempt_seconds_count", destination=destination) == len(streaming.wire.requests)
    assert seen.value("gateway_in_flight_limit", destination=destination) >= 1
    status = {
        name: seen.value("gateway_destination_status", destination=destination, status=name)
        for name in ("active", "degraded", "failed")
    }
    assert status == {"active": 0, "degraded": 1, "failed": 0}
    breaker = {
        name: seen.value("gateway_breaker_state", destination=destination, state=name)
        for name in ("closed", "open", "half_open")
    }
    assert sum(breaker.values()) == 1
    assert breaker["closed"] == 0


async def test_a_destination_that_is_gone_leaves_no_series(streaming: Gateway) -> None:
    """Neither in its books nor among the attempts."""
    gone, kept = await streaming.make_destination(), await streaming.make_destination()
    await streaming.post(event())
    await streaming.settled(gone)
    await streaming.settled(kept)
    assert {gone, kept} <= (await scrape(streaming)).destinations()
    await streaming.passing(streaming.ask("DELETE", f"/v1/audit/siem/{gone}"))
    await streaming.until(lambda: gone.encode() not in generate_latest(streaming.metrics.registry))
    seen = await scrape(streaming)
    assert seen.destinations() == {kept}


@pytest.mark.parametrize("is_on", [False, True])
async def test_tenants_are_named_only_where_that_is_switched_on(start: Start, is_on: bool) -> None:
    """Whoever reaches the listener may read the metrics: of tenants they say nothing, and with the setting each
    destination's.
    """
    streaming = await start(streams=True, server=Server(metrics_tenants=is_on))
    destination = await streaming.make_destination(tenant_id="tenant-of-secrets")
    await streaming.post(event(tenant_id="tenant-of-secrets"))
    await streaming.settled(destination)
    assert (b"tenant-of-secrets" in (await streaming.ask("GET", "/metrics", key=None)).body) is is_on
    seen = await scrape(streaming)
    of_tenant = {"tenant": "tenant-of-secrets"} if is_on else {}
    assert seen.value("gateway_delivered_events_total", destination=destination, **of_tenant) == 1
    assert seen.value("gateway_breaker_state", destination=destination, state="closed", **of_tenant) == 1
    for name in COUNTERS | GAUGES:
        assert seen.labels(name) == LABELLED | of_tenant.keys()


async def test_no_label_holds_what_events_or_callers_chose(streaming: Gateway) -> None:
    """Only ids, providers and names of states are labels: nothing that grows with what is sent."""
    await streaming.make_destination(name='a name with a " quote')
    await streaming.post(event(action="unheard.of"))
    await streaming.ask("GET", "/v1/audit/siem/unheard-of")
    text = (await streaming.ask("GET", "/metrics")).body
    assert b"unheard" not in text
    assert b"a name" not in text


async def test_books_that_do_not_balance_show_in_the_ledger_and_the_metrics(
    streaming: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settlement that forgets to count: ``balanced`` is false, and the gauge says by how many events."""

    class ForgetfulCursor(Cursor):
        def settle(self, positions: Sequence[int], outcome: str) -> None:
            super().settle(positions, outcome)
            self._counters[outcome] -= 1

    sound = await streaming.make_destination()
    monkeypatch.setattr("gateway.queue.wal.consumer.Cursor", ForgetfulCursor)
    forgetful = await streaming.make_destination()
    with capture_logs() as logs:
        await streaming.post(event())
        await streaming.settled(sound)
        await streaming.settled(forgetful)
        seen = await scrape(streaming)
    assert (await streaming.ledger(sound))["balanced"] is True
    assert (await streaming.ledger(forgetful))["balanced"] is False
    assert seen.value("gateway_ledger_imbalance_events", destination=sound) == 0
    assert seen.value("gateway_ledger_imbalance_events", destination=forgetful) == 1
    assert {line["destination"] for line in logs if line["event"] == LogEvent.LEDGER_IMBALANCED} == {forgetful}
