"""Producers that post without a pause, and note each answer the moment it comes."""

from __future__ import annotations

import asyncio
import random

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
            events = [self._some_event() for _ in range(self._random.choice(_SIZES))]
            names = self._knowledge.sending(events)
            try:
                answer = await api.post_lines([event.line for event in events])
            except (aiohttp.ClientError, OSError):
                return
            self._knowledge.answered(names, answer.status, answer.body)
            if answer.status != 202:
                await asyncio.sleep(_REFUSED_REST_S)

    def _some_event(self) -> Sent:
        random_ = self._random
        tenant_id, action = random_.choice(TENANTS), random_.choice(ACTIONS)
        text = (
            POISON
            if random_.random() < self._poison_share
            else f"café {random_.random()}" + "x" * random_.choice((0, 0, 900))
        )
        return Sent(event(tenant_id=tenant_id, action=action, text=text), tenant_id, action)
