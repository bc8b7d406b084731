from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

Command = Callable[..., Result]


def test_a_healthy_gateway_at_a_glance(stub: Any, gateway_command: Command) -> None:
    """Readiness, and one row for each destination with what waits and how old it is."""
    stub.add_destination("soc")
    stub.add_destination("archive", status="degraded")
    result = gateway_command("status")
    assert result.exit_code == 0, result.output
    for text in ("The gateway is ready.", "soc", "archive", "1.2 s", "archive  503: busy"):
        assert text in result.stdout


def test_a_disabled_destination_reads_as_such(stub: Any, gateway_command: Command) -> None:
    """What does not stream does not look active."""
    stub.add_destination("soc", enabled=False)
    assert "disabled" in gateway_command("status").stdout


def test_a_gateway_that_is_not_ready_fails_the_command(stub: Any, gateway_command: Command) -> None:
    """Scripts can rely on the exit code, people see the reason."""
    stub.ready = False
    result = gateway_command("status")
    assert result.exit_code == 1
    assert "not ready: The disk is full." in result.stdout
    assert json.loads(gateway_command("status", "--json").stdout) == {
        "ready": False,
        "reason": "The disk is full.",
        "destinations": [],
    }


def test_watching_goes_on_when_the_gateway_refuses(
    stub: Any, gateway_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that fails is shown as its line, and the next one is taken, until Ctrl-C."""
    stub.add_destination("soc")
    pauses: list[float] = []

    async def next_round(interval_s: float) -> None:
        pauses.append(interval_s)
        if len(pauses) == 3:
            raise KeyboardInterrupt
        stub.accepts_keys = len(pauses) != 1

    monkeypatch.setattr("gateway.cli.status.pause", next_round)
    result = gateway_command("status", "--watch", "--interval", "7")
    assert pauses == [7, 7, 7]
    assert result.exit_code == 0
    assert result.stdout.count("soc ") == 2  # into a pipe each look is printed below the one before
    assert result.stdout.count("(401)") == 1


def test_watching_has_no_json(stub: Any, gateway_command: Command) -> None:
    """A picture that goes on is nothing for programs; the line says what is."""
    result = gateway_command("status", "--watch", "--json")
    assert result.exit_code == 2
    assert "gateway status --json" in result.stderr
