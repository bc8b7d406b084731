"""The whole queue, crashed between any two calls to the disk, with every choice of what survives."""

from __future__ import annotations

from tests.crash.explorer import Explorer, examine
from tests.crash.life import Lab
from tests.crash.workloads import WORKLOADS, recorded
from tests.simulated_disk import Call, SimulatedDisk, only

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


def test_a_start_acts_only_on_checkpoints_that_are_durable(lab: Lab, roomy: Lab) -> None:
    """A process is killed before it has synced that a destination is gone; the next start removes the destination's
    dead letters, the power goes, and of all that was not synced only the newest survives: nothing is missing.
    """
    recording = recorded(lab, "small")
    removal = next(n for n, call in enumerate(recording.trace) if _removes_letters(call))
    written = max(n for n, call in enumerate(recording.trace[:removal], 1) if call.name == "pwritev")
    disk = SimulatedDisk()
    for call in recording.trace[:written]:
        disk.again(call)
    _, oracle = recording.promised(written)
    killed, again = disk.copy(), disk.copy()
    _, opening = examine(roomy, killed, oracle)
    assert any(map(_removes_letters, opening))
    for call in opening:
        again.again(call)
        if effects := again.effects():
            assert examine(roomy, again.after_power_cut(only(effects[-1])), oracle)[0] == [], call


def _removes_letters(call: Call) -> bool:
    return call.name == "unlink" and str(call.arguments[0]).endswith("/siem_all.log")
