"""The whole queue, crashed between any two calls to the disk, with every choice of what survives."""

from __future__ import annotations

from tests.crash.explorer import Explorer
from tests.crash.life import Lab
from tests.crash.workloads import WORKLOADS, recorded

STATES_MIN = 1_000
STATES_MIN_OF_A_SOAK = 10_000


def test_no_crash_loses_or_invents_anything(lab: Lab, roomy: Lab, soak: bool) -> None:
    """After a power cut or a kill at any call: all that was acknowledged is there, in order and byte for byte, the
    books are exact, nothing is reported as damaged, and going on works. The states are counted once each.
    """
    explorer = Explorer(roomy, dice=20 if soak else 1)
    recordings = {name: recorded(lab, name) for name in WORKLOADS}
    states_min = STATES_MIN_OF_A_SOAK if soak else STATES_MIN
    for seed in range(60):
        for name, recording in recordings.items():
            explorer.explore(name, recording, seed=seed)
        if explorer.report.states >= states_min:
            break
    report = explorer.report
    assert report.violations == []
    assert report.states >= states_min
    assert {name for name, _ in report.crash_points} == set(WORKLOADS)


def test_no_crash_of_a_recovery_loses_anything(lab: Lab, roomy: Lab, soak: bool) -> None:
    """The power goes a second time while a crashed queue is being opened, at each of its calls."""
    explorer = Explorer(roomy, dice=1, recovery_every=3 if soak else 60)
    for name in WORKLOADS:
        explorer.explore(name, recorded(lab, name), stride=1 if soak else 13, seed=7)
    assert explorer.report.violations == []
    assert explorer.report.in_recovery >= (STATES_MIN_OF_A_SOAK if soak else 100)
