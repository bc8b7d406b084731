"""The first thing that anybody does with it."""

from __future__ import annotations

from gateway.demo.receivers import SplunkReceiver
from tests.acceptance.audit_events import events, ids
from tests.acceptance.gateway_process import GatewayProcess


async def test_events_reach_a_destination(gateway: GatewayProcess) -> None:
    """A destination is created, events are posted, and they are there with the bytes they had."""
    lines = events(10)
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        await gateway.api.accept(lines)
        await receiver.wait_for(10)
        assert receiver.events == dict(zip(ids(lines), lines, strict=True))
        assert (await gateway.api.until_settled(destination))["delivered"] == 10
