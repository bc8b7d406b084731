"""Several gateways are started on one data directory: one gets it, and the others harm nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.demo.receivers import SplunkReceiver
from tests.acceptance.api import WAIT_S_MAX
from tests.acceptance.audit_events import by_id, events
from tests.acceptance.gateway_process import GatewayProcess

RIVALS = 3


async def test_of_starts_that_race_one_wins(tmp_path: Path, soak: bool) -> None:
    """However they race, behind a kill -9 too, one process serves; the others exit with 2 and one line that names the
    directory, the process that has it and the remedy. Nothing is lost.
    """
    data_dir = tmp_path / "data"
    rivals = [GatewayProcess(tmp_path / f"rival-{n}", data_dir=str(data_dir)) for n in range(RIVALS)]
    sent: list[bytes] = []
    destination = ""
    async with SplunkReceiver() as receiver:
        try:
            for _ in range(50 if soak else 2):
                await asyncio.gather(*(rival.launch() for rival in rivals))
                winner = await left_alone(rivals)
                await winner.meet()
                destination = destination or await winner.api.create(receiver)
                for loser in rivals:
                    if loser is not winner:
                        assert await loser.wait() == 2
                        line = loser.log.splitlines()[-1]
                        assert line == (
                            f"gateway: the data directory {data_dir} is in use by process {winner.pid}: stop it, or "
                            "give this one another directory (--data-dir)"
                        )
                lines = events(10)
                sent += lines
                await winner.api.accept(lines)
                await winner.api.until_settled(destination)
                assert receiver.events == by_id(sent)
                await winner.kill()
        finally:
            for rival in rivals:
                await rival.end()


async def left_alone(rivals: list[GatewayProcess]) -> GatewayProcess:
    """The one that still runs when all others have ended."""
    async with asyncio.timeout(WAIT_S_MAX):
        while len(running := [rival for rival in rivals if rival.is_running]) > 1:
            await asyncio.sleep(0.01)
    (winner,) = running
    return winner
