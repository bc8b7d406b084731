"""The whole queue through any order of operations, with crashes in the midst of them and of the recoveries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.queue import Records, SubjectKind
from tests.crash.explorer import ROOMY, laboratory
from tests.crash.life import Lab, Life
from tests.crash.oracle import Oracle
from tests.simulated_disk import PowerCut, SimulatedDisk, random_survival

TENANTS = ("a", "b")
CONSUMERS = {"siem_a": "a", "siem_b": "b", "siem_all": "*"}
SIZES = (5, 700, 130_000)


class CrashMachine(RuleBasedStateMachine):
    """Each operation may be the one in which the power goes: after so many of its calls to the disk."""

    lab: Lab

    def __init__(self) -> None:
        super().__init__()
        self.disk, self.oracle = SimulatedDisk(), Oracle()
        self.life = Life(self.lab, self.disk, self.oracle)
        self.taken: list[tuple[str, Records]] = []
        for name, tenant in CONSUMERS.items():
            self.life.add_consumer(name, tenant)

    # -- operations

    @rule(tenant=st.sampled_from(TENANTS), count=st.integers(1, 5), size=st.sampled_from(SIZES), cut=st.integers(0, 9))
    def append(self, tenant: str, count: int, size: int, cut: int) -> None:
        count = 1 if size > 1000 else count
        self.perhaps_cut(cut, lambda: self.life.append((tenant, count, size), (TENANTS[0], 1, 10)))

    @rule(sizes=st.lists(st.sampled_from(SIZES), min_size=2, max_size=4), cut=st.integers(0, 12))
    def append_together(self, sizes: list[int], cut: int) -> None:
        parcels = [(TENANTS[at % 2], 1, size) for at, size in enumerate(sizes)]
        self.perhaps_cut(cut, lambda: self.life.append_together(*parcels))

    @rule(cut=st.integers(0, 5), data=st.data())
    def backfill(self, cut: int, data: st.DataObject) -> None:
        name = self.some_consumer(data)
        self.perhaps_cut(cut, lambda: self.life.append((name, 2, 20), kind=SubjectKind.BACKFILL))

    @rule(count=st.integers(1, 9), data=st.data())
    def take(self, count: int, data: st.DataObject) -> None:
        name = self.some_consumer(data)
        if (records := self.life.take(name, count)) is not None:
            self.taken.append((name, records))

    @precondition(lambda self: self.taken)
    @rule(outcome=st.sampled_from(["delivered", "dead_lettered"]), cut=st.integers(0, 12), data=st.data())
    def settle(self, outcome: str, cut: int, data: st.DataObject) -> None:
        name, records = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        indexes = data.draw(st.lists(st.integers(0, len(records.positions) - 1), unique=True, min_size=1).map(sorted))
        self.perhaps_cut(cut, lambda: self.life.settle(name, records, outcome, indexes))

    @rule(is_on=st.booleans(), data=st.data())
    def change_filter(self, is_on: bool, data: st.DataObject) -> None:
        self.life.set_filter(self.some_consumer(data), is_on)

    @rule(cut=st.integers(0, 5), data=st.data())
    def drop(self, cut: int, data: st.DataObject) -> None:
        name = self.some_consumer(data)
        if not any(taker == name for taker, _ in self.taken):
            self.perhaps_cut(cut, lambda: self.life.drop(name))

    @rule(cut=st.integers(0, 5))
    def checkpoint(self, cut: int) -> None:
        self.perhaps_cut(cut, self.life.checkpoint)

    @rule(cut=st.integers(0, 60))
    def retain(self, cut: int) -> None:
        """Removal and compaction, one segment in a round."""
        self.perhaps_cut(cut, self.life.retain)

    @rule(cut=st.integers(0, 25), replays=st.booleans(), data=st.data())
    def use_letters(self, cut: int, replays: bool, data: st.DataObject) -> None:
        name = self.some_consumer(data)
        book = self.oracle.books[name]
        loose = book.letters_deleted | book.letters_deleting
        kept = [event_id for event_id, how in book.ended.items() if how == "dead_lettered" and event_id not in loose]
        if kept:
            chosen = data.draw(st.lists(st.sampled_from(kept), unique=True, min_size=1))
            self.perhaps_cut(
                cut,
                lambda: self.life.replay(name, chosen) if replays else self.life.delete_letters(name, chosen),
            )

    @precondition(lambda self: self.oracle.books["siem_all"].state == "there")
    @rule(cut=st.integers(0, 5))
    def remove_consumer(self, cut: int) -> None:
        self.taken = [(name, records) for name, records in self.taken if name != "siem_all"]
        self.perhaps_cut(cut, lambda: self.life.remove_consumer("siem_all"))

    @rule()
    def restart(self) -> None:
        self.life.close()
        self.disk.kill()
        self.reopen(0, 0)

    # -- crashes

    @rule(seed=st.integers(1, 1 << 20), again=st.integers(0, 60))
    def lose_power(self, seed: int, again: int) -> None:
        self.reopen(seed, again)

    @rule(again=st.integers(0, 60))
    def be_killed(self, again: int) -> None:
        self.disk.kill()
        self.reopen(0, again)

    def perhaps_cut(self, calls: int, operation: Callable[[], object]) -> None:
        """Cut within the operation where it makes more than so many calls; 0: not at all."""
        self.disk.cut_after = self.disk.calls + calls if calls else None
        try:
            operation()
        except PowerCut:
            self.reopen(calls * 7919 + self.disk.calls, 0)
        else:
            self.disk.cut_after = None

    def reopen(self, seed: int, again: int) -> None:
        """``seed`` says what survives, 0: the process alone has ended; ``again``: the power goes once more, after so
        many calls of the recovery.
        """
        self.taken = []
        self.disk = self.disk.after_power_cut(random_survival(seed)) if seed else self.disk.copy()
        if again:
            self.disk.cut_after = again
            try:
                Life(self.lab, self.disk, self.oracle)
            except PowerCut:
                self.disk = self.disk.after_power_cut(random_survival(seed + again))
            else:
                self.disk = self.disk.copy()
        self.life = Life(self.lab, self.disk, self.oracle)
        found = self.life.findings()
        assert self.oracle.differences(found) == []
        self.oracle.go_on_from(found)
        for name in found:
            self.life.set_filter(name, self.oracle.books[name].filters)

    # -- always

    @invariant()
    def nothing_is_damaged(self) -> None:
        assert self.life.corrupt == []
        assert self.disk.violations == []
        assert self.life.queue.status().problem == ""

    @invariant()
    def books_balance(self) -> None:
        for name in self.life.queue.consumer_ids():
            ledger = self.life.consumer(name).ledger()
            assert ledger.balanced
            assert ledger.accepted == len(self.oracle.books[name].accepted)

    def teardown(self) -> None:
        self.reopen(4711, 0)

    def some_consumer(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.life.queue.consumer_ids())))


def test_any_order_of_operations_and_crashes_keeps_every_promise(soak: bool) -> None:
    """See the oracle: nothing acknowledged is lost, nothing invented, books exact, order and bytes kept."""
    with ExitStack() as stack:
        stack.enter_context(laboratory())
        CrashMachine.lab = Lab(ROOMY)
        stack.callback(CrashMachine.lab.close)
        run_state_machine_as_test(
            CrashMachine,
            settings=settings(
                max_examples=3_000 if soak else 30,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
