"""A producer of audit events, at a steady rate."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from gateway.demo.client import Client

EVENTS_PER_BATCH = 50
BATCHES_PER_S = 4

_ACTIONS = (
    ("attestation.mint", "attestation", "trust-registry"),
    ("attestation.verify", "attestation", "trust-registry"),
    ("user.login", "user", "identity"),
    ("key.rotate", "key", "vault"),
    ("policy.update", "policy", "governance"),
)


def make_event(number: int, now_s: float) -> bytes:
    """One of a few kinds, in turn; every ninth fails. The id is the number."""
    action, resource_type, service = _ACTIONS[number % len(_ACTIONS)]
    event: dict[str, object] = {
        "id": f"evt_demo{number:08d}",
        "timestamp": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "tenant_id": f"tenant-{number % 3}",
        "actor_type": "USER",
        "actor_id": f"user-{number % 17}",
        "action": action,
        "resource_type": resource_type,
        "resource_id": f"{resource_type}-{number}",
        "service": service,
        "outcome": "FAILURE" if number % 9 == 8 else "SUCCESS",
        "metadata": {"attempt": number % 4, "note": "crème brûlée / 99 %"},
    }
    digest = hashlib.sha256(msgspec.json.encode(event)).hexdigest()
    return msgspec.json.encode(event | {"integrity_hash": f"sha256:{digest}"})


class Producer:
    """``sent`` holds what was acknowledged, by id. A batch that is not taken is posted again until it is."""

    def __init__(self, client: Client, now: Callable[[], float]) -> None:
        self.sent: dict[str, bytes] = {}
        self._client = client
        self._now = now
        self._next = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.post_batch()
            await _pause(stop, 1 / BATCHES_PER_S)

    async def post_batch(self) -> None:
        numbers = range(self._next, self._next + EVENTS_PER_BATCH)
        self._next = numbers.stop
        batch = {f"evt_demo{number:08d}": make_event(number, self._now()) for number in numbers}
        while True:
            wait_s = await self._client.post_events(list(batch.values()))
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
        self.sent |= batch


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
