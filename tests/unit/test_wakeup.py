"""Waiting for a word from elsewhere in the loop."""

from __future__ import annotations

import asyncio

import pytest

from gateway.wakeup import Wakeup


async def test_a_word_ends_all_waits_and_those_that_begin_before_it_is_taken_back() -> None:
    """As an asyncio.Event does."""
    wakeup = Wakeup()
    waits = [asyncio.create_task(wakeup.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits)
    wakeup.set()
    await asyncio.gather(*waits)
    await wakeup.wait()
    wakeup.clear()
    later = asyncio.create_task(wakeup.wait())
    await asyncio.sleep(0)
    assert not later.done()
    wakeup.set()
    await later


async def test_a_cancelled_wait_is_forgotten() -> None:
    """Also when the word comes in the same moment; nobody else misses it."""
    wakeup = Wakeup()
    gone, other = asyncio.create_task(wakeup.wait()), asyncio.create_task(wakeup.wait())
    await asyncio.sleep(0)
    gone.cancel()
    wakeup.set()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await other
    wakeup.set()
