"""The bound on what all requests together hold in memory."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.errors import QueueUnavailable
from gateway.server.buffering import Budget


def budget_of(bytes_max: int) -> Budget:
    return Budget(bytes_max, wait_s=60)


class Holder:
    """A task that holds a share until it is told to let go."""

    def __init__(self, budget: Budget, size_bytes: int, *, tenant_id: str = "*") -> None:
        self.size_bytes, self._tenant_id = size_bytes, tenant_id
        self.holds = False
        self._enough = asyncio.Event()
        self.task = asyncio.create_task(self._hold(budget))

    async def _hold(self, budget: Budget) -> None:
        async with budget.hold(self.size_bytes, tenant_id=self._tenant_id):
            self.holds = True
            try:
                await self._enough.wait()
            finally:
                self.holds = False

    async def let_go(self) -> None:
        self._enough.set()
        await self.task
        await settle()

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await settle()


async def settle() -> None:
    """Until everything that can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def holders(budget: Budget, *sizes: int) -> list[Holder]:
    made = [Holder(budget, size) for size in sizes]
    await settle()
    return made


def held(made: list[Holder]) -> list[bool]:
    return [holder.holds for holder in made]


async def end(made: list[Holder]) -> None:
    for holder in made:
        await holder.cancel()


async def test_shares_are_handed_out_up_to_the_bound() -> None:
    """What fits goes on at once; the next waits until enough was given back."""
    made = await holders(budget_of(100), 60, 40, 1)
    assert held(made) == [True, True, False]
    await made[1].let_go()
    assert held(made) == [True, False, True]
    await end(made)


async def test_first_come_first_served() -> None:
    """A small one does not pass a large one that waits, so that the large one gets its turn."""
    made = await holders(budget_of(100), 80, 50, 10)
    assert held(made) == [True, False, False]
    await made[0].let_go()
    assert held(made) == [False, True, True]
    await end(made)


async def test_more_than_the_whole_budget_waits_for_all_of_it() -> None:
    """A request that is larger than the bound is served alone."""
    made = await holders(budget_of(100), 1, 1_000, 1)
    assert held(made) == [True, False, False]
    await made[0].let_go()
    assert held(made) == [False, True, False]
    await made[1].let_go()
    assert held(made) == [False, False, True]
    await end(made)


async def test_one_that_gives_up_waiting_lets_the_next_go() -> None:
    """Cancelled while it waits: it takes nothing, and those behind it do not wait for it."""
    made = await holders(budget_of(100), 60, 50, 40)
    await made[1].cancel()
    assert held(made) == [True, False, True]
    await end(made)


async def test_one_that_is_cancelled_as_it_is_admitted_gives_its_share_back() -> None:
    """Admitted and cancelled in the same turn of the loop: nothing leaks."""
    budget = budget_of(100)
    made = await holders(budget, 100, 100, 100)
    first, second, third = made
    first.task.cancel()
    await asyncio.sleep(0)  # the first gives back, which admits the second
    second.task.cancel()
    await settle()
    assert held(made) == [False, False, True]
    await third.let_go()
    async with asyncio.timeout(1), budget.hold(100, tenant_id="*"):
        assert held(made) == [False, False, False]


async def test_a_share_comes_back_from_one_that_fails() -> None:
    """An exception inside gives it back too."""
    budget = budget_of(10)
    with pytest.raises(ValueError, match="inside"):
        async with budget.hold(10, tenant_id="*"):
            raise ValueError("inside")
    (holder,) = await holders(budget, 10)
    assert holder.holds
    await end([holder])


async def test_a_share_grows_at_once_or_not_at_all() -> None:
    """Where there is no room it says so instead of waiting; it keeps what it has, and all of that comes back."""
    budget = budget_of(100)
    async with budget.hold(10, tenant_id="*") as first:
        first.grow(60)
        first.grow(30)
        async with budget.hold(40, tenant_id="*") as second:
            with pytest.raises(QueueUnavailable) as refused:
                second.grow(41)
            assert refused.value.retry_after_s > 0
            assert (first.size_bytes, second.size_bytes) == (60, 40)
        first.grow(1_000)
        assert first.size_bytes == 100
    (last,) = await holders(budget, 100)
    assert last.holds
    await end([last])


async def test_a_part_of_a_share_comes_back_on_its_own() -> None:
    """Once, and the rest with the share; more than it has is all of it."""
    budget = budget_of(100)
    async with budget.hold(100, tenant_id="*") as share:
        part, rest = share.part(60), share.part(1_000)
        assert (share.size_bytes, part.size_bytes, rest.size_bytes) == (0, 60, 40)
        part.give_back()
        part.give_back()
        made = await holders(budget, 60, 1)
        assert held(made) == [True, False]
        rest.give_back()
        await settle()
        assert held(made) == [True, True]
        await end(made)
    (last,) = await holders(budget, 100)
    assert last.holds
    await end([last])


async def test_who_grows_passes_those_who_wait() -> None:
    """They hold nothing, so that they can wait until it has ended; it could not."""
    budget = budget_of(100)
    async with budget.hold(10, tenant_id="*") as share:
        made = await holders(budget, 100)
        share.grow(100)
        assert held(made) == [False]
    await settle()
    assert held(made) == [True]
    await end(made)


@pytest.mark.parametrize("seed", range(20))
async def test_no_share_is_lost_or_handed_out_twice(seed: int) -> None:
    """Whatever comes, goes and is cancelled: never more than the bound is held, and in the end all of it is free."""
    generator = random.Random(seed)
    budget, made = budget_of(100), list[Holder]()
    for _ in range(300):
        match generator.choice(["come", "come", "go", "cancel"]):
            case "come":
                made.append(Holder(budget, generator.choice([0, 1, 10, 40, 99, 100, 500])))
            case "go" if holding := [holder for holder in made if holder.holds]:
                await generator.choice(holding).let_go()
            case "cancel" if made:
                made.pop(generator.randrange(len(made))).task.cancel()
        for _ in range(generator.randrange(3)):
            await asyncio.sleep(0)
        assert sum(min(holder.size_bytes, 100) for holder in made if holder.holds) <= 100
    await settle()
    await end(made)
    (last,) = await holders(budget, 100)
    assert last.holds
    await end([last])


async def test_a_tenant_has_half_of_it() -> None:
    """One whose senders take their time keeps nobody else out; operators have producers of all tenants."""
    budget = budget_of(100)
    async with budget.hold(30, tenant_id="acme") as share, budget.hold(20, tenant_id="acme"):
        with pytest.raises(QueueUnavailable):
            share.grow(31)
        with pytest.raises(QueueUnavailable) as refused:
            async with budget.hold(1, tenant_id="acme"):
                pass
        assert refused.value.retry_after_s > 0
        async with budget.hold(20, tenant_id="globex"), budget.hold(15, tenant_id="*"), budget.hold(15, tenant_id="*"):
            assert share.size_bytes == 30
    async with budget.hold(100, tenant_id="*"):
        pass


async def test_what_a_tenant_waits_for_counts_too() -> None:
    """Otherwise all that came while others held everything would be let in at once."""
    budget = budget_of(100)
    async with budget.hold(100, tenant_id="*"):
        waiting = Holder(budget, 40, tenant_id="acme")
        await settle()
        with pytest.raises(QueueUnavailable):
            async with budget.hold(11, tenant_id="acme"):
                pass
        await waiting.cancel()
    async with budget.hold(50, tenant_id="acme"), budget.hold(50, tenant_id="globex"):
        pass


async def test_a_request_alone_may_have_more_than_half() -> None:
    """A body that is allowed by itself is not refused for the share that a tenant has."""
    budget = budget_of(100)
    async with budget.hold(10, tenant_id="acme") as share:
        share.grow(90)
        with pytest.raises(QueueUnavailable):
            async with budget.hold(1, tenant_id="acme"):
                pass
    async with budget.hold(40, tenant_id="acme"), budget.hold(10, tenant_id="acme"):
        pass


async def test_nobody_waits_without_end() -> None:
    """Who finds no room in time is told so, and takes nothing."""
    budget = Budget(100, wait_s=0)
    async with budget.hold(100, tenant_id="*"):
        with pytest.raises(QueueUnavailable) as refused:
            async with budget.hold(1, tenant_id="acme"):
                pass
        assert refused.value.retry_after_s > 0
    async with budget.hold(100, tenant_id="acme"):
        pass
