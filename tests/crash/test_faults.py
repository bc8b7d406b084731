"""A disk that fails: every call of a workload in turn, with every error, and a disk of any size that fills up.

Whatever fails, no promise is broken by it: what was answered with 202 is there, a file that failed is never written
or synced again, what is durable is delivered meanwhile, and once the fault is gone the queue takes events again.
"""

from __future__ import annotations

import errno
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from gateway.errors import GatewayError, QueueUnavailable
from gateway.queue.wal.files import DiskFiles
from tests.crash.explorer import examine
from tests.crash.life import ROOT, Faulty, Lab, Life
from tests.crash.oracle import Oracle
from tests.simulated_disk import EVERYTHING, NOTHING, SimulatedDisk, random_survival

ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EINTR, errno.EDQUOT)
BIG = 130_000


@dataclass
class Countdown:
    """Lets ``calls`` pass, then fails ``times`` calls with an error."""

    calls: int
    number: int
    times: int = 1
    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def __call__(self, name: str, path: str) -> int | None:
        self.passed += 1
        if self.calls < self.passed <= self.calls + self.times:
            self.failed.append(f"{name} {path}")
            return self.number
        return None


INSISTED_MAX = 100
MOMENTS_MAX = 4


class Trial:
    """A workload on a failing disk: each operation may be refused, and none may be broken."""

    def __init__(self, lab: Lab, disk: SimulatedDisk, *, starts_max: int = 100, seed: int = 0) -> None:
        """After ``starts_max`` starts that failed the disk gets larger. ``seed`` chooses what moments leave."""
        self.lab, self.disk, self.oracle = lab, disk, Oracle()
        self.told: list[str] = []
        self._moments: list[tuple[SimulatedDisk, Oracle]] = []
        self._is_moment = False
        self._starts_max = starts_max
        self._dice = random.Random(seed)
        self.life = self._opened()

    def _opened(self) -> Life:
        """A start that the disk fails says so; the next one is tried until the fault is over."""
        while (life := self._start()) is None:
            assert "'/" in self.told[-1], "what failed is not named"
            self.disk.kill()
            if len(self.told) >= self._starts_max:
                assert self.disk.capacity is not None, "it never starts"
                self.disk.capacity += 1 << 20
        return life

    def _start(self) -> Life | None:
        try:
            return Life(self.lab, self.disk, self.oracle)
        except (OSError, GatewayError) as error:
            self.told.append(str(error))
            return None

    def attempt(self, operation: Callable[[], object]) -> bool:
        """Moments at which a crash is likely to find something undecided are kept: behind what the disk failed, refused
        or not, and behind what comes next.
        """
        failed_before = self.disk.failed_calls
        try:
            operation()
        except Faulty as fault:
            self.told.append(str(fault))
            self._keep_moment()
            self._is_moment = True
            self.life.clock.advance(2)
            return False
        is_failed = self.disk.failed_calls > failed_before
        if self._is_moment or is_failed:
            self._keep_moment()
        self._is_moment = is_failed
        return True

    def _keep_moment(self) -> None:
        """The power goes, and what was left over of a failed sync comes back, or the process alone is killed."""
        if len(self._moments) < MOMENTS_MAX:
            dice = self._dice
            survival = dice.choice([EVERYTHING, EVERYTHING, random_survival(dice.getrandbits(32)), None])
            image = self.disk.copy() if survival is None else self.disk.after_power_cut(survival)
            self._moments.append((image, self.oracle.copy()))

    def run(self) -> None:
        """Everything that makes calls of another kind, in as few of them as may be."""
        for name, tenant in (("siem_a", "a"), ("siem_b", "b")):
            self.insist(partial(self.life.add_consumer, name, tenant))
        self.attempt(lambda: self.life.append(("a", 6, 40), ("b", 1, 30)))
        self.attempt(lambda: self.life.settle_refused_of("siem_a", 2))
        self.attempt(lambda: self.life.settle_refused_of("siem_a", 1))
        for _ in range(4):
            self.attempt(lambda: self.life.append(("b", 1, BIG), ("a", 1, 20)))
        self.attempt(lambda: self.life.deliver("siem_b"))
        self.attempt(self.life.checkpoint)
        self.attempt(self.life.retain)
        refused = [name for name, how in self.oracle.books["siem_a"].ended.items() if how == "dead_lettered"]
        self.attempt(lambda: self.life.replay("siem_a", refused[:1]))
        self.attempt(lambda: self.life.delete_letters("siem_a", refused[2:]))
        self.attempt(lambda: self.life.settle_refused_of("siem_a", 1))
        self.attempt(lambda: self.life.drop("siem_a"))
        self.attempt(self.life.checkpoint)
        self.life.close()
        self.disk.kill()
        self.life = self._opened()
        self.attempt(lambda: self.life.append(("a", 2, 10), ("b", 1, 10)))
        self.attempt(lambda: self.life.settle_refused_of("siem_a", 1))
        self.attempt(lambda: self.life.deliver("siem_b"))

    def insist(self, operation: Callable[[], object]) -> None:
        """A disk that is too small for it gets larger in the end."""
        for tries in itertools.count(1):
            if self.attempt(operation):
                return
            if tries >= INSISTED_MAX:
                assert self.disk.capacity is not None, self.told[-1]
                self.disk.capacity += 1 << 20

    def heal(self) -> None:
        """The fault is over: within a second the queue knows."""
        self.disk.fault, self.disk.capacity = None, None
        self.life.clock.advance(2)
        self.lab.run(self.life.queue._commits.heal_if_due())
        assert self.life.queue.status().problem == ""
        self.life.append(("a", 1, 10), ("b", 1, 10))

    def wrong(self) -> list[str]:
        """Of the queue as it runs, of what a crash leaves of it, and of what one at a moment kept would have left."""
        wrong = self.oracle.differences(self.life.findings()) + self.disk.violations
        wrong += [str(line) for line in self.life.corrupt]
        survival = (NOTHING, EVERYTHING, random_survival(self.disk.calls))[self.disk.calls % 3]
        wrong += examine(self.lab, self.disk.after_power_cut(survival), self.oracle)[0]
        for disk, oracle in self._moments:
            disk.capacity = None
            wrong += [f"at the fault: {text}" for text in examine(self.lab, disk, oracle)[0]]
        return wrong


def calls_of_a_trial(lab: Lab) -> int:
    disk = SimulatedDisk()
    Trial(lab, disk).run()
    return disk.calls


def cases(lab: Lab, eio_step: int, step: int) -> Iterator[Countdown]:
    """Every ``eio_step``-th call fails once with EIO, every ``step``-th in every other way, once or some in a row."""
    calls = calls_of_a_trial(lab)
    for at in range(0, calls, eio_step):
        yield Countdown(at, errno.EIO)
    ways = [(number, times) for number in ERRORS for times in (1, 3, 25)][1:]
    for index, (number, times) in enumerate(ways):
        for at in range(index % step, calls, step):
            yield Countdown(at, number, times)


def test_any_call_may_fail_and_no_promise_is_broken(roomy: Lab, soak: bool) -> None:
    """The n-th call of the workload fails, for each n, and with each error: see the module's first lines."""
    tried = 0
    for fault in cases(roomy, 1 if soak else 5, 1 if soak else 97):
        disk = SimulatedDisk(seed=tried)
        disk.fault = fault
        trial = Trial(roomy, disk, seed=tried)
        trial.run()
        trial.heal()
        assert trial.wrong() == [], fault.failed
        tried += 1
    assert tried >= (5_000 if soak else 120)


def test_a_disk_may_fill_up_at_any_byte(roomy: Lab, soak: bool) -> None:
    """Whatever the size of the disk: a start says so, what does not fit later is refused, nothing is lost, and once
    there is space it goes on.
    """
    refused_starts = refused_later = 0
    for capacity in range(0, 2_300_000, 4_001 if soak else 77_003):
        disk = SimulatedDisk(seed=capacity)
        disk.capacity = capacity
        trial = Trial(roomy, disk, starts_max=1)
        refused_starts += bool(trial.told)
        started = len(trial.told)
        trial.run()
        refused_later += len(trial.told) > started
        trial.heal()
        assert trial.wrong() == [], capacity
    assert refused_starts
    assert refused_later


def test_writes_may_be_short(roomy: Lab) -> None:
    """Each write takes half of what it is given: nothing is refused and nothing differs."""
    disk = SimulatedDisk()
    disk.short_writes = True
    trial = Trial(roomy, disk)
    trial.run()
    assert trial.told == []
    assert trial.wrong() == []


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "full"), (errno.EIO, "fails to write")])
def test_a_queue_that_cannot_commit_says_so_and_goes_on_delivering(roomy: Lab, number: int, words: str) -> None:
    """While no segment can be made: appends are refused with a time to come back, the status says why, what is
    durable is handed out, and a checkpoint still fits.
    """
    disk = SimulatedDisk()
    life = Life(roomy, disk, Oracle())
    life.add_consumer("siem_a", "a")
    life.append(("a", 5, 10))
    disk.fault = lambda name, path: number if "/log" in path and name in ("pwritev", "create") else None
    for _ in range(2):
        with pytest.raises(Faulty) as told:
            life.append(("a", 1, 10))
        assert isinstance(told.value.__cause__, QueueUnavailable)
        assert told.value.__cause__.retry_after_s > 0
        assert words in life.queue.status().problem
        assert words in str(told.value)
    life.deliver("siem_a")
    life.checkpoint()
    assert life.consumer("siem_a").ledger().delivered == 5
    assert life.oracle.differences(life.findings()) == []
    assert disk.violations == []


def test_an_outage_of_the_disk_leaves_no_files_behind(roomy: Lab) -> None:
    """Each try to begin a segment takes away what it made: a disk that fails for an hour is not filled by it."""
    disk = SimulatedDisk()
    life = Life(roomy, disk, Oracle())
    life.append(("a", 1, 10))
    disk.fault = lambda name, path: errno.EIO if "/log" in path and name in ("fdatasync", "rename") else None
    with pytest.raises(Faulty):
        life.append(("a", 1, 10))
    for _ in range(50):
        life.clock.advance(2)
        roomy.run(life.queue._commits.heal_if_due())
    assert [name for name in disk.contents() if "spare" in name] == []
    assert len([name for name in disk.contents() if name.endswith(".seg")]) == 1


def after_a_failed_sync(seed: int) -> tuple[bytes, bytes, bytes]:
    """What is read then, what a crash would leave, and what one leaves after a sync that succeeds."""
    disk = SimulatedDisk(seed=seed)
    files = DiskFiles(ROOT, disk)
    file = files.create("new", 3)
    files.rename("new", "file")  # which makes the name durable
    file.write_at(0, [b"new"])
    disk.fault = lambda name, path: errno.EIO if name == "fdatasync" else None
    with pytest.raises(OSError, match="Input/output"):
        file.sync(0)
    disk.fault = None
    path = f"{ROOT}/file"
    seen = file.read_at(0, 3), disk.after_power_cut(NOTHING).contents()[path]
    file.sync(0)
    return *seen, disk.after_power_cut(NOTHING).contents()[path]


def test_the_disk_knows_all_that_a_failed_sync_may_leave() -> None:
    """The bytes are on the device, gone, in the cache alone, or come with a later sync."""
    old, new = bytes(3), b"new"
    ways = {(new, new, new), (old, old, old), (new, old, old), (new, old, new)}
    assert ways <= {after_a_failed_sync(seed) for seed in range(100)}


def batch_that_failed_twice(lab: Lab, seed: int) -> list[str]:
    """A batch fails in one file and again in the next one; what comes after it gets its numbers. What is wrong then?"""
    disk = SimulatedDisk(seed=seed)
    life = Life(lab, disk, Oracle())
    life.add_consumer("siem_a", "a")
    life.append(("a", 1, 10))
    syncs: list[str] = []

    def fault(name: str, path: str) -> int | None:
        if name == "fdatasync" and "spare" in path:
            syncs.append(path)
            return errno.EIO if len(syncs) in (1, 3) else None  # the batch, and the same behind the next one's header
        return None

    disk.fault = fault
    with pytest.raises(Faulty):
        life.append(("a", 1, 10))
    assert len(syncs) == 3
    disk.fault = None
    life.clock.advance(2)
    life.append(("a", 1, 10))
    return examine(lab, disk.after_power_cut(EVERYTHING), life.oracle)[0] + disk.violations


def test_a_batch_that_failed_never_takes_the_place_of_a_later_one(roomy: Lab) -> None:
    """Bytes of a refused batch that the disk kept are not read again, though a segment without events lay between."""
    for seed in range(10):
        assert batch_that_failed_twice(roomy, seed) == []
