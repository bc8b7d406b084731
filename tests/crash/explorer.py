"""Every state that a crash may leave, one after another: what was recorded of a workload is done again call by call,
and at each point the power goes (or the process alone) with several choices of what survives.

A state is examined once: two crash points that leave the same bytes and the same promises are one.
"""

from __future__ import annotations

import traceback
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from unittest import mock

import msgspec

from gateway.quantity import Bytes
from gateway.queue.wal.journal import Journal
from tests.crash.life import ROOT, SETTINGS, Lab, Life
from tests.crash.oracle import Found, Oracle
from tests.inline_threads import inline_threads
from tests.simulated_disk import (
    EVERYTHING,
    NOTHING,
    Call,
    SimulatedDisk,
    Survival,
    only,
    random_survival,
    until,
    without,
)

# Calls after which the disk is as before: a crash there is the same as one before them.
_CHANGES_NOTHING = frozenset({"close", "flock", "listdir", "kill"})
TENANTS = ("a", "b", "c")
# Who looks at what a crash has left has room to go on, however full the workload's budget was.
ROOMY = msgspec.structs.replace(SETTINGS, disk_budget_bytes=Bytes(64 << 20))


@contextmanager
def laboratory() -> Iterator[None]:
    """No threads, and journals so small that they roll over."""
    with ExitStack() as stack:
        stack.enter_context(inline_threads())
        stack.enter_context(mock.patch("gateway.queue.wal.log.Journal", partial(Journal, journal_bytes=24 << 10)))
        yield


@dataclass
class Recording:
    """A workload's calls, and what was promised at which of them."""

    trace: Sequence[Call]
    marks: Sequence[tuple[int, Oracle]]

    def promised(self, calls: int) -> tuple[int, Oracle]:
        """The last mark at or before so many calls, with its number."""
        at = bisect_right(self.marks, calls, key=lambda mark: mark[0]) - 1
        return at, self.marks[at][1]


@dataclass
class Report:
    """What an exploration saw. ``violations`` name the check, the crash point and what survived."""

    states: int = 0
    crash_points: set[tuple[str, int]] = field(default_factory=set)
    in_recovery: int = 0
    violations: list[str] = field(default_factory=list)

    def checks_that_failed(self) -> Counter[str]:
        return Counter(violation.split(": ")[1] for violation in self.violations)


class Explorer:
    """``dice`` says how many choices by chance a crash point gets. Every ``recovery_every``-th state is crashed again
    at each step of its own recovery. Stops after ``violations_max``.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        dice: int = 2,
        recovery_every: int = 0,
        states_max: int = 1 << 60,
        violations_max: int = 1,
    ) -> None:
        self._lab, self._seed, self._dice = lab, 0, dice
        self._recovery_every = recovery_every
        self._states_max, self._violations_max = states_max, violations_max
        self._seen: set[tuple[int, int]] = set()
        self.report = Report()

    def explore(self, name: str, recording: Recording, *, stride: int = 1, seed: int = 0) -> None:
        """Crash at every ``stride``-th call of a workload. ``seed`` chooses what survives where that is by chance."""
        self._seed = seed
        disk = SimulatedDisk()
        for calls, call in enumerate(recording.trace, 1):
            disk.again(call)
            if call.name in _CHANGES_NOTHING or calls % stride:
                continue
            mark, oracle = recording.promised(calls)
            for choice, image in self._images(disk, calls):
                if not self._is_new(image, mark):
                    continue
                self.report.crash_points.add((name, calls))
                self._examine(f"{name} call {calls} ({_words(call)}), {choice}", image, oracle)
                if self._is_done():
                    return

    def _is_done(self) -> bool:
        return self.report.states >= self._states_max or len(self.report.violations) >= self._violations_max

    def _is_new(self, image: SimulatedDisk, mark: int) -> bool:
        key = image.fingerprint(), mark
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _images(self, disk: SimulatedDisk, calls: int) -> Iterator[tuple[str, SimulatedDisk]]:
        for choice, survival in self._survivals(disk, calls):
            yield choice, disk.after_power_cut(survival)
        if disk.effects():
            yield "killed", disk.copy()

    def _survivals(self, disk: SimulatedDisk, calls: int) -> Iterator[tuple[str, Survival]]:
        yield "nothing unsynced survives", NOTHING
        effects = disk.effects()
        if effects:
            yield "everything survives", EVERYTHING
        for effect in effects if len(effects) > 1 else ():
            yield f"all until effect {effect}", until(effect)
            yield f"all but effect {effect}", without(effect)
            yield f"only effect {effect}", only(effect)
        for throw in range(self._dice if effects else 0):
            seed = self._seed * 1_000_003 + calls * 101 + throw
            yield f"seed {seed}", random_survival(seed)

    def _examine(self, where: str, image: SimulatedDisk, oracle: Oracle) -> None:
        self.report.states += 1
        before = image.copy()
        wrong, opening = examine(self._lab, image, oracle)
        self.report.violations += [f"{where}: {text}" for text in wrong]
        if not wrong and self._recovery_every and self.report.states % self._recovery_every == 0:
            self._explore_recovery(where, before, opening, oracle)

    def _explore_recovery(self, where: str, disk: SimulatedDisk, opening: Sequence[Call], oracle: Oracle) -> None:
        """The power goes again while the queue is being opened."""
        for calls, call in enumerate(opening, 1):
            disk.again(call)
            if call.name in _CHANGES_NOTHING:
                continue
            seed = self._seed + calls
            for choice, survival in (("nothing", NOTHING), (f"seed {seed}", random_survival(seed))):
                image = disk.after_power_cut(survival)
                if not self._is_new(image, id(oracle)):
                    continue
                self.report.states += 1
                self.report.in_recovery += 1
                wrong, _ = examine(self._lab, image, oracle)
                again = f"{where}, then call {calls} of the recovery ({_words(call)}), {choice}"
                self.report.violations += [f"{again}: {text}" for text in wrong]
                if self._is_done():
                    return


def examine(lab: Lab, disk: SimulatedDisk, oracle: Oracle) -> tuple[list[str], list[Call]]:
    """Open what a crash has left; look at it; go on; lose the power at once; look again.

    Returns what is wrong, and the calls of the first opening.
    """
    oracle = oracle.copy()
    opening: list[Call] = []
    try:
        first = Life(lab, disk, oracle)
        opening = list(disk.trace)
        found = first.findings()
        wrong = _wrong(first, found)
        if wrong:
            return wrong, opening
        oracle.go_on_from(found)
        first.append(*((tenant, 1, 10) for tenant in TENANTS))
        second = Life(lab, disk.after_power_cut(NOTHING), oracle)
        found_again = second.findings()
        return _wrong(second, found_again) + _unstable(found, found_again), opening
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
        last = traceback.extract_tb(error.__traceback__)[-1]
        return [f"refused: {type(error).__name__} {error} in {last.name}"], opening


def _wrong(life: Life, found: dict[str, Found]) -> list[str]:
    wrong = life.oracle.differences(found)
    wrong += [f"corrupt: reported though nothing is damaged: {line}" for line in life.corrupt]
    wrong += [f"failed file: {text}" for text in life.disk.violations]
    if problem := life.queue.status().problem:
        wrong.append(f"problem: {problem}")
    return wrong


def _unstable(found: dict[str, Found], again: dict[str, Found]) -> list[str]:
    """A second recovery finds what the first one found, and behind it what came since."""
    wrong = []
    if list(found) != list(again):
        wrong.append(f"unstable: consumers {list(found)} became {list(again)}")
    for name in found.keys() & again.keys():
        first, second = found[name], again[name]
        if second.lines[: len(first.lines)] != first.lines:
            wrong.append(f"unstable: {name} was handed out other events after a second crash")
        books = [
            (f.ledger.delivered, f.ledger.dead_lettered, f.ledger.dropped, f.ledger.filtered) for f in (first, second)
        ]
        if books[0] != books[1]:
            wrong.append(f"unstable: the books of {name} became {books[1]} of {books[0]}")
        if (first.gaps, first.letters) != (second.gaps, second.letters):
            wrong.append(f"unstable: gaps or dead letters of {name} changed")
    return wrong


def _words(call: Call) -> str:
    """A call in a line: which file, where, how much."""
    words = [call.name]
    for argument in call.arguments:
        if isinstance(argument, tuple):
            words.append(f"{sum(map(len, argument))} bytes")
        else:
            words.append(str(argument).removeprefix(f"{ROOT}/"))
    return " ".join(words)
