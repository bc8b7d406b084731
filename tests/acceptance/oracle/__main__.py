"""The oracle as a process of its own: ``python -m tests.acceptance.oracle SEED``.

It runs a receiver of each provider and the producers, notes what was acknowledged at the moment it hears of it, and
judges the gateway's books. The test process starts and kills gateways and says what to do next: one JSON object on a
line of standard input, one on standard output in answer.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec

from gateway.demo.receivers import KINDS, Receiver, WebhookReceiver
from tests.acceptance.api import Api
from tests.acceptance.oracle import judgement, moods
from tests.acceptance.oracle.knowledge import Knowledge, Wanted
from tests.acceptance.oracle.load import Load

PRODUCERS = 6
POISON_SHARE = 0.001
HELPED_EACH_LOOKS = 100
STANDSTILL_LOOKS_MAX = 600  # not seconds: where the machine is too slow for a request, it is for a look
WANTED = {
    "splunk": Wanted(),
    "datadog": Wanted("tenant-a"),
    "cloudwatch": Wanted("tenant-b"),
    "elastic": Wanted(),
    "webhook": Wanted("tenant-a", excludes="login.failure"),
}


class Oracle:
    """Each public method is a command; its arguments and its result are JSON."""

    def __init__(self, receivers: dict[str, Receiver], random_: random.Random) -> None:
        self._receivers = receivers
        self._random = random_
        self._knowledge = Knowledge()
        self._load: Load | None = None
        self._producing: list[asyncio.Task[None]] = []
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._api: Api | None = None
        self._at_polite_stop: dict[str, Counter[str]] = {}

    @property
    def api(self) -> Api:
        assert self._api is not None
        return self._api

    async def destinations(self) -> dict[str, Any]:
        """What to create, by provider."""
        return {name: _creation(receiver, WANTED[name]) for name, receiver in self._receivers.items()}

    async def meet(self, address: str, key: str) -> None:
        """Where the gateway listens from now on. Connections of its last life are given up."""
        await self._session.close()
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._api = Api(self._session, address, key)

    async def misbehave(self, mood: str | None = None, dead: str = "") -> None:
        """Each destination gets the mood, or a random one; the ``dead`` one takes nothing."""
        for name, receiver in self._receivers.items():
            chosen = mood or self._random.choice(list(moods.MOODS))
            receiver.script = moods.mood("busy" if name == dead else chosen, self._random)

    async def behave(self) -> None:
        for receiver in self._receivers.values():
            receiver.script = moods.well

    async def produce(self, *, with_poison: bool = True) -> None:
        """Begin to post; it ends when the gateway is gone, or with ``rest``."""
        self._load = Load(self._knowledge, self._random, poison_share=POISON_SHARE if with_poison else 0.0)
        self._producing = [asyncio.create_task(self._load.produce(self.api)) for _ in range(PRODUCERS)]

    async def rest(self) -> dict[str, int]:
        """Wait for the producers to end, each behind the request under way. How much is known by then."""
        if self._load is not None:
            self._load.enough()
        await asyncio.gather(*self._producing)
        self._producing = []
        return await self.figures()

    async def figures(self) -> dict[str, int]:
        known = self._knowledge
        return {"sent": len(known.sent), "acknowledged": len(known.acknowledged), "refused": len(known.refused)}

    async def remember_polite_stop(self) -> None:
        """What has arrived up to now, at destinations that behaved, must not come again."""
        self._at_polite_stop = {name: Counter(receiver.stored.counts) for name, receiver in self._receivers.items()}

    async def look(self, ids: dict[str, str]) -> list[str]:
        """Complaints over what must hold at any moment."""
        found = []
        for name, destination_id in ids.items():
            ledger = await self.api.expect(200, "GET", f"/v1/audit/siem/{destination_id}/ledger")
            arrived = len(self._receivers[name].stored.counts)
            found += _of(name, judgement.of_books(self._knowledge, WANTED[name], ledger, arrived))
        return found

    async def judge(self, ids: dict[str, str]) -> dict[str, Any]:
        """Wait until nothing waits any more, then complain of all that is wrong."""
        found = list(self._knowledge.complaints)
        figures: dict[str, Any] = {**await self.figures(), "dead_lettered": 0, "dropped": 0, "repeated": 0}
        for name, destination_id in ids.items():
            seen = await self._see(name, destination_id)
            found += _of(name, judgement.of_all(self._knowledge, WANTED[name], seen))
            stored = self._receivers[name].stored
            if name in self._at_polite_stop:
                found += _of(name, judgement.of_repetition(self._at_polite_stop[name], stored.counts))
            figures["dead_lettered"] += len(seen.dead)
            figures["dropped"] += seen.ledger["dropped"]
            figures["repeated"] += stored.repeated
        return {"complaints": found, "figures": figures}

    async def close(self) -> None:
        for task in self._producing:
            task.cancel()
        await asyncio.gather(*self._producing, return_exceptions=True)
        await self._session.close()

    async def _see(self, name: str, destination_id: str) -> judgement.Seen:
        await self._until_nothing_waits(name, destination_id)
        return judgement.Seen(
            arrived=self._receivers[name].events,
            dead=await self._dead_letters(destination_id),
            gaps=await self.api.listed(destination_id, "gaps"),
            ledger=await self.api.expect(200, "GET", f"/v1/audit/siem/{destination_id}/ledger"),
        )

    async def _until_nothing_waits(self, name: str, destination_id: str) -> None:
        """However long that takes, as long as it goes forward.

        Where nothing but poison is left, the destination may be what is wrong, as far as the gateway can know: that it
        takes another event shows it. Who is not being refused is not helped.
        """
        least, looks = 1 << 60, 0
        while pending := (health := (await self.api.destination(destination_id))["health"])["pending_events"]:
            least, looks = min(least, pending), 0 if pending < least else looks + 1
            assert looks < STANDSTILL_LOOKS_MAX, await self.api.destination(destination_id)
            if looks % HELPED_EACH_LOOKS == HELPED_EACH_LOOKS - 1 and health["last_error"]["code"] == "http_400":
                await self._post_another(WANTED[name])
            await asyncio.sleep(0.05)

    async def _post_another(self, wanted: Wanted) -> None:
        load = Load(self._knowledge, self._random, poison_share=0.0)
        some = (load.event_of(wanted.tenant_id) for _ in itertools.count())
        await load.post(self.api, [next(event for event in some if wanted.passes(event))])

    async def _dead_letters(self, destination_id: str) -> list[str]:
        found: list[str] = []
        path = f"/v1/audit/siem/{destination_id}/dead-letters?limit=500"
        cursor: str | None = ""
        while cursor is not None:
            page = await self.api.expect(200, "GET", f"{path}&cursor={cursor}" if cursor else path)
            found += [letter["event_id"] for letter in page["data"]]
            cursor = page["next_cursor"]
        return found


def _creation(receiver: Receiver, wanted: Wanted) -> dict[str, Any]:
    filter_ = {"exclude_actions": [wanted.excludes]} if wanted.excludes else {}
    return {
        "provider": receiver.provider,
        "endpoint": receiver.endpoint,
        "options": receiver.options,
        **receiver.credentials,
        **({} if wanted.tenant_id == "*" else {"tenant_id": wanted.tenant_id}),
        **({"filter": filter_} if filter_ else {}),
    }


def _of(name: str, complaints: list[str]) -> list[str]:
    return [f"{name}: {complaint}" for complaint in complaints]


async def _serve(seed: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with AsyncExitStack() as stack:
        receivers = {}
        for name, kind in KINDS.items():
            made = WebhookReceiver(format="array") if kind is WebhookReceiver else kind()
            receivers[name] = await stack.enter_async_context(made)
        oracle = Oracle(receivers, random.Random(seed))
        stack.push_async_callback(oracle.close)
        while line := await lines.readline():
            command, arguments = msgspec.json.decode(line)
            result = await getattr(oracle, command)(**arguments)
            sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
