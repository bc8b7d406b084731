"""What a filter leaves out: when it is booked, what it costs, and that the books stay right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest

from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import Entry, GapReason, Refused, Subject, SubjectKind
from gateway.queue.wal import run_budget, sieve
from gateway.queue.wal.consumer import WalConsumer
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics
from tests.clock import ManualClock
from tests.memory_files import MemoryFiles

SMALL = Queue(
    disk_budget_bytes=Bytes(64 << 20), segment_bytes=Bytes(256 << 10), tail_bytes=Bytes(32 << 10), compression_level=0
)


class House:
    """A queue of one tenant with one destination. A filter leaves out the events with a ``-`` in their id."""

    def __init__(self, files: MemoryFiles, settings: Queue) -> None:
        self.files, self.settings = files, settings
        self.number = 0
        self.judged: list[int] = []

    async def open(self) -> None:
        self.queue: WalQueue = await open_queue(self.files, self.settings, clock=ManualClock(), metrics=Metrics())
        consumer = await self.queue.add_consumer("siem_a", "a")
        assert isinstance(consumer, WalConsumer)
        self.consumer = consumer

    async def reopen(self) -> None:
        await self.queue.close()
        await self.open()

    def matcher(self, lines: Sequence[bytes]) -> list[bool]:
        self.judged.append(len(lines))
        return [b"-" not in line for line in lines]

    async def post(self, text: str, subject: Subject | None = None, *, padding: int = 0) -> None:
        """A frame of events: a ``-`` for each that is to be left out, a ``+`` for each other."""
        lines = []
        for sign in text:
            mark = b"-" if sign == "-" else b""
            lines.append(b'{"id":"%d%s","p":"%s"}' % (self.number, mark, b"x" * padding))
            self.number += 1
        await self.queue.append([Entry(subject or Subject(SubjectKind.TENANT, "a"), b"\n".join(lines), len(lines))])
        await self.judge()

    async def judge(self) -> None:
        while self.consumer._sifting is not None:
            await asyncio.sleep(0)

    async def taken(self, events_max: int = 1000) -> list[int]:
        """The positions of what is handed out now."""
        records = await self.consumer.take(events_max=events_max, bytes_max=1 << 20)
        if records is None:
            return []
        assert not (self.consumer._sieve and any(b"-" in line for line in records.lines))
        return records.positions

    async def all_delivered(self) -> list[int]:
        positions: list[int] = []
        while found := await self.taken():
            self.consumer.settle_delivered(found)
            positions += found
        return positions

    def books(self) -> tuple[int, int, int]:
        """Filtered, dropped, pending."""
        ledger = self.consumer.ledger()
        assert ledger.balanced
        return ledger.filtered, ledger.dropped, ledger.pending


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House(MemoryFiles(), SMALL)
    await house.open()
    yield house
    await house.queue.close()


@pytest.fixture
async def roomy() -> AsyncIterator[House]:
    house = House(MemoryFiles(), Queue())
    await house.open()
    yield house
    await house.queue.close()


async def test_what_is_left_out_does_not_wait_for_a_worker(house: House) -> None:
    """It is booked as filtered when it comes, though nobody takes; what passes is pending."""
    house.consumer.set_filter(house.matcher)
    await house.post("+--+")
    assert house.books() == (2, 0, 2)
    assert house.consumer.untaken_events() == 2
    assert await house.taken() == [0, 3]


async def test_each_event_is_judged_once(house: House) -> None:
    """Nor does it matter how often it is handed out."""
    house.consumer.set_filter(house.matcher)
    await house.post("+-+")
    for _ in range(3):
        house.consumer.release(await house.taken())
    assert sum(house.judged) == 3


async def test_judging_goes_in_steps(roomy: House) -> None:
    """Others have their turn between them, whether it runs ahead or reads what nobody took before."""
    roomy.consumer.set_filter(roomy.matcher)
    await roomy.post("-" * 5000)
    assert roomy.books() == (5000, 0, 0)
    assert max(roomy.judged) <= sieve.STEP_EVENTS
    roomy.consumer.set_filter(None)
    await roomy.post("-" * 5000)
    roomy.consumer.set_filter(roomy.matcher)
    taking, turns = asyncio.create_task(roomy.taken()), 0
    while not taking.done():
        await asyncio.sleep(0)
        turns += 1
    assert await taking == []
    assert max(roomy.judged) <= sieve.STEP_EVENTS
    assert turns >= 5000 // sieve.STEP_EVENTS


async def test_a_batch_is_full_though_much_is_left_out(house: House) -> None:
    """Events that are left out take no room from those that are handed out."""
    house.consumer.set_filter(house.matcher)
    for _ in range(10):
        await house.post("+---")
    assert len(await house.taken(8)) == 8


async def test_runs_of_settled_events_have_a_bound(roomy: House) -> None:
    """A filter that leaves out every second event does not fill memory and checkpoints; the rest is judged later."""
    roomy.consumer.set_filter(roomy.matcher)
    for _ in range(10):
        await roomy.post("+-" * 1000)
    assert roomy.consumer._cursor.settled_runs() == run_budget.RUNS_MAX
    assert roomy.books() == (run_budget.RUNS_MAX, 0, 20_000 - run_budget.RUNS_MAX)
    first = await roomy.taken(1000)
    roomy.consumer.settle_delivered(first)
    await roomy.post("-")
    assert roomy.consumer._cursor.settled_runs() == run_budget.RUNS_MAX
    positions = first + await roomy.all_delivered()
    assert positions == list(range(0, 20_000, 2))
    assert roomy.books() == (10_001, 0, 0)


async def failing_ones(house: House, count: int, *, tenant: str = "a") -> list[WalConsumer]:
    """Destinations with the filter from which nobody takes."""
    made = []
    for number in range(count):
        consumer = await house.queue.add_consumer(f"siem_failing_{number}", tenant)
        assert isinstance(consumer, WalConsumer)
        consumer.set_filter(house.matcher)
        made.append(consumer)
    return made


def runs_of_all(house: House) -> list[int]:
    return [consumer._cursor.settled_runs() for consumer in house.queue._consumers.values()]


async def all_judge(house: House) -> None:
    while any(consumer._sifting is not None for consumer in house.queue._consumers.values()):
        await asyncio.sleep(0)


async def test_runs_of_all_together_have_a_bound(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes last may keep a few still, and what is judged later only is delivered all the same."""
    monkeypatch.setattr(run_budget, "RUNS_IN_ALL_MAX", 100)
    failing = await failing_ones(house, 20)
    house.consumer.set_filter(house.matcher)
    for _ in range(5):
        await house.post("+-" * 40)
        await all_judge(house)
    runs = runs_of_all(house)
    assert 100 <= sum(runs) <= 100 + 20 * run_budget.RUNS_MIN
    assert min(runs) >= run_budget.RUNS_MIN
    assert all(consumer.ledger().balanced for consumer in failing)
    assert await house.all_delivered() == list(range(0, 400, 2))
    assert house.books() == (200, 0, 0)


@pytest.mark.parametrize("how", ["delivered", "dropped", "removed"])
async def test_runs_that_are_kept_no_more_make_room(house: House, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """For those of others, once more events come."""
    monkeypatch.setattr(run_budget, "RUNS_IN_ALL_MAX", 100)
    house.consumer.set_filter(house.matcher)
    await house.post("+-" * 200)
    (last,) = await failing_ones(house, 1)
    await house.post("+-" * 200)
    await all_judge(house)
    assert runs_of_all(house) == [100, run_budget.RUNS_MIN]
    if how == "delivered":
        await house.all_delivered()
    elif how == "dropped":
        await house.consumer.drop_pending(GapReason.DISABLED)
    else:
        await house.queue.remove_consumer("siem_a")
    await house.queue.append([Entry(Subject(SubjectKind.TENANT, "a"), b'{"id":"-"}', 1)])
    await all_judge(house)
    assert last._cursor.settled_runs() >= 99
    if how == "removed":
        await house.open()


async def test_runs_are_counted_again_after_a_restart(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint brings back what a destination keeps, also where it has no filter yet and nothing comes for it."""
    monkeypatch.setattr(run_budget, "RUNS_IN_ALL_MAX", 100)
    house.consumer.set_filter(house.matcher)
    await house.post("+-" * 200)
    await house.reopen()
    (last,) = await failing_ones(house, 1, tenant="b")
    await house.post("+-" * 200, Subject(SubjectKind.TENANT, "b"))
    await all_judge(house)
    assert runs_of_all(house) == [100, run_budget.RUNS_MIN]
    assert last.ledger().balanced


async def test_taking_a_filter_away_frees_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it left out ahead is kept, and counted."""
    monkeypatch.setattr(run_budget, "RUNS_IN_ALL_MAX", 100)
    house.consumer.set_filter(house.matcher)
    await house.post("+-" * 200)
    await house.queue.checkpoint()
    house.consumer.set_filter(None)
    await failing_ones(house, 1)
    await house.post("+-" * 200)
    await all_judge(house)
    assert runs_of_all(house) == [100, run_budget.RUNS_MIN]


async def test_taking_a_filter_away_and_back_makes_no_room(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing comes in between."""
    monkeypatch.setattr(run_budget, "RUNS_IN_ALL_MAX", 100)
    house.consumer.set_filter(house.matcher)
    await house.post("+-" * 200)
    house.consumer.set_filter(None)
    house.consumer.set_filter(house.matcher)
    await house.judge()
    assert runs_of_all(house) == [100]


async def test_a_filter_can_be_narrowed(house: House) -> None:
    """What waits is judged anew at once, also what was handed out before and came back."""
    await house.post("+-")
    in_flight = await house.taken()
    await house.post("-+")
    house.consumer.release(in_flight)
    house.consumer.set_filter(house.matcher)
    await house.judge()
    assert house.books() == (2, 0, 2)
    assert await house.taken() == [0, 3]


@pytest.mark.parametrize("is_ahead", [True, False])
async def test_what_is_in_flight_is_judged_once_it_comes_back(house: House, is_ahead: bool) -> None:
    """It was handed out under the filter before. Also when its neighbours are judged meanwhile."""
    await house.post("+-+-")
    early, late = await house.taken(2), await house.taken(2)
    house.consumer.release(early)
    house.consumer.set_filter(house.matcher)
    if is_ahead:
        await house.judge()
    assert await house.taken() == [0]
    assert house.books() == (1, 0, 3)
    house.consumer.release(late)
    assert await house.taken() == [2]
    assert house.books() == (2, 0, 2)


async def test_a_filter_can_be_taken_away(house: House) -> None:
    """What it left out stays so; what comes is handed out."""
    house.consumer.set_filter(house.matcher)
    await house.post("-+")
    house.consumer.set_filter(None)
    await house.post("-")
    assert await house.taken() == [1, 2]
    assert house.books() == (1, 0, 2)


async def test_what_was_left_out_ahead_survives_a_restart(house: House) -> None:
    """The settlement and its count are in the same checkpoint; what comes later is judged once there is a filter."""
    house.consumer.set_filter(house.matcher)
    await house.post("+-+-")
    await house.reopen()
    assert house.books() == (2, 0, 2)
    house.consumer.set_filter(house.matcher)
    await house.post("-")
    assert house.books() == (3, 0, 2)
    assert await house.taken() == [0, 2]


@pytest.mark.parametrize("is_ahead", [True, False])
async def test_what_is_left_out_is_in_the_next_checkpoint(house: House, is_ahead: bool) -> None:
    """Wherever it was judged."""
    await house.post("--")
    await house.queue.checkpoint()
    house.consumer.set_filter(house.matcher)
    if is_ahead:
        await house.judge()
    assert await house.taken() == []
    await house.reopen()
    assert house.books() == (2, 0, 0)


async def test_what_is_on_disk_is_judged_when_it_is_read(house: House) -> None:
    """A new filter judges at once what is in memory, and what is behind that when it is taken."""
    for _ in range(20):
        await house.post("+-", padding=2000)
    house.consumer.set_filter(house.matcher)
    await house.judge()
    filtered, _, pending = house.books()
    assert 0 < filtered < 20
    assert pending == 40 - filtered
    assert await house.all_delivered() == list(range(0, 40, 2))
    assert house.books() == (20, 0, 0)


async def test_backfills_and_replays_pass_the_filter(house: House) -> None:
    """As all others do."""
    await house.post("-+")
    records = await house.consumer.take(events_max=2, bytes_max=1 << 20)
    assert records is not None
    await house.consumer.settle_refused(
        [Refused(at, line, "400", "no") for at, line in zip(records.positions, records.lines, strict=True)]
    )
    house.consumer.set_filter(house.matcher)
    await house.post("+-", Subject(SubjectKind.BACKFILL, "siem_a"))
    assert house.books() == (1, 0, 1)
    await house.consumer.replay_dead_letters()
    await house.judge()
    assert house.books() == (2, 0, 2)
    assert await house.all_delivered() == [2, 5]


async def test_a_gap_does_not_count_what_is_left_out(house: House) -> None:
    """Nor does it begin or end with it."""
    house.consumer.set_filter(house.matcher)
    await house.queue.append(
        [Entry(Subject(SubjectKind.TENANT, "a"), b'{"id":"x-"}\n{"id":"a"}\n{"id":"b"}\n{"id":"y-"}', 4)]
    )
    assert await house.consumer.drop_pending(GapReason.DISABLED) == 2
    (gap,) = await house.consumer.gaps()
    assert (gap.count, gap.first_id, gap.last_id) == (2, "a", "b")
    assert house.books() == (2, 2, 0)


async def test_there_is_no_gap_where_all_is_left_out(house: House) -> None:
    """A destination that wants none of it missed nothing while it was disabled."""
    house.consumer.set_filter(house.matcher)
    await house.post("---")
    assert await house.consumer.drop_pending(GapReason.DISABLED) == 0
    assert await house.consumer.gaps() == []
    assert house.books() == (3, 0, 0)


async def test_a_gap_is_exact_however_many_runs_are_left_out(roomy: House) -> None:
    """The bound of runs is for what waits, not for what ends now."""
    roomy.consumer.set_filter(roomy.matcher)
    for _ in range(10):
        await roomy.post("+-" * 1000)
    assert await roomy.consumer.drop_pending(GapReason.RETRIES_EXHAUSTED) == 10_000
    assert roomy.books() == (10_000, 10_000, 0)
    assert roomy.consumer._cursor.settled_runs() == 0


async def test_a_log_that_is_left_out_is_not_kept(house: House) -> None:
    """Whoever waits for events has read past all that its filter leaves out, in memory or on disk."""
    house.consumer.set_filter(house.matcher)
    await house.post("+")
    for _ in range(30):
        await house.post("-", padding=2000)
    house.consumer.settle_delivered(await house.taken())
    waiting = asyncio.create_task(house.consumer.wait())
    await asyncio.sleep(0)
    assert house.consumer._cursor.floor == house.consumer.intake_end()
    await house.post("-")
    await house.post("+")
    await waiting
    assert await house.taken() == [32]


async def test_a_log_that_is_left_out_is_not_kept_for_nobody(house: House) -> None:
    """What is not pending holds no segment, also where there is no worker that takes or waits."""
    house.consumer.set_filter(house.matcher)
    for _ in range(200):
        await house.post("-----", padding=2000)
    assert house.books() == (1000, 0, 0)
    await house.queue.checkpoint()
    await house.queue.space.retain()
    assert house.queue.space.sealed == []
    await house.reopen()
    assert house.consumer._cursor.floor == house.consumer.intake_end()


async def test_waiting_costs_no_memory_while_something_is_in_flight(house: House) -> None:
    """What is left out meanwhile is one span, however many frames it is."""
    house.consumer.set_filter(house.matcher)
    await house.post("+")
    in_flight = await house.taken()
    waiting = asyncio.create_task(house.consumer.wait())
    for _ in range(50):
        await house.post("--")
    assert house.consumer._cursor.window() == (101, 2)
    house.consumer.settle_delivered(in_flight)
    await house.post("+")
    await waiting
    assert await house.taken() == [101]


async def test_what_is_not_for_it_any_more_is_not_judged(house: House) -> None:
    """A destination that is being deleted takes nothing new, and books nothing of it."""
    house.consumer.set_filter(house.matcher)
    await house.post("-+")
    await house.consumer.end_intake()
    await house.post("--")
    assert house.books() == (1, 0, 1)
    assert house.consumer.ledger().accepted == 2


async def test_events_that_are_not_its_own_do_not_shift_the_others(house: House) -> None:
    """What is addressed to a destination that takes nothing new is judged at its own place."""
    house.consumer.set_filter(house.matcher)
    await house.post("+")
    await house.consumer.end_intake()
    for _ in range(20):
        await house.post("+-", padding=2000)
    await house.post("-+", Subject(SubjectKind.BACKFILL, "siem_a"))
    assert house.books() == (1, 0, 2)
    assert await house.all_delivered() == [0, 2]
    assert house.books() == (1, 0, 0)


async def test_a_consumer_that_was_removed_does_not_come_back(house: House) -> None:
    """What it had to judge still is not written into a checkpoint."""
    await house.post("-")
    house.consumer.set_filter(house.matcher)
    await house.queue.remove_consumer("siem_a")
    await asyncio.sleep(0)
    await house.queue.checkpoint()
    await house.queue.close()
    queue = await open_queue(house.files, SMALL, clock=ManualClock(), metrics=Metrics())
    assert queue.consumer_ids() == []
    await queue.close()
    await house.open()


async def test_positions_ascend_whatever_is_left_out(house: House) -> None:
    """Frames of several lanes, judged ahead, come in the order of the log."""
    house.consumer.set_filter(house.matcher)
    for _ in range(20):
        await house.post("-+")
        await house.post("+-", Subject(SubjectKind.BACKFILL, "siem_a"))
    positions = await house.all_delivered()
    assert len(positions) == 40
    assert all(first < second for first, second in pairwise(positions))
    assert house.books() == (40, 0, 0)
