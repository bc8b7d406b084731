"""How many runs of settled events consumers may keep."""

from __future__ import annotations

from gateway.queue.wal.run_budget import RUNS_IN_ALL_MAX, RUNS_MAX, RUNS_MIN, RunBudget


def test_one_consumer_has_a_bound() -> None:
    """Whatever room there is in all."""
    budget = RunBudget()
    assert budget.room("siem_a") == RUNS_MAX
    budget.count("siem_a", RUNS_MAX - 1)
    assert (budget.room("siem_a"), budget.room("siem_b")) == (1, RUNS_MAX)


def test_all_consumers_have_a_bound_and_each_a_few() -> None:
    """Whoever is counted again counts once, and what is kept no more is room."""
    budget = RunBudget()
    full = [f"siem_{number}" for number in range(RUNS_IN_ALL_MAX // RUNS_MAX)]
    for consumer_id in full * 2:
        budget.count(consumer_id, RUNS_MAX)
    assert {budget.room(consumer_id) for consumer_id in full} == {0}
    assert budget.room("siem_a") == RUNS_MIN
    budget.count("siem_a", RUNS_MIN)
    assert budget.room("siem_a") == 0
    budget.count(full[0], 0)
    assert budget.room("siem_a") == RUNS_MAX - RUNS_MIN
    assert budget.room(full[0]) == RUNS_MAX - RUNS_MIN
