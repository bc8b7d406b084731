"""One event that a loop waits on, set by hand, by time and by somebody else's wait."""

from __future__ import annotations

import asyncio

import pytest

from gateway.delivery.waiting import Nudges
from tests.clock import ManualClock


async def test_a_nudge_ends_a_wait_and_leaves_its_timer_to_a_later_one() -> None:
    """The second wait wants to be longer and ends when the timer of the first is due."""
    clock = ManualClock()
    nudges = Nudges(clock)
    asyncio.get_running_loop().call_soon(nudges.nudge)
    await nudges.wait(5.0)
    second = asyncio.ensure_future(nudges.wait(60.0))
    await clock.run_until(second.done, within_s=5.0)
    await nudges.close()


async def test_an_earlier_time_replaces_the_timer() -> None:
    """A short wait is not held up by the timer of a longer one before it."""
    clock = ManualClock()
    nudges = Nudges(clock)
    asyncio.get_running_loop().call_soon(nudges.nudge)
    await nudges.wait(60.0)
    second = asyncio.ensure_future(nudges.wait(1.0))
    await clock.run_until(second.done, within_s=1.0)
    await nudges.close()


async def test_what_the_other_wait_raises_is_raised() -> None:
    """A fault of the queue ends the loop instead of leaving it asleep."""

    async def fails() -> None:
        raise OSError("broken")

    nudges = Nudges(ManualClock())
    with pytest.raises(OSError, match="broken"):
        await nudges.wait_with(fails)
    await nudges.close()


async def test_what_the_other_wait_saw_meanwhile_is_not_lost() -> None:
    """It returned while the loop waited otherwise, and nobody will nudge for it again."""
    something = asyncio.Event()

    async def other() -> None:
        await something.wait()

    nudges = Nudges(ManualClock())
    asyncio.get_running_loop().call_soon(nudges.nudge)
    await nudges.wait_with(other)
    something.set()
    await nudges.wait()
    async with asyncio.timeout(5):
        await nudges.wait_with(other)
    await nudges.close()
