"""Destinations do not feel each other."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from gateway.demo.receivers import (
    ElasticReceiver,
    Receiver,
    Slow,
    SplunkReceiver,
    WebhookReceiver,
    always,
)
from gateway.demo.receivers.stored import event_id
from tests.acceptance.audit_events import event, events
from tests.acceptance.gateway_process import GatewayProcess, StartGateway

TURNS = 5
EVENTS_PER_TURN = 150
BACKLOG_EVENTS = 5_000
FLOOR_S = 0.01  # below it the machine's own noise decides


async def test_a_dead_and_a_slow_destination_cost_the_others_nothing(start_gateway: StartGateway) -> None:
    """With a backlog for a destination that is dead and one that answers after 30 s, the p99 from request to delivery
    at the healthy ones stays below twice that of a gateway without the two.
    """
    async with (
        SplunkReceiver() as hec,
        ElasticReceiver() as bulk,
        SplunkReceiver() as other_hec,
        ElasticReceiver() as other_bulk,
        WebhookReceiver(script=always(Slow(30))) as slow,
        SplunkReceiver() as dead,
    ):
        calm, troubled = await start_gateway("calm"), await start_gateway("troubled", shutdown_grace="100ms")
        await dead.stop()
        troubles = [await troubled.api.create(receiver) for receiver in (dead, slow)]
        await _prepare(calm, (hec, bulk))
        await _prepare(troubled, (other_hec, other_bulk))
        ratios = []
        for _ in range(TURNS):
            calm_s, troubled_s = await _p99_s(calm, (hec, bulk)), await _p99_s(troubled, (other_hec, other_bulk))
            ratios.append(troubled_s / max(calm_s, FLOOR_S))
        print("p99 of the troubled gateway against the calm one:", ratios)  # noqa: T201 - pytest shows it
        assert statistics.median(ratios) < 2
        for destination_id in troubles:
            books = await troubled.api.ledger(destination_id)
            assert books["pending"] == BACKLOG_EVENTS + TURNS * EVENTS_PER_TURN


async def _prepare(gateway: GatewayProcess, receivers: Sequence[Receiver]) -> None:
    """The backlog: it is delivered at once by the healthy ones."""
    for receiver in receivers:
        await gateway.api.create(receiver)
    for _ in range(BACKLOG_EVENTS // 1000):
        await gateway.api.accept(events(1000))
    for receiver in receivers:
        await receiver.wait_for(BACKLOG_EVENTS, timeout_s=60)


async def _p99_s(gateway: GatewayProcess, receivers: Sequence[Receiver]) -> float:
    """Events one by one, each timed until the last of the receivers has it."""
    took_s = []
    for _ in range(EVENTS_PER_TURN):
        line = event()
        known = len(receivers[0].stored.counts)
        began_s = time.perf_counter()
        await gateway.api.accept([line])
        await asyncio.gather(*(receiver.wait_for(known + 1) for receiver in receivers))
        took_s.append(time.perf_counter() - began_s)
        assert all(event_id(line) in receiver.stored.counts for receiver in receivers)
    return statistics.quantiles(took_s, n=100)[98]
