"""A small real file system that is full: by the log itself or from outside, under load, and killed while it is."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo.receivers import Refuse, SplunkReceiver, always
from tests.acceptance.api import WAIT_S_MAX
from tests.acceptance.audit_events import event, events
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.lives import QUICK, Lives
from tests.acceptance.oracle.process import OracleProcess

DISK_BYTES = 24 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(  # noqa: S603 - fixed words
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(path)],  # noqa: S607 - wherever it is
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a full disk needs the right to mount a tmpfs (root): {mounted.stderr.decode()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)  # noqa: S603, S607 - fixed words


@pytest.mark.parametrize("filled_by", ["the log", "others"])
async def test_a_full_disk_costs_time_and_no_event(tmp_path: Path, disk: Path, filled_by: str) -> None:
    """While it is full, producers are told to come back and why, what is stored is delivered, also after a kill -9 and
    a start in that state; once there is space it takes events again by itself. Every acknowledged event arrives.
    """
    gateway = GatewayProcess(
        tmp_path / "gateway", data_dir=str(disk), **QUICK, queue_segment="1MiB", queue_disk_budget="1GiB"
    )
    ballast = disk / "ballast"
    async with OracleProcess(tmp_path, filled_by) as oracle:
        lives = Lives(gateway, oracle, random.Random(filled_by))
        try:
            await lives.begin()
            await oracle.ask("misbehave", mood="busy")
            await oracle.ask("produce", with_poison=False)
            await asyncio.sleep(0.5)
            if filled_by == "others":
                fill(ballast)
            await until_ready(gateway, ready=False)
            await refused_with_a_reason(gateway)
            before = await oracle.ask("rest")
            assert before["acknowledged"] > 0
            assert before["refused"] > 0
            await gateway.kill()
            if filled_by == "others":
                fill(ballast)
            await gateway.start()
            await oracle.meet(gateway)
            assert await oracle.look() == []
            await oracle.ask("behave")
            complaints, figures = await oracle.judge()  # all that was stored has arrived, full or not
            assert complaints == []
            assert figures["dropped"] == 0
            ballast.unlink(missing_ok=True)
            await until_ready(gateway, ready=True)
            await oracle.ask("produce")
            await asyncio.sleep(0.5)
            after = await oracle.ask("rest")
            assert after["acknowledged"] > before["acknowledged"]
            await lives.verdict()
            assert lives.complaints == []
        finally:
            await gateway.end()


async def test_what_is_refused_waits_for_space(tmp_path: Path, disk: Path) -> None:
    """On a full disk a refused event cannot be kept as a dead letter: it stays pending, the destination says why, and
    once there is space it becomes one.
    """
    async with SplunkReceiver(script=always(Refuse(lambda item: b"evt_bad" in item))) as receiver:
        gateway = GatewayProcess(tmp_path / "gateway", data_dir=str(disk), queue_segment="1MiB")
        async with gateway:
            destination = await gateway.api.create(receiver)
            await gateway.api.accept(events(1))
            await gateway.api.until_settled(destination)
            fill(disk / "ballast")
            await gateway.api.accept([event(name="evt_bad")])
            shown = await gateway.api.until(
                destination,
                lambda shown: shown["health"]["last_error"] and shown["health"]["last_error"]["code"] == "disk",
            )
            assert shown["health"]["pending_events"] == 1
            (disk / "ballast").unlink()
            books = await gateway.api.until_settled(destination)
            assert (books["delivered"], books["dead_lettered"], books["dropped"]) == (1, 1, 0)
            (letter,) = await gateway.api.listed(destination, "dead-letters")
            assert letter["event_id"] == "evt_bad"


def fill(path: Path) -> None:
    """Until nothing more fits."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


async def until_ready(gateway: GatewayProcess, *, ready: bool) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while ((await gateway.api.call("GET", "/readyz")).status == 200) != ready:
            await asyncio.sleep(0.02)


async def refused_with_a_reason(gateway: GatewayProcess) -> None:
    """On /readyz and to a producer, with a time to come back."""
    answer = await gateway.api.call("GET", "/readyz")
    assert answer.status == 503
    assert "the disk of the data directory is full; free space on it" in answer.json()["detail"]
