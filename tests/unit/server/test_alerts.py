"""The alert rules and the dashboard in config/ ask for metrics and labels that the gateway really exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.providers.codec import Reply
from tests.events import event
from tests.loopback_gateway import Gateway

CONFIG = Path(__file__).parents[3] / "config"
RULES: list[dict[str, Any]] = yaml.safe_load((CONFIG / "prometheus-alerts.yml").read_text(encoding="utf-8"))["groups"][
    0
]["rules"]
DASHBOARD: dict[str, Any] = json.loads((CONFIG / "grafana-dashboard.json").read_text(encoding="utf-8"))

FUNCTIONS = {"rate", "increase", "delta", "sum", "min", "max", "abs", "time", "histogram_quantile"}
KEYWORDS = {"by", "without", "and", "or", "unless", "bool", "on", "ignoring"}
_TOKEN = re.compile(
    r"""(?P<text>"[^"]*") | (?P<range>\[[^\]]*\]) | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*) | (?P<number>\d+(\.\d+)?)"""
    r""" | (?P<sign>==|!=|=~|!~|>=|<=|[-+*/<>=(){},]) | (?P<blank>\s+)""",
    re.VERBOSE,
)


class Asked(NamedTuple):
    metrics: set[str]
    labels: set[str]


def asked(expression: str) -> Asked:
    """What a PromQL expression names. Fails on what is no PromQL: a stray character, a bracket left open."""
    metrics: set[str] = set()
    labels: set[str] = set()
    open_ones: list[str] = []
    before = ""
    for kind, text in tokens(expression):
        if text in "({":
            open_ones.append("{" if text == "{" or before in ("by", "without", "on", "ignoring") else "(")
        elif text in ")}":
            assert open_ones, f"{text} was not opened in {expression}"
            open_ones.pop()
        elif kind == "name" and open_ones and open_ones[-1] == "{":
            labels.add(text)
        elif kind == "name" and text not in FUNCTIONS | KEYWORDS:
            metrics.add(text)
        before = text
    assert open_ones == [], f"a bracket is left open in {expression}"
    return Asked(metrics, labels)


def tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        assert found is not None, f"{expression[at:]!r} is no PromQL"
        at = found.end()
        if found.lastgroup is not None and found.lastgroup != "blank":
            yield found.lastgroup, found[0]


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    chosen = [item["query"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
    series = [query.removeprefix("label_values(").partition(",")[0] for query in chosen]
    return [*(rule["expr"] for rule in RULES), *panels, *series]


@pytest.fixture
async def exported(streaming: Gateway) -> dict[str, set[str]]:
    """Every series that a gateway in trouble shows, with its labels."""
    await streaming.make_destination()
    await streaming.post(event(1))
    await streaming.post(b"rubbish\n" + event(2))
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event(3))
    sent = len(streaming.wire.requests)
    await streaming.until(lambda: len(streaming.wire.requests) > sent + 2)
    answer = await streaming.ask("GET", "/metrics", key=None)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_metric_that_is_asked_for_is_exported(exported: dict[str, set[str]]) -> None:
    """Under that name and with those labels; a rule about a name that does not exist would never fire."""
    for expression in expressions():
        metrics, labels = asked(expression)
        assert metrics <= exported.keys(), expression
        assert labels <= {label for name in metrics for label in exported[name]}, expression


async def test_words_of_an_alert_name_labels_that_its_series_has(exported: dict[str, set[str]]) -> None:
    """Or they would read "Destination  lags"."""
    for rule in RULES:
        has = {label for name in asked(rule["expr"]).metrics for label in exported[name]}
        words = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= has, rule["alert"]


def test_what_must_wake_somebody_is_there() -> None:
    """Lag, degraded for ten minutes, failed, at risk within two hours, disk budget over 80 %, books out of balance."""
    rules = {rule["alert"]: rule for rule in RULES}
    assert len(rules) == len(RULES)
    assert all(rule["labels"]["severity"] in ("warning", "critical") for rule in RULES)
    assert rules["AuditDestinationDegraded"]["for"] == "10m"
    assert rules["AuditEventsAtRisk"]["expr"].endswith("< 7200")
    assert rules["AuditDiskBudget"]["expr"].endswith("> 0.8")
    assert {"AuditDestinationLags", "AuditDestinationFailed", "AuditLedgerImbalance"} <= rules.keys()


def test_the_panels_do_not_cover_each_other() -> None:
    """Each has a place of its own and a data source that can be chosen."""
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & mine, panel["title"]
        assert place["x"] + place["w"] <= 24
        assert panel["datasource"]["uid"] == "${source}"
        cells |= mine


@pytest.mark.parametrize("broken", ["sum(a", "a)", "a ? b", "rate(a[5m)"])
def test_the_reader_of_expressions_finds_what_is_broken(broken: str) -> None:
    """It is small, and no promtool."""
    with pytest.raises(AssertionError):
        asked(broken)


def test_the_reader_of_expressions_tells_metrics_from_labels() -> None:
    """Functions, keywords, texts and ranges are neither."""
    assert asked('sum by (le, x) (rate(a_bucket{y="z",w=~".*"}[5m])) / b - time() < 3') == Asked(
        {"a_bucket", "b"}, {"le", "x", "y", "w"}
    )
