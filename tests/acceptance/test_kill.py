"""``kill -9`` under load, again and again, with five destinations that fail in every way they know."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.lives import QUICK, Lives
from tests.acceptance.oracle.process import OracleProcess

# A small budget makes segments small: they are rotated, rewritten and given up within each life.
TINY = {"queue_disk_budget": "3MiB", "queue_segment": "1MiB"}
AMPLE, TIGHT = {"queue_disk_budget": "4GiB"}, {"queue_disk_budget": "6MiB", "queue_segment": "1MiB"}


@pytest.mark.parametrize("budget", [AMPLE, TIGHT], ids=["ample", "tight"])
async def test_what_was_acknowledged_survives_every_end(tmp_path: Path, soak: bool, budget: dict[str, str]) -> None:
    """After any sequence of kills and stops every acknowledged event has arrived at each destination, is among its
    dead letters or lies in a gap; nothing is invented or changed, and the books say exactly that, after every start.
    """
    figures = await lived(tmp_path, budget, 200 if soak else 5, Lives.one_more)
    assert figures["acknowledged"] > 0
    if budget is AMPLE:
        assert figures["dropped"] == 0


async def test_what_is_given_up_under_kills_is_in_the_gaps_and_in_the_books(tmp_path: Path, soak: bool) -> None:
    """A destination that is dead for longer than the disk holds its events loses the oldest of them, killed or not, and
    of each lost one the books and the gaps tell.
    """
    figures = await lived(tmp_path, TINY, 50 if soak else 3, Lives.die_under_load, least=3_000, dead="elastic")
    assert figures["dropped"] > 0


async def lived(
    tmp_path: Path, budget: dict[str, str], times: int, life: Callable[[Lives], Awaitable[None]], **options: Any
) -> dict[str, int]:
    """So many lives without a complaint of the oracle, and the figures of its verdict."""
    seed = int(os.environ.get("KILL_SEED", str(random.SystemRandom().randrange(1 << 32))))
    print(f"KILL_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    gateway = GatewayProcess(tmp_path / "data", **QUICK, **budget)
    async with OracleProcess(tmp_path, seed) as oracle:
        lives = Lives(gateway, oracle, random.Random(seed), **options)
        try:
            await lives.begin()
            for _ in range(times):
                await life(lives)
                assert lives.complaints == []
            figures = await lives.verdict()
            assert lives.complaints == []
        finally:
            await gateway.end()
    print(dict(lives.ended), figures)  # noqa: T201 - the figures of a soak
    return figures
