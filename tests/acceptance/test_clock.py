"""The system's clock is set forward and back by a day, under a running gateway and between two lives of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.receivers import Respond, SplunkReceiver, always
from tests.acceptance.audit_events import by_id, event, events
from tests.acceptance.gateway_process import GatewayProcess

DAY_S = 86_400


async def test_a_clock_that_jumps_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it jumps, over kills too: no outage of 24 hours is over early, order is kept, nothing is dropped, and
    the times of a gap begin before they end.
    """
    off_by = tmp_path / "off_by"
    jump(off_by, 0)
    monkeypatch.setenv("CLOCK_OFF_BY", str(off_by))
    gateway = GatewayProcess(
        tmp_path / "data", program=("tests.acceptance.altered", "clock-jumps"), queue_checkpoint="10ms"
    )
    sent: list[bytes] = []
    async with SplunkReceiver() as healthy, SplunkReceiver(script=always(Respond(503))) as dead, gateway:
        orderly = await gateway.api.create(healthy, ordered=True)
        waiting = await gateway.api.create(dead, ordered=True)
        disabled = await gateway.api.create(healthy, enabled=False, tenant_id="tenant-b")
        for number, offset_s in enumerate((0, DAY_S, -DAY_S)):
            jump(off_by, offset_s)
            lines = [*events(10), event(tenant_id="tenant-b")]
            sent += lines
            await gateway.api.accept(lines)
            await gateway.api.until_settled(orderly)
            await gateway.api.until_degraded(waiting)
            await (gateway.kill() if number % 2 else gateway.terminate())
            await gateway.start()
            shown = await gateway.api.until_degraded(waiting)
            assert shown["health"]["pending_events"] == len(sent)
        for gap in await gateway.api.listed(disabled, "gaps"):
            assert gap["first_time"] <= gap["last_time"]
        assert (await gateway.api.ledger(disabled))["dropped"] == 3
        dead.script = None
        for destination, receiver in ((orderly, healthy), (waiting, dead)):
            books = await gateway.api.until_settled(destination)
            assert (books["delivered"], books["dropped"]) == (len(sent), 0)
            assert list(receiver.events.items()) == list(by_id(sent).items())


def jump(off_by: Path, seconds: int) -> None:
    """The gateway reads the file at any moment, so it is replaced whole."""
    off_by.with_suffix(".new").write_text(str(seconds))
    off_by.with_suffix(".new").rename(off_by)
