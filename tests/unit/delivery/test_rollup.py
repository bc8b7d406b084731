"""Figures on their way into the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from gateway.delivery.rollup import UNWRITTEN_S, Rollup
from gateway.destinations.history import Figures
from gateway.errors import StoreUnavailable
from tests.clock import ManualClock
from tests.stores import MemoryStore


class States:
    """Stands for what is known of running destinations: hands out the figures that a test put there."""

    def __init__(self) -> None:
        self.delivered = 0

    def take_figures(self, destination_id: str, at_s: int) -> list[Figures]:
        delivered, self.delivered = self.delivered, 0
        return [Figures(destination_id, at_s, delivered=delivered)] if delivered else []


class House:
    def __init__(self) -> None:
        self.clock, self.store, self.state = ManualClock(), MemoryStore(), States()
        states = {"d": self.state}
        self.rollup = Rollup(self.store, lambda: states, instance="gw", clock=self.clock)  # type: ignore[arg-type, return-value]  # a state that only has figures
        self.minute_s = int(self.clock.time_s()) // 60 * 60

    async def minute(self) -> None:
        """To the end of the present minute, and until what follows from it is done."""
        self.clock.advance(60 - self.clock.time_s() % 60)
        for _ in range(50):
            await asyncio.sleep(0)

    async def stored(self) -> list[tuple[int, int]]:
        return [(item.at_s, item.delivered) for item in await self.store.figures(["d"], step_s=60, since_s=0)]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    running = asyncio.create_task(house.rollup.run())
    await asyncio.sleep(0)
    yield house
    running.cancel()
    await asyncio.wait({running})


async def test_each_minute_is_written_once_when_it_is_over(house: House) -> None:
    """With the figures that came in it, under its own time."""
    house.clock.advance(20)
    house.state.delivered = 5
    assert await house.stored() == []
    await house.minute()
    house.state.delivered = 7
    await house.minute()
    await house.minute()
    assert await house.stored() == [(house.minute_s, 5), (house.minute_s + 60, 7)]


async def test_a_reader_sees_what_is_not_written_yet(house: House) -> None:
    """And what it saw is not counted again in the minute's writing."""
    house.state.delivered = 5
    seen = await house.rollup.read(["d"], step_s=60, since_s=house.minute_s)
    assert [item.delivered for item in seen] == [5]
    house.state.delivered = 2
    seen = await house.rollup.read(["d"], step_s=60, since_s=house.minute_s)
    assert sum(item.delivered for item in seen) == 7
    await house.minute()
    assert await house.stored() == [(house.minute_s, 7)]
    assert await house.rollup.read(["other"], step_s=60, since_s=0) == []


async def test_figures_wait_while_the_store_is_away(house: House) -> None:
    """Up to an hour of them, and the log says it once for each outage."""
    house.store.contents.away = True
    with capture_logs() as logs:
        for minutes in range(UNWRITTEN_S // 60 + 10):
            house.state.delivered = minutes + 1
            await house.minute()
    assert [line["event"] for line in logs] == ["history.failed"]
    with pytest.raises(StoreUnavailable):
        await house.rollup.read(["d"], step_s=60, since_s=0)
    house.store.contents.away = False
    await house.minute()
    written = await house.stored()
    assert len(written) in (UNWRITTEN_S // 60, UNWRITTEN_S // 60 + 1)
    assert written[-1] == (house.minute_s + (UNWRITTEN_S // 60 + 9) * 60, UNWRITTEN_S // 60 + 10)
    house.store.contents.away = True
    with capture_logs() as logs:
        house.state.delivered = 1
        await house.minute()
    assert [line["event"] for line in logs] == ["history.failed"]


async def test_the_stop_writes_the_minute_that_has_begun(house: House) -> None:
    """So a polite restart loses nothing."""
    house.state.delivered = 3
    await house.rollup.finish()
    assert await house.stored() == [(house.minute_s, 3)]


async def test_a_deleted_destination_takes_its_figures_along(house: House) -> None:
    """Those written and those of the minute that has begun; while the store is away they wait for that."""
    house.state.delivered = 5
    await house.minute()
    house.state.delivered = 2
    await house.rollup.read(["d"], step_s=60, since_s=0)
    house.rollup.forget("d")
    house.store.contents.away = True
    await house.minute()
    house.store.contents.away = False
    assert await house.stored() == [(house.minute_s, 5)]
    await house.minute()
    assert await house.stored() == []


async def test_a_store_that_fails_after_the_writing_counts_nothing_twice(house: House) -> None:
    """What was written is not written again because what comes after it failed."""

    async def fail(destination_ids: object) -> None:
        raise StoreUnavailable("away")

    house.state.delivered = 5
    house.rollup.forget("other")
    house.store.forget_figures = fail  # type: ignore[method-assign]  # the store that fails at this alone
    await house.minute()
    await house.minute()
    assert await house.stored() == [(house.minute_s, 5)]
