"""The lives of one gateway under the eyes of the oracle: begun, loaded, and ended in every way a process ends."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter

from tests.acceptance.api import WAIT_S_MAX
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.oracle.process import OracleProcess

# What makes much happen in a short life: frequent checkpoints, full-sized events on disk, hanging requests given up.
QUICK = {"queue_checkpoint": "20ms", "queue_compression_level": "0", "delivery_request_timeout": "1s"}
LIFE_S_MAX = 0.8
START_S_KILLED = 1.2
_TIMED_OUT = '"code":"timeout"'


class Lives:
    """Complaints are gathered; ``ended`` counts how each life ended. No life under load ends before ``least`` events
    were acknowledged in it, however slow the machine is. The ``dead`` destination takes nothing while others misbehave.
    """

    def __init__(
        self,
        gateway: GatewayProcess,
        oracle: OracleProcess,
        random_: random.Random,
        *,
        least: int = 0,
        dead: str = "",
    ) -> None:
        self._gateway, self._oracle, self._random = gateway, oracle, random_
        self._least, self._dead = least, dead
        self.complaints: list[str] = []
        self.ended: Counter[str] = Counter()

    async def begin(self) -> None:
        """The first life: the destinations are made."""
        await self._gateway.start()
        await self._oracle.create_destinations(self._gateway)
        await self._oracle.meet(self._gateway)

    async def one_more(self) -> None:
        """From a dead process to a dead process."""
        chance = self._random.random()
        if chance < 0.15:
            await self.die_in_the_start()
        elif chance < 0.3:
            await self.end_politely()
        elif chance < 0.4:
            await self.end_impatiently()
        else:
            await self.die_under_load()

    async def die_under_load(self) -> None:
        """SIGKILL at a random moment, while the destinations are in some mood each."""
        await self._revive()
        await self._oracle.ask("misbehave", dead=self._dead)
        await self._produce()
        await self._gateway.kill()
        await self._oracle.ask("rest")
        self.ended["killed under load"] += 1

    async def die_in_the_start(self) -> None:
        """SIGKILL before, while or just after it opens the log, a few times on end."""
        if self._gateway.is_running:  # the first life has nothing to do
            await self._gateway.kill()
        for _ in range(self._random.randint(1, 3)):
            await self._gateway.launch()
            await asyncio.sleep(self._random.uniform(0, START_S_KILLED))
            await self._gateway.kill()
            self.ended["killed in the start"] += 1

    async def end_politely(self) -> None:
        """SIGTERM under load, with destinations that behave: exit code 0, and nothing that had arrived comes again."""
        await self._revive()
        await self._hear()
        said = len(self._gateway.log)
        await self._produce()
        if (code := await self._gateway.terminate()) != 0:
            self.complaints.append(f"exit code {code} after SIGTERM")
        await self._oracle.ask("rest")
        if _TIMED_OUT not in self._gateway.log[said:]:  # else this machine was too slow, and nobody knows what arrived
            await self._oracle.ask("remember_polite_stop")
        self.ended["stopped under load"] += 1

    async def end_impatiently(self) -> None:
        """A second SIGTERM while the first one's stop is under way."""
        await self._revive()
        await self._oracle.ask("misbehave", dead=self._dead)
        await self._produce()
        self._gateway.send(signal.SIGTERM)
        await asyncio.sleep(self._random.uniform(0, 0.1))
        if self._gateway.is_running:
            self._gateway.send(signal.SIGTERM)
        if (code := await self._gateway.wait()) not in (0, 1):
            self.complaints.append(f"exit code {code} after SIGTERM twice")
        await self._oracle.ask("rest")
        self.ended["stopped twice under load"] += 1

    async def verdict(self) -> dict[str, int]:
        """A last life in which everything arrives; the figures of the whole run."""
        await self._revive()
        figures = await self._hear()
        await self._gateway.terminate()
        self.complaints += self._gateway.faults
        return figures

    async def _produce(self) -> None:
        """Load for a random time."""
        enough = (await self._oracle.ask("figures"))["acknowledged"] + self._least
        await self._oracle.ask("produce")
        await asyncio.sleep(self._random.uniform(0, LIFE_S_MAX))
        async with asyncio.timeout(WAIT_S_MAX):
            while (await self._oracle.ask("figures"))["acknowledged"] < enough:
                await asyncio.sleep(0.02)

    async def _revive(self) -> None:
        if self._gateway.is_running:
            return
        await self._gateway.start()
        await self._oracle.meet(self._gateway)
        self.complaints += await self._oracle.look()

    async def _hear(self) -> dict[str, int]:
        await self._oracle.ask("behave")
        complaints, figures = await self._oracle.judge()
        self.complaints += complaints
        return figures
