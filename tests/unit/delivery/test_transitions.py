"""Which changes of status are told."""

from __future__ import annotations

import pytest

from gateway.delivery.health import Status
from gateway.delivery.risk import events_at_risk_at_s
from gateway.delivery.transitions import BURST, REFILL_S, Told
from gateway.destinations.history import Action

ACTIVE, DEGRADED, FAILED = Status.ACTIVE, Status.DEGRADED, Status.FAILED


def test_each_transition_is_told_once() -> None:
    """However often somebody looks."""
    told = Told(ACTIVE, 0.0)
    looks = [ACTIVE, DEGRADED, DEGRADED, FAILED, FAILED, ACTIVE, ACTIVE]
    found = [told.look(status, now_s, has_succeeded=True) for now_s, status in enumerate(looks)]
    assert found == [None, Action.DEGRADED, None, Action.FAILED, None, Action.RECOVERED, None]


def test_recovered_is_told_of_a_success_alone() -> None:
    """A PUT that starts afresh makes the status active too; whoever did that tells it."""
    told = Told(FAILED, 0.0)
    assert told.look(ACTIVE, 1.0, has_succeeded=False) is None
    assert told.status is ACTIVE
    assert told.look(DEGRADED, 2.0, has_succeeded=False) is Action.DEGRADED


def test_one_that_flaps_is_told_of_seldom_and_where_it_stands_at_last() -> None:
    """After a few transitions one in five minutes; what happened in between is not made up for."""
    told = Told(ACTIVE, 0.0)
    statuses = [DEGRADED, ACTIVE] * 150
    found = [told.look(status, float(now_s), has_succeeded=True) for now_s, status in enumerate(statuses)]
    assert len([action for action in found if action is not None]) == BURST
    assert told.look(DEGRADED, 300.0 + REFILL_S, has_succeeded=True) is Action.DEGRADED
    assert told.look(DEGRADED, 300.0 + 2 * REFILL_S, has_succeeded=True) is None


def test_an_hour_of_flapping_tells_no_more_than_its_rate() -> None:
    """So an event about a destination that its own delivery sets off cannot go round in a circle."""
    told = Told(ACTIVE, 0.0)
    count = 0
    for second in range(3_600):
        status = DEGRADED if second % 2 else ACTIVE
        count += told.look(status, float(second), has_succeeded=True) is not None
    assert count <= BURST + 3_600 / REFILL_S


@pytest.mark.parametrize(
    ("since_s", "oldest_s", "provider_s", "expected"),
    [
        (None, 500.0, None, None),
        (None, 500.0, 64_800.0, None),
        (1_000.0, None, None, None),
        (1_000.0, 500.0, None, 87_400.0),
        (1_000.0, 500.0, 64_800.0, 65_300.0),
        (1_000.0, 999.0, 14 * 86_400.0, 87_400.0),
        (1_000.0, 40_000.0, 64_800.0, 87_400.0),
    ],
)
def test_events_are_at_risk_when_the_first_window_ends(
    since_s: float | None, oldest_s: float | None, provider_s: float | None, expected: float | None
) -> None:
    """That of the outage, from its start, or the provider's, from the acceptance of the oldest event; only in an outage
    and only while something waits.
    """
    found = events_at_risk_at_s(
        retrying_since_s=since_s, retry_window_s=86_400, oldest_pending_s=oldest_s, provider_window_s=provider_s
    )
    assert found == expected
