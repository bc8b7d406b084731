"""Producers that post without a pause, and note each answer the moment it comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import aiohttp

from tests.acceptance.api import Api
from tests.acceptance.audit_events import event
from tests.acceptance.oracle.knowledge import Knowledge, Sent
from tests.acceptance.oracle.moods import POISON

TENANTS = ("tenant-a", "tenant-b", "tenant-c")
ACTIONS = ("attestation.mint", "attestation.mint", "login.failure")
_SIZES = (1, 1, 5, 40, 200)
_REFUSED_REST_S = 0.05


class Load:
    """Producers of one life of the gateway. They end when it is gone, or after ``enough``."""

    def __init__(self, knowledge: Knowledge, random_: random.Random, *, poison_share: float) -> None:
        self._knowledge = knowledge
        self._poison_share = poison_share
        self._random = random_
        self._enough = asyncio.Event()

    def enough(self) -> None:
        self._enough.set()

    async def produce(self, api: Api) -> None:
        while not self._enough.is_set():
            events = [self.event_of("*") for _ in range(self._random.choice(_SIZES))]
            try:
                status = await self.post(api, events)
            except (aiohttp.ClientError, OSError):
                return
            if status != 202:
                await asyncio.sleep(_REFUSED_REST_S)

    async def post(self, api: Api, events: Sequence[Sent]) -> int:
        """The status of the answer, which is noted. Raises what the client raises when there is none."""
        names = self._knowledge.sending(events)
        answer = await api.post_lines([event.line for event in events])
        self._knowledge.answered(names, answer.status, answer.body)
        return answer.status

    def event_of(self, tenant_id: str) -> Sent:
        """An event of the tenant, or of any for "*"."""
        random_ = self._random
        tenant_id, action = random_.choice(TENANTS) if tenant_id == "*" else tenant_id, random_.choice(ACTIONS)
        text = (
            POISON
            if random_.random() < self._poison_share
            else f"café {random_.random()}" + "x" * random_.choice((0, 0, 900))
        )
        return Sent(event(tenant_id=tenant_id, action=action, text=text), tenant_id, action)
