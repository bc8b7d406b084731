"""Figures of one destination: sums over attempts, differences of the books."""

from __future__ import annotations

from gateway.delivery.health import Attempt
from gateway.delivery.tally import ANSWERS_MAX, Tally
from gateway.destinations.history import Figures
from gateway.queue import Ledger


def ledger(delivered: int = 0, dead_lettered: int = 0, dropped: int = 0) -> Ledger:
    return Ledger(100, delivered, dead_lettered, dropped, 0, 0, True)


def attempt(code: int | None, duration_ms: float = 1.0, why: str = "") -> Attempt:
    return Attempt(0.0, 10, 100, duration_ms, code, "x", "", why)


def test_events_are_the_difference_of_the_books() -> None:
    """What the books held at the beginning is none of it, and nothing is counted twice."""
    tally = Tally(ledger(delivered=50))
    tally.failed(7)
    assert tally.take(ledger(60, 2, 3), "d", 60) == [
        Figures("d", 60, delivered=10, failed=7, dead_lettered=2, dropped=3)
    ]
    assert tally.take(ledger(60, 2, 3), "d", 120) == []
    assert tally.take(ledger(61, 2, 3), "d", 180) == [Figures("d", 180, delivered=1)]


def test_a_replay_is_no_negative_figure() -> None:
    """Dead letters that go back into the queue leave the books; what is delivered then counts as any other."""
    tally = Tally(ledger(dead_lettered=5))
    assert tally.take(ledger(delivered=1, dead_lettered=0), "d", 60) == [Figures("d", 60, delivered=1)]
    assert tally.take(ledger(delivered=1, dead_lettered=2), "d", 60) == [Figures("d", 60, dead_lettered=2)]


def test_attempts_are_summed_by_their_answer() -> None:
    """By status, or by what happened instead of an answer; with the sum of the latencies and the longest."""
    tally = Tally(ledger())
    for code, duration_ms, why in ((200, 2.0, ""), (200, 5.5, ""), (503, 1.0, "http_503"), (None, 60.0, "timeout")):
        tally.attempted(attempt(code, duration_ms, why))
    assert tally.take(ledger(), "d", 60) == [
        Figures("d", 60, "200", attempts=2, latency_ms_sum=7.5, latency_ms_max=5.5),
        Figures("d", 60, "503", attempts=1, latency_ms_sum=1.0, latency_ms_max=1.0),
        Figures("d", 60, "timeout", attempts=1, latency_ms_sum=60.0, latency_ms_max=60.0),
    ]
    assert tally.take(ledger(), "d", 120) == []


def test_an_endpoint_that_answers_with_anything_fills_no_memory() -> None:
    """Beyond a number of kinds the rest is one kind."""
    tally = Tally(ledger())
    for code in range(100, 700):
        tally.attempted(attempt(code))
    found = {item.answer: item.attempts for item in tally.take(ledger(), "d", 60)}
    assert len(found) == ANSWERS_MAX + 1
    assert found["other"] == 600 - ANSWERS_MAX
