"""``kill -9`` under load, again and again, with five destinations that fail in every way they know."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import aiohttp

from gateway.demo.receivers import (
    NORMAL,
    Fault,
    HugeReply,
    Receiver,
    Refuse,
    Reset,
    Respond,
    Script,
    Slow,
    all_kinds,
)
from gateway.demo.receivers.stored import event_id
from tests.acceptance.api import Api
from tests.acceptance.audit_events import event
from tests.acceptance.gateway_process import GatewayProcess

ROUNDS = int(os.environ.get("KILL_ROUNDS", "50"))
PRODUCERS = 6
LIFE_S_MAX = 0.6
POISON = "poison"


class Oracle:
    """What was sent and what was promised, known outside of the process that is killed."""

    def __init__(self) -> None:
        self.sent: dict[str, bytes] = {}
        self.acknowledged: set[str] = set()
        self.unanswered = 0

    async def produce(self, api: Api, random_: random.Random) -> None:
        """Post until the gateway is gone."""
        while True:
            lines = [_some_event(random_) for _ in range(random_.choice((1, 1, 5, 40)))]
            batch = {event_id(line): line for line in lines}
            self.sent |= batch
            try:
                await api.accept(lines)
            except (aiohttp.ClientError, OSError):
                self.unanswered += len(lines)
                return
            self.acknowledged |= batch.keys()


def _some_event(random_: random.Random) -> bytes:
    tenant_id = f"tenant-{random_.randrange(3)}"
    text = POISON if random_.random() < 0.01 else f"café {random_.random()}"
    return event(tenant_id=tenant_id, text=text)


def _refuse_poison(line: bytes) -> bool:
    return POISON.encode() in line


def misbehaving(random_: random.Random) -> Script:
    """Poison is refused always; about every third request goes wrong besides."""
    refuse = Refuse(_refuse_poison)
    faults: tuple[Fault, ...] = (
        Respond(503),
        Respond(500, b"<html>a proxy's page</html>", stores=True),
        Respond(429, headers={"Retry-After": "0"}),
        Respond(401),
        Reset("request"),
        Reset("body"),
        Reset("stored"),
        Reset("reply"),
        Slow(0.05),
        HugeReply(2 << 20),
        NORMAL,
    )
    # With NORMAL, and with faults that store, poison would be taken: the receivers then hold it as delivered.
    harmless = tuple(f for f in faults if f is not NORMAL)
    return lambda _: random_.choice(harmless) if random_.random() < 0.3 else refuse


async def test_what_was_acknowledged_survives_every_kill(tmp_path: Path) -> None:
    """After each of the kills and a drain, every acknowledged event is at each destination or among its dead letters,
    byte for byte, nothing is invented, and the books count exactly that.
    """
    seed = int(os.environ.get("KILL_SEED", str(random.SystemRandom().randrange(1 << 32))))
    print(f"KILL_SEED={seed} KILL_ROUNDS={ROUNDS}")  # noqa: T201 - pytest shows it with a failure
    random_, oracle = random.Random(seed), Oracle()
    gateway = GatewayProcess(tmp_path / "data", ingest_event_max="64KiB")
    async with all_kinds() as receivers:
        ids = await _created(gateway, receivers)
        for receiver in receivers.values():
            receiver.script = misbehaving(random_)
        for _ in range(ROUNDS):
            await _one_life(gateway, oracle, random_)
        for receiver in receivers.values():
            receiver.script = lambda _: Refuse(_refuse_poison)
        async with gateway:
            for provider, receiver in receivers.items():
                await _check(gateway.api, ids[provider], receiver, oracle)
    print(f"sent {len(oracle.sent)}, acknowledged {len(oracle.acknowledged)}, cut off {oracle.unanswered}")  # noqa: T201 - numbers
    assert len(oracle.acknowledged) > ROUNDS


async def _created(gateway: GatewayProcess, receivers: dict[str, Receiver]) -> dict[str, str]:
    async with gateway:
        return {name: await gateway.api.create(receiver) for name, receiver in receivers.items()}


async def _one_life(gateway: GatewayProcess, oracle: Oracle, random_: random.Random) -> None:
    """Start, load, and SIGKILL at a random moment; now and then before anything listens."""
    if random_.random() < 0.1:
        await gateway.launch()
        await asyncio.sleep(random_.uniform(0, 1))
        await gateway.kill()
        return
    await gateway.start()
    producing = [asyncio.create_task(oracle.produce(gateway.api, random_)) for _ in range(PRODUCERS)]
    await asyncio.sleep(random_.uniform(0, LIFE_S_MAX))
    await gateway.kill()
    await asyncio.gather(*producing)


async def _check(api: Api, destination_id: str, receiver: Receiver, oracle: Oracle) -> None:
    books = await api.until_settled(destination_id)
    dead = await _dead_letters(api, destination_id)
    arrived = receiver.stored.events
    assert oracle.acknowledged - arrived.keys() - dead.keys() == set(), receiver.provider
    wrong = {name for name, line in arrived.items() if oracle.sent.get(name) != line}
    assert wrong == set(), receiver.provider
    assert await api.listed(destination_id, "gaps") == []
    assert books["accepted"] == len(arrived.keys() | dead.keys()), receiver.provider
    assert books["dead_lettered"] == dead.total(), receiver.provider
    assert books["pending"] == books["dropped"] == books["filtered"] == 0


async def _dead_letters(api: Api, destination_id: str) -> Counter[str]:
    found: Counter[str] = Counter()
    path = f"/v1/audit/siem/{destination_id}/dead-letters?limit=500"
    cursor: str | None = ""
    while cursor is not None:
        page = await api.expect(200, "GET", f"{path}&cursor={cursor}" if cursor else path)
        found.update(letter["event_id"] for letter in page["data"])
        cursor = page["next_cursor"]
    return found
