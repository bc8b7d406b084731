"""Figures over time, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from gateway.destinations.history import Figures
from gateway.providers.codec import Reply
from gateway.server.stats import WINDOWS, points
from tests.events import event, events
from tests.loopback_gateway import Gateway

SIEM = "/v1/audit/siem"
ZERO: dict[str, object] = {
    **dict.fromkeys(("delivered", "failed", "dead_lettered", "dropped", "attempts"), 0),
    "latency_ms_avg": None,
    "latency_ms_max": None,
    "answers": {},
}


async def stats(gateway: Gateway, destination_id: str, window: str = "1h") -> Any:
    answer = await gateway.ask("GET", f"{SIEM}/{destination_id}/stats?window={window}")
    assert answer.status == 200, answer.body
    return answer.json


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(("window", "step_s", "count"), [("1h", 60, 60), ("24h", 900, 96), ("7d", 3_600, 168)])
async def test_the_points_cover_the_whole_window(gateway: Gateway, window: str, step_s: int, count: int) -> None:
    """One for each step, on round times, the one that has just begun included; empty ones too."""
    destination = await gateway.make_destination()
    found = await stats(gateway, destination, window)
    assert found.keys() == {"window", "from", "to", "step_seconds", "points"}
    assert (found["window"], found["step_seconds"], len(found["points"])) == (window, step_s, count)
    times = [at(point["at"]) for point in found["points"]]
    assert times == [times[0] + number * step_s for number in range(count)]
    assert found["from"] == found["points"][0]["at"]
    assert times[-1] % step_s == 0
    assert times[-1] <= at(found["to"]) == gateway.clock.time_s() < times[-1] + step_s
    assert all({**point, "at": None} == {**ZERO, "at": None} for point in found["points"])


async def test_deliveries_show_at_once_and_stay(streaming: Gateway) -> None:
    """Events that arrived or have to be sent again, attempts by answer, latencies; in the minute in which they came."""
    destination = await streaming.make_destination()
    await streaming.post(b"\n".join(events(3)))
    await streaming.settled(destination)
    now = (await stats(streaming, destination))["points"][-1]
    assert now["delivered"] == 3
    assert now["attempts"] == now["answers"]["200"] == len(streaming.wire.requests)
    assert now["latency_ms_avg"] is not None
    delivered_in = now["at"]
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event())
    began = len(streaming.wire.requests)
    await streaming.until(lambda: len(streaming.wire.requests) > began + 9)
    for window in WINDOWS:
        found = (await stats(streaming, destination, window))["points"]
        assert sum(point["delivered"] for point in found) == 3
        assert sum(point["failed"] for point in found) >= 10
        assert sum(point["answers"].get("503", 0) for point in found) >= 10
    by_time = {point["at"]: point for point in (await stats(streaming, destination))["points"]}
    assert by_time[delivered_in]["delivered"] == 3


async def test_what_a_disabled_destination_misses_is_dropped_in_its_figures(streaming: Gateway) -> None:
    """A look catches up first."""
    destination = await streaming.make_destination(enabled=False)
    await streaming.post(b"\n".join(events(4)))
    assert sum(point["dropped"] for point in (await stats(streaming, destination))["points"]) == 4


async def test_the_lines_of_the_list(streaming: Gateway) -> None:
    """24 hours of each destination that the key may see."""
    one = await streaming.make_destination(tenant_id="acme")
    two = await streaming.make_destination(tenant_id="other")
    await streaming.post(b"\n".join(events(2)))
    await streaming.settled(one)
    answer = await streaming.ask("GET", f"{SIEM}/stats")
    assert answer.json.keys() == {"window", "step_seconds", "from", "data", "unreached_actions"}
    assert (answer.json["window"], answer.json["step_seconds"]) == ("24h", 3_600)
    lines = {line["id"]: line for line in answer.json["data"]}
    assert lines.keys() == {one, two}
    assert lines[one]["delivered"] == [0] * 23 + [2]
    assert lines[one]["failed"] == lines[two]["delivered"] == [0] * 24
    key = await streaming.make_key("acme", "siem:read")
    mine = await streaming.ask("GET", f"{SIEM}/stats?window=24h", key=key)
    assert [line["id"] for line in mine.json["data"]] == [one]


async def test_actions_that_no_filter_lets_through_are_named(streaming: Gateway) -> None:
    """To whoever may see their tenant, and as long as it is so."""
    one = await streaming.make_destination(tenant_id="acme", filter={"actions": ["login.*"]})
    await streaming.make_destination(tenant_id="other")
    await streaming.post(
        b"\n".join([event(action="login.ok"), event(action="attestation.mint"), event(tenant_id="other")])
    )
    await streaming.settled(one)
    unreached = {"tenant_id": "acme", "action": "attestation.mint"}
    for name, seen in (("acme", [unreached]), ("other", [])):
        key = await streaming.make_key(name, "siem:read")
        assert (await streaming.ask("GET", f"{SIEM}/stats", key=key)).json["unreached_actions"] == seen
    assert b"gateway_unreached_actions 1.0" in (await streaming.ask("GET", "/metrics")).body
    await streaming.ask("PUT", f"{SIEM}/{one}", json={"filter": {}})
    assert (await streaming.ask("GET", f"{SIEM}/stats")).json["unreached_actions"] == []
    assert b"gateway_unreached_actions 0.0" in (await streaming.ask("GET", "/metrics")).body


async def test_other_windows_are_refused(gateway: Gateway) -> None:
    """With the ones that there are."""
    destination = await gateway.make_destination()
    answer = await gateway.ask("GET", f"{SIEM}/{destination}/stats?window=2h")
    assert (answer.status, answer.errors()) == (400, {"window": "must be 1h or 24h or 7d"})
    assert (await gateway.ask("GET", f"{SIEM}/stats?window=7d")).status == 400


async def test_a_store_that_is_away_is_a_503(gateway: Gateway) -> None:
    """With the time to come again."""
    destination = await gateway.make_destination()
    await gateway.store.close()
    for path in (f"{SIEM}/{destination}/stats", f"{SIEM}/stats", f"{SIEM}/{destination}/activity"):
        answer = await gateway.ask("GET", path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


def test_rows_of_one_step_are_summed() -> None:
    """Those of the store and those that are not in it yet, of every answer; what lies outside is left out."""
    first_s = 1_782_822_900
    rows = [
        Figures("d", first_s, "", delivered=5, failed=1),
        Figures("d", first_s + 59, "", delivered=2, dead_lettered=3, dropped=4),
        Figures("d", first_s, "200", attempts=3, latency_ms_sum=30.0, latency_ms_max=20.0),
        Figures("d", first_s + 30, "200", attempts=1, latency_ms_sum=50.0, latency_ms_max=50.0),
        Figures("d", first_s, "timeout", attempts=1, latency_ms_sum=20.0, latency_ms_max=20.0),
        Figures("d", first_s + 3_600, "", delivered=99),
    ]
    point, *others = points(rows, WINDOWS["1h"], first_s)
    assert (point.delivered, point.failed, point.dead_lettered, point.dropped, point.attempts) == (7, 1, 3, 4, 5)
    assert (point.latency_ms_avg, point.latency_ms_max) == (20.0, 50.0)
    assert point.answers == {"200": 4, "timeout": 1}
    assert all(other.attempts == other.delivered == 0 for other in others)
