"""``gateway demo`` as people start it: to its end, interrupted, and with nobody watching any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.demo.receivers import KINDS

RUN_S_MAX = 90.0


async def start(folder: Path, *, seconds: int, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    """Its files go below ``folder``."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "demo", "--seconds", str(seconds)),
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "80", "GATEWAY_LISTEN": "of another gateway"},
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def finished(demo: asyncio.subprocess.Process) -> tuple[str, str]:
    async with asyncio.timeout(RUN_S_MAX):
        out, err = await demo.communicate()
    return (out or b"").decode(), err.decode()


async def until_line(demo: asyncio.subprocess.Process, words: str) -> str:
    """The first line with these words."""
    assert demo.stdout is not None
    async with asyncio.timeout(RUN_S_MAX):
        while words not in (line := (await demo.stdout.readline()).decode()):
            assert line, f"it ended without {words!r}"
    return line


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def is_reachable(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def test_a_short_demo_runs_to_its_end(tmp_path: Path) -> None:
    """A destination fails and recovers, every event arrives at all five, the books balance, and nothing is left."""
    demo = await start(tmp_path, seconds=4)
    out, err = await finished(demo)
    assert (demo.returncode, err) == (0, ""), out
    told = [
        "splunk answers 503",
        "splunk is degraded",
        "splunk answers again",
        "splunk is active",
        "Every destination's books balance.",
    ]
    places = [out.index(words) for words in told]
    assert places == sorted(places)
    for provider in KINDS:
        (row,) = [line.split() for line in out.splitlines() if line.startswith(f"{provider} ")]
        accepted, delivered, *others, intact = row[1:]
        assert accepted == delivered == intact != "0", provider
        assert others == ["0"] * 4, provider
    assert max(map(len, out[out.index("The books") :].splitlines())) <= 80
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_demo_that_is_stopped_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    """What waits is delivered first; then the gateway's process and its files are gone."""
    demo = await start(tmp_path, seconds=600)
    url = await gateway_of(demo)
    demo.send_signal(number)
    out, err = await finished(demo)
    assert (demo.returncode, err) == (0, ""), out
    assert "Every destination's books balance." in out
    assert not await is_reachable(url)
    assert left_in(tmp_path) == []


async def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    """Without a summary, but with nothing left."""
    demo = await start(tmp_path, seconds=600)
    url = await gateway_of(demo)
    demo.send_signal(signal.SIGINT)
    await until_line(demo, "no new events")
    with contextlib.suppress(ProcessLookupError):  # it may have delivered everything by now
        demo.send_signal(signal.SIGINT)
    _, err = await finished(demo)
    assert "Traceback" not in err
    assert not await is_reachable(url)
    assert left_in(tmp_path) == []


async def test_a_demo_that_nobody_reads_any_more_ends(tmp_path: Path) -> None:
    """As with `gateway demo | head -1`: no traceback, no process, no files."""
    reading, writing = os.pipe()
    demo = await start(tmp_path, seconds=600, stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as reader:
        url = address_in(await asyncio.to_thread(reader.readline))
        await asyncio.to_thread(reader.readline)
        assert await is_reachable(url)
    assert await finished(demo) == ("", "")
    assert demo.returncode == 1
    assert not await is_reachable(url)
    assert left_in(tmp_path) == []


def address_in(line: str) -> str:
    return line.partition(" on ")[2].split()[0]


async def gateway_of(demo: asyncio.subprocess.Process) -> str:
    """The address of the gateway of a demo that is under way."""
    url = address_in(await until_line(demo, "http://"))
    await until_line(demo, "every destination gets every event")
    assert await is_reachable(url)
    return url
