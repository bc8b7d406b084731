"""Actions that reach no destination: which are told of, how often, and what it may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, ValuesView
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.delivery.unreached import (
    ACTION_CHARS_MAX,
    ACTIONS_IN_ALL_MAX,
    ACTIONS_MAX,
    ASKED_AT_ONCE_MAX,
    Unreached,
)
from gateway.destinations.filter import compile_actions, compile_filter
from gateway.destinations.store import Destination, Filter
from gateway.telemetry import Event, Metrics
from tests.destinations import destination

LOGINS = Filter(actions=("login.*",))


class House:
    """Some destinations, by id; ``told`` are the warnings."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self.destinations: Mapping[str, Destination] = {}
        self.metrics = Metrics()
        self.unreached = Unreached(lambda: self.destinations, self.metrics)
        self.told: list[Any] = []

    def put(self, name: str, tenant: str, chosen: Filter, **members: Any) -> None:
        made = msgspec.structs.replace(self._destination, id=name, tenant_id=tenant, filter=chosen, **members)
        self.destinations = {**self.destinations, name: made}

    def see(self, *left_out: tuple[str, str]) -> None:
        with capture_logs() as lines:
            self.unreached.look_at(left_out)
        assert all(line["event"] == Event.ACTION_UNREACHED for line in lines)
        self.told += [(line["tenant"], line.get("action")) for line in lines]

    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value("gateway_unreached_actions")


class Work(msgspec.Struct):
    """Filters that were compiled, and how often one was asked."""

    compiled: list[Filter] = []
    asked: int = 0

    def compile(self, chosen: Filter) -> Callable[[str], bool]:
        self.compiled.append(chosen)
        gate = compile_actions(chosen)

        def counting(action: str) -> bool:
            self.asked += 1
            return gate(action)

        return counting


class View(dict[str, Destination]):
    """Counts how often somebody looks through all destinations."""

    looks = 0

    def values(self) -> ValuesView[Destination]:  # type: ignore[override]  # what typeshed declares is of dict alone
        self.looks += 1
        return super().values()


@pytest.fixture
def house() -> House:
    return House(destination(tenant_id="acme"))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr("gateway.delivery.unreached.compile_actions", work.compile)
    return work


def test_an_action_is_told_of_once(house: House) -> None:
    """With its tenant, however often it comes, and also when it reached somebody in between."""
    house.put("one", "acme", LOGINS)
    house.see(("acme", "mint"), ("acme", "burn"))
    house.see(("acme", "mint"))
    house.put("two", "acme", Filter())
    house.see(("acme", "mint"))
    house.put("two", "acme", LOGINS)
    house.see(("acme", "mint"))
    assert house.told == [("acme", "mint"), ("acme", "burn")]


@pytest.mark.parametrize(
    ("tenant", "chosen", "members", "told"),
    [
        ("acme", Filter(actions=("mint",)), {}, 0),
        ("acme", Filter(), {}, 0),
        ("*", Filter(actions=("mi*",)), {}, 0),
        ("other", Filter(), {}, 1),
        ("acme", Filter(exclude_actions=("mint",)), {}, 1),
        ("acme", Filter(services=("x",)), {}, 0),
        ("acme", Filter(), {"enabled": False}, 1),
        ("acme", Filter(), {"deleting": True}, 1),
    ],
)
def test_what_another_destination_lets_through_is_not_told_of(
    house: House, tenant: str, chosen: Filter, members: dict[str, Any], told: int
) -> None:
    """An enabled one, of the tenant or of all, whose filter names no other actions."""
    house.put("one", "acme", LOGINS)
    house.put("two", tenant, chosen, **members)
    house.see(("acme", "mint"))
    assert len(house.told) == told


def test_a_tenant_without_an_enabled_destination_is_not_told_of(house: House) -> None:
    """Nothing is streamed for it, and no filter is at fault."""
    house.put("one", "acme", LOGINS, enabled=False)
    house.see(("acme", "mint"), ("nobody", "mint"))
    assert house.told == []


def test_the_gateways_own_events_are_not_told_of(house: House) -> None:
    """Who filters has them left out as a rule, and means it."""
    house.put("one", "acme", LOGINS)
    house.see(("acme", "siem.destination.updated"))
    assert house.told == []


def test_it_counts_while_it_reaches_nobody(house: House) -> None:
    """The gauge follows the destinations without another event."""
    house.put("one", "acme", LOGINS)
    house.see(("acme", "mint"))
    assert house.unreached.actions() == [("acme", "mint")]
    assert house.gauge() == 1
    house.put("one", "acme", Filter())
    house.unreached.follow()
    assert house.unreached.actions() == []
    assert house.gauge() == 0


def test_memory_is_bounded_and_says_so(house: House) -> None:
    """A tenant that makes up actions fills its own share, with one line more."""
    house.put("one", "*", LOGINS)
    house.see(*(("acme", f"made-up-{number}") for number in range(ACTIONS_MAX + 50)))
    house.see(("acme", "another"), ("other", "x" * 10_000))
    assert len(house.told) == ACTIONS_MAX + 2
    assert house.told[-2:] == [("acme", None), ("other", "x" * ACTION_CHARS_MAX)]
    assert house.gauge() == ACTIONS_MAX + 1


def test_an_action_cannot_write_to_a_terminal(house: House) -> None:
    """Nor break the line that it stands in."""
    house.put("one", "acme", LOGINS)
    house.see(("acme", "a\x1b[2J\nb"))
    assert house.told == [("acme", "a\ufffd[2J\ufffdb")]


def test_all_tenants_together_are_bounded(house: House) -> None:
    """Those that come too late share one line."""
    house.put("one", "*", LOGINS)
    for number in range(ACTIONS_IN_ALL_MAX + 10):
        house.see((f"tenant-{number}", "mint"))
    assert len(house.told) == ACTIONS_IN_ALL_MAX + 1
    assert house.told[-1] == ("*", None)
    assert len(house.unreached.actions()) == ACTIONS_IN_ALL_MAX


def test_what_is_seen_again_and_again_is_looked_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until destinations change."""
    compiled: list[Filter] = []

    def counting(chosen: Filter) -> Any:
        compiled.append(chosen)
        return lambda action: True

    monkeypatch.setattr("gateway.delivery.unreached.compile_actions", counting)
    house.put("one", "acme", LOGINS)
    for _ in range(3):
        house.see(("acme", "mint"), ("acme", "burn"))
    assert compiled == [LOGINS]
    house.put("one", "acme", Filter(actions=("x",)))
    house.see(("acme", "mint"))
    assert len(compiled) == 2


def test_many_tenants_share_what_is_known_of_the_destinations(house: House, work: Work) -> None:
    """All destinations are looked through once for each change of them, and each filter is compiled once for good."""
    for number in range(20):
        house.put(f"all-{number}", "*", Filter(actions=(f"login-{number}.*",)))
    house.destinations = first = View(house.destinations)
    house.see(*((f"tenant-{number}", "mint") for number in range(50)))
    assert len(house.told) == 50
    assert first.looks == 1
    assert len(work.compiled) == 20
    house.put("all-0", "*", Filter(actions=("mint",)))
    house.destinations = second = View(house.destinations)
    house.unreached.follow()
    assert house.gauge() == 0
    assert second.looks == 1
    assert len(work.compiled) == 21


def test_filters_that_are_alike_are_asked_once(house: House, work: Work) -> None:
    """However many destinations of a tenant, or of all, have the same."""
    for number in range(20):
        house.put(f"one-{number}", "acme", LOGINS)
    house.see(("acme", "mint"))
    assert work.asked == 1


def test_many_new_actions_and_many_filters_are_a_step_of_work(house: House, work: Work) -> None:
    """Those beyond it are looked at when they come again."""
    for number in range(ASKED_AT_ONCE_MAX // 10):
        house.put(f"siem_{number}", "acme", Filter(actions=(f"action {number}",)))
    seen = [("acme", f"new {number}") for number in range(50)]
    house.see(*seen)
    asked_first, told_first = work.asked, len(house.told)
    assert asked_first <= 1.2 * ASKED_AT_ONCE_MAX
    assert told_first < len(seen)
    for _ in seen:
        house.see(*seen)
    assert house.told == seen


async def test_what_is_remembered_is_judged_in_steps(house: House, work: Work) -> None:
    """A change of one destination holds up nobody, however much is remembered; all is judged in a moment, also when
    the next change comes before that.
    """
    for number in range(50):
        house.put(f"all-{number}", "*", Filter(actions=(f"login-{number}.*",)))
    remembered = ASKED_AT_ONCE_MAX // 10
    for number in range(remembered):
        house.see((f"tenant-{number}", "mint"))
    for number in range(30):
        work.asked = 0
        house.put("another", "*", Filter(actions=(f"another-{number}.*",)))
        house.unreached.follow()
        assert 0 < work.asked <= ASKED_AT_ONCE_MAX + 51
    house.put("another", "*", Filter(actions=("mint",)))
    house.unreached.follow()
    most, turns = 0, 0
    while house.gauge():
        work.asked = 0
        await asyncio.sleep(0)
        most, turns = max(most, work.asked), turns + 1
    assert most <= ASKED_AT_ONCE_MAX + 51
    assert turns > 2
    assert house.unreached.actions() == []


async def test_no_action_waits_for_changes_to_end(house: House) -> None:
    """Each change goes on with those that were judged the longest ago."""
    for number in range(50):
        house.put(f"all-{number}", "*", Filter(actions=(f"login-{number}.*",)))
    remembered = ASKED_AT_ONCE_MAX // 10
    for number in range(remembered):
        house.see((f"tenant-{number}", "mint"))
    house.put("catching", "*", Filter(actions=("mint",)))
    for number in range(30):
        house.put("another", "*", Filter(actions=(f"another-{number}.*",)))
        house.unreached.follow()
    assert house.gauge() == 0


def test_a_filter_tells_of_what_it_leaves_out(house: House) -> None:
    """Tenant and action of each event that does not pass, once in a call."""
    told: list[Any] = []
    matcher = compile_filter(LOGINS, tell=told.append)
    assert matcher is not None
    line = b'{"tenant_id":"acme","action":"%s"}'
    assert matcher([line % b"login.ok", line % b"mint", line % b"mint"]) == [True, False, False]
    assert matcher([line % b"login.ok"]) == [True]
    assert told == [{("acme", "mint")}]
