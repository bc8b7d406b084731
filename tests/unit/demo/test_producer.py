"""The demo's producer."""

import asyncio

import msgspec

from gateway.demo.producer import EVENTS_PER_BATCH, Producer, make_event
from tests.unit.demo.samples import NOW_S, now


class Taking:
    """Stands for the gateway: gives the answers it was made with, then takes everything."""

    def __init__(self, *answers: float | None) -> None:
        self.answers = list(answers)
        self.posted: list[list[bytes]] = []

    async def post_events(self, lines: list[bytes]) -> float | None:
        self.posted.append(lines)
        return self.answers.pop(0) if self.answers else None


def test_events_have_every_required_member() -> None:
    """Each is one line of JSON with the members of an audit event; ids count up."""
    first, second = (msgspec.json.decode(make_event(number, NOW_S)) for number in (0, 1))
    assert (first["id"], second["id"]) == ("evt_demo00000000", "evt_demo00000001")
    assert first["timestamp"] == "2026-06-30T12:35:00.000Z"
    required = ("tenant_id", "actor_type", "actor_id", "action", "resource_type", "resource_id", "service", "outcome")
    assert all(isinstance(first[name], str) and first[name] for name in required)
    assert isinstance(first["metadata"], dict)
    assert first["integrity_hash"].startswith("sha256:")
    assert b"\n" not in make_event(0, NOW_S)


async def test_posts_a_batch_again_until_it_is_taken() -> None:
    """Nothing counts as sent before the gateway has taken it, and then exactly those bytes do."""
    gateway = Taking(0.0, 0.0)
    producer = Producer(gateway, now)  # type: ignore[arg-type]  # has the one method that is used
    await producer.post_batch()
    assert len(gateway.posted) == 3
    assert gateway.posted[0] == gateway.posted[2] == list(producer.sent.values())
    await producer.post_batch()
    assert len(producer.sent) == 2 * EVENTS_PER_BATCH


async def test_ends_when_it_is_told_to() -> None:
    """It posts at least once, and no more after the end."""
    gateway = Taking()
    producer = Producer(gateway, now)  # type: ignore[arg-type]  # as above
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(producer.run(stop))
        await asyncio.sleep(0)
        stop.set()
    assert len(gateway.posted) == 1
