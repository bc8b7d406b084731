"""The plain functions of delivery: backoff, breaker, limiter, outage clock, bisection, acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import RetryPolicy
from gateway.delivery import backoff, pacing
from gateway.delivery.acks import AckBook, Awaited
from gateway.delivery.bisect import Bisection, Part
from gateway.delivery.breaker import Breaker
from gateway.delivery.health import BreakerState, LastError
from gateway.delivery.limiter import BatchLimit, Limiter
from gateway.delivery.outage import Memory, OutageClock, recall, remember

POLICY = RetryPolicy()


@given(st.integers(1, 100_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_between_nothing_and_its_cap(failures: int, chance: float) -> None:
    """However many failures, the delay neither overflows nor leaves its bounds."""
    delay_s = backoff.full_jitter_s(failures, base_s=0.5, max_s=60, random=lambda: chance)
    assert 0 <= delay_s <= min(60, 0.5 * 2 ** min(failures - 1, 10))


def test_a_providers_wish_is_granted_up_to_its_cap() -> None:
    """A Retry-After of hours is asked again after 15 minutes."""
    assert backoff.granted_s(POLICY, 7) == 7
    assert backoff.granted_s(POLICY, 10_000) == 900


def test_misconfigured_destinations_are_probed_slowly() -> None:
    """The slow schedule waits at least half of its full delay and no longer than five minutes."""
    delays = [backoff.delay_s(POLICY, n, misconfigured=True, random=lambda: 0.0) for n in range(1, 12)]
    assert delays[0] == POLICY.misconfigured_s / 2
    assert max(delays) == POLICY.misconfigured_max_s / 2
    assert delays == sorted(delays)


def test_the_breaker_lets_one_probe_through_when_its_time_has_come() -> None:
    """Open until the delay is over, then one request at a time until one succeeds."""
    breaker = Breaker()
    assert breaker.wait_s(0.0, 5) == 0.0
    breaker.open(0.0, 10.0)
    assert breaker.state(9.0) is BreakerState.OPEN
    assert breaker.wait_s(4.0, 0) == 6.0
    assert breaker.state(10.0) is BreakerState.HALF_OPEN
    assert breaker.wait_s(10.0, 0) == 0.0
    assert breaker.wait_s(10.0, 1) is None
    breaker.close(10.5, sent_at_s=10.0)
    assert breaker.state(10.5) is BreakerState.CLOSED


def test_requests_that_fail_together_count_once() -> None:
    """Of eight requests under way when the first one fails, the other seven do not double the backoff again."""
    breaker = Breaker()
    assert breaker.counts(started_at_s=1.0)
    breaker.count()
    breaker.open(2.0, 3.0)
    assert not breaker.counts(started_at_s=1.5)
    assert breaker.counts(started_at_s=3.0)


def test_a_providers_wish_postpones_and_never_shortens() -> None:
    """The longer of the wish and our own backoff holds, also where the failure that it came with does not count."""
    breaker = Breaker()
    breaker.open(2.0, 30.0)
    breaker.honour(2.0, 20.0)
    assert breaker.wait_s(10.0, 0) == 20.0
    breaker.honour(3.0, 40.0)
    assert breaker.wait_s(10.0, 0) == 30.0
    assert breaker.failures == 0
    assert breaker.counts(started_at_s=2.0)


def test_a_providers_wish_outlasts_the_success_of_what_was_sent_before_it() -> None:
    """Requests under way together get different answers: the one that says when to come again is believed; after that
    time, or after a success of what was sent since, nothing is held back.
    """
    breaker = Breaker()
    breaker.close(4.0, sent_at_s=1.0)
    breaker.honour(5.0, 35.0)
    breaker.close(6.0, sent_at_s=1.0)
    assert breaker.wait_s(15.0, 0) == 20.0
    breaker.close(7.0, sent_at_s=5.0)
    assert breaker.state(7.0) is BreakerState.CLOSED
    breaker.honour(8.0, 20.0)
    breaker.close(40.0, sent_at_s=1.0)
    assert breaker.state(40.0) is BreakerState.CLOSED


def test_our_own_backoff_ends_with_any_success() -> None:
    """One of many requests fails now and then: what was sent beside it shows that the destination takes events."""
    breaker = Breaker()
    breaker.count()
    breaker.open(5.0, 35.0)
    breaker.close(6.0, sent_at_s=1.0)
    assert breaker.state(6.0) is BreakerState.CLOSED
    assert breaker.failures == 0


def test_the_limiter_grows_when_it_holds_back_and_shrinks_when_throttled() -> None:
    """Additive increase up to the maximum, multiplicative decrease, never below one."""
    limiter = Limiter(8)
    for _ in range(200):
        limiter.succeeded(0.1, in_flight=limiter.limit)
    assert limiter.limit == 8
    limiter.throttled()
    assert limiter.limit == 5
    for _ in range(50):
        limiter.throttled()
    assert limiter.limit == 1


def test_the_limiter_shrinks_when_answers_come_late() -> None:
    """A provider that slows down gets fewer requests at once."""
    limiter = Limiter(8)
    for _ in range(100):
        limiter.succeeded(0.1, in_flight=limiter.limit)
    before = limiter.limit
    for n in range(30):
        limiter.succeeded(0.1 * 1.5**n, in_flight=limiter.limit)
    assert limiter.limit < before


DAY_S = 86_400.0


def test_requests_that_time_out_are_halved_and_grow_again() -> None:
    """Down to one event; only a request that was as large as allowed shows that more might be taken."""
    batch = BatchLimit(1000)
    batch.timed_out(1000, of_batch=1000)
    batch.timed_out(500, of_batch=500)
    assert batch.events == 250
    batch.timed_out(3, of_batch=3)
    assert batch.events == 1
    batch.timed_out(1, of_batch=1)
    assert batch.events == 1
    for events in (1, 1, 4, 8, 600, 600):
        batch.answered(events)
    assert batch.events == 32
    for _ in range(10):
        batch.answered(1000)
    assert batch.events == 1000


def test_a_batch_of_several_requests_is_halved_as_a_whole() -> None:
    """However its requests are cut; where each has one event, a smaller batch would help none of them."""
    batch = BatchLimit(1000)
    batch.timed_out(1, of_batch=1000)
    assert batch.events == 1000
    batch.timed_out(10, of_batch=1000)
    assert batch.events == 500
    batch.answered(500)
    assert batch.events == 1000


@pytest.mark.parametrize(("events_per_s", "pause_s"), [(1_000, 0.0), (10_000, 0.0), (40_000, 0.02), (500_000, 0.02)])
def test_requests_grow_where_events_come_fast_and_go_at_once_where_they_do_not(
    events_per_s: int, pause_s: float
) -> None:
    """From any size of request on: the pause ends as nothing, or as the longest that is allowed."""
    answer_s = 0.001
    events = 200.0
    for _ in range(50):
        pause = pacing.pause_s(round(events), 0.02)
        events = max(answer_s, pause) * events_per_s
    assert pacing.pause_s(round(events), 0.02) == pause_s


def test_an_outage_is_counted_in_time_that_passed_not_in_clock_jumps() -> None:
    """Also over the time that the process was away; the wall clock counts only when the machine was started anew."""
    clock = OutageClock(Memory(), now_s=100.0, wall_s=1000.0, boot_id="first")
    assert clock.begin(now_s=100.0, wall_s=1000.0)
    assert not clock.begin(now_s=150.0, wall_s=90_000.0)
    assert clock.elapsed_s(160.0) == 60.0
    saved = Memory(1000.0, elapsed_s=60.0, saved_at_s=2000.0, saved_at_monotonic_s=160.0, boot_id="first")
    for wall_s in (2030.0, 2030.0 + DAY_S, 2030.0 - DAY_S):
        again = OutageClock(saved, now_s=190.0, wall_s=wall_s, boot_id="first")
        assert again.elapsed_s(200.0) == 60.0 + 30.0 + 10.0
    rebooted = OutageClock(saved, now_s=5.0, wall_s=2600.0, boot_id="second")
    assert rebooted.elapsed_s(15.0) == 60.0 + 600.0 + 10.0
    back = OutageClock(saved, now_s=5.0, wall_s=1500.0, boot_id="second")
    assert back.elapsed_s(5.0) == 60.0
    unknown = OutageClock(msgspec.structs.replace(saved, boot_id=""), now_s=5.0, wall_s=2600.0, boot_id="")
    assert unknown.elapsed_s(5.0) == 60.0 + 600.0


def test_the_memo_keeps_what_must_outlive_the_process() -> None:
    """A memory comes back as it was stored; an unreadable one is a fresh start."""
    memory = Memory(retrying_since_s=1.5, elapsed_s=3.0, last_error=LastError("503", "busy"), consecutive_failures=4)
    assert recall(remember(memory)) == memory
    assert recall(b"") == Memory()
    assert recall(b"\xff{") == Memory()


@given(st.integers(2, 200), st.sets(st.integers(0, 199), max_size=6), st.booleans())
def test_bisection_isolates_exactly_the_poison(size: int, poison: set[int], in_order: bool) -> None:
    """Whatever events are poison, they alone are left as suspects, in a number of requests that grows with the
    logarithm; in order, where that is to be kept.
    """
    poison = {n for n in poison if n < size}
    bisection = Bisection(Part(list(range(size)), [b"{}"] * size), "refuse", in_order=in_order)
    taken: list[int] = []
    requests = 0
    while (part := bisection.next_part()) is not None:
        requests += 1
        if poison & set(part.positions):
            bisection.refused(part, "400", "no")
        else:
            bisection.taken()
            taken += part.positions
    assert {suspect.part.positions[0] for suspect in bisection.suspects} == poison
    assert (taken if in_order else sorted(taken)) == [n for n in range(size) if n not in poison]
    assert requests <= 2 + 2 * max(1, len(poison)) * (size.bit_length() + 1)


def test_when_every_part_is_refused_the_request_is_suspected_and_not_the_events() -> None:
    """With ``degrade``, nothing is dead-lettered unless something else of the batch was taken."""
    bisection = Bisection(Part(list(range(64)), [b"{}"] * 64), "degrade", in_order=False)
    sent = 0
    while not bisection.hopeless() and (part := bisection.next_part()) is not None:
        sent += 1
        bisection.refused(part, "400", "no")
    assert sent == 64
    assert not bisection.are_poison()


@pytest.mark.parametrize(
    "poison",
    [
        range(0, 1000, 50),
        range(0, 1000, 4),
        range(300),
        range(100, 1000),
        [n for n in range(1000) if n // 40 % 2 == 0],
        [n for n in range(1000) if n % 2 == 0],
    ],
)
def test_however_refused_events_are_spread_it_is_seen_that_others_are_taken(poison: Sequence[int]) -> None:
    """No large part may be free of them; a single event is."""
    bisection = Bisection(Part(list(range(1000)), [b"{}"] * 1000), "degrade", in_order=False)
    while not bisection.hopeless() and not bisection.any_taken and (part := bisection.next_part()) is not None:
        if set(poison) & set(part.positions):
            bisection.refused(part, "400", "no")
        else:
            bisection.taken()
    assert bisection.are_poison()


def test_many_poisoned_events_at_the_front_do_not_hide_that_those_behind_are_taken() -> None:
    """In order the first good one comes late: the patience is longer, and ends."""
    bisection = Bisection(Part(list(range(1000)), [b"{}"] * 1000), "degrade", in_order=True)
    while not bisection.hopeless() and not bisection.any_taken and (part := bisection.next_part()) is not None:
        if part.positions[0] < 20:
            bisection.refused(part, "400", "no")
        else:
            bisection.taken()
    assert bisection.are_poison()
    refusing = Bisection(Part(list(range(1000)), [b"{}"] * 1000), "degrade", in_order=True)
    while not refusing.hopeless() and (part := refusing.next_part()) is not None:
        refusing.refused(part, "400", "no")
    assert not refusing.are_poison()


def test_acknowledgements_are_told_apart_by_channel_and_time_out() -> None:
    """The same id on another channel is another batch; what waits too long is given back."""
    book = AckBook()
    assert book.add("c1", 0, [1, 2], now_s=0.0) == []
    assert book.add("c2", 0, [3], now_s=50.0) == []
    assert book.waiting() == [("c1", [0]), ("c2", [0])]
    assert book.confirm("c2", [0, 7]) == [Awaited([3], 50.0)]
    assert book.positions() == [1, 2]
    assert book.overdue(before_s=-1.0) == []
    assert book.overdue(before_s=0.0) == [1, 2]
    assert book.positions() == []


def test_an_acknowledgement_id_that_is_given_again_hands_back_what_it_stood_for() -> None:
    """The id stands for the later batch alone."""
    book = AckBook()
    book.add("c1", 0, [1, 2], now_s=0.0)
    assert book.add("c1", 0, [3], now_s=1.0) == [1, 2]
    assert book.confirm("c1", [0]) == [Awaited([3], 1.0)]


@pytest.mark.parametrize("alone", ["refuse", "degrade"])
def test_a_bisection_in_which_something_was_taken_dead_letters_its_suspects(alone: str) -> None:
    """One good half proves that the destination works, so the refused event is the fault."""
    bisection = Bisection(Part([1, 2], [b"{}", b"{}"]), alone, in_order=False)  # type: ignore[arg-type]
    first, second = bisection.next_part(), bisection.next_part()
    assert first is not None
    assert second is not None
    bisection.taken()
    bisection.refused(second, "400", "no")
    assert bisection.are_poison()
