"""The oracle itself is put to the test: a gateway with a fault built in must be found out, a sound one must not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.lives import QUICK, Lives
from tests.acceptance.oracle.process import OracleProcess

ROUNDS_MAX = 10  # none is needed once the fault has shown
LEAST = 600
FOUND_BY = {
    "loses-at-intake": "acknowledged",
    "loses-at-delivery": "are delivered and",
    "counts-twice": "do not balance",
    "flips-a-byte": "other bytes",
    "forgets-checkpoints": "came again after a polite stop",
    "answers-before-the-sync": "acknowledged",
}


@pytest.mark.parametrize("alteration", FOUND_BY)
async def test_a_fault_is_found_out(tmp_path: Path, alteration: str) -> None:
    """Each fault makes the oracle complain within a few lives, and of the right thing."""
    complaints = await _complaints(tmp_path, alteration, wanted=FOUND_BY[alteration])
    assert any(FOUND_BY[alteration] in complaint for complaint in complaints), complaints


async def test_what_holds_writes_back_is_no_fault(tmp_path: Path, soak: bool) -> None:
    """The gateway loses nothing when a kill takes everything that was not synced, as a power cut does."""
    assert await _complaints(tmp_path, "holds-back", rounds=20 if soak else 1) == []


async def _complaints(tmp_path: Path, alteration: str, *, wanted: str = "", rounds: int = ROUNDS_MAX) -> list[str]:
    """Those of the lives until the ``wanted`` one is among them: a fault may do other harm first."""
    gateway = GatewayProcess(
        tmp_path / "data",
        program=("tests.acceptance.altered", alteration),
        **QUICK,
    )
    async with OracleProcess(tmp_path, alteration) as oracle:
        lives = Lives(gateway, oracle, random.Random(alteration), least=LEAST)
        try:
            await lives.begin()
            for _ in range(rounds):
                await lives.end_politely()
                await lives.die_under_load()
                if any(wanted in complaint for complaint in lives.complaints):
                    return lives.complaints
            await lives.verdict()
        finally:
            await gateway.end()
    return lives.complaints
