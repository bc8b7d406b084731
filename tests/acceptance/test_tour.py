"""The README's tour, typed command by command: what is shown below a command is what comes."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.gateway_process import GatewayProcess

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
WAIT_S_MAX = 30.0

# Enough of curl for the tour, so that the test needs none: -sS, -H and -d.
CURL = """#!{python}
import sys, urllib.request
_, quiet, url, *rest = sys.argv
given = list(zip(rest[::2], rest[1::2], strict=True))
headers = dict(value.split(": ", 1) for option, value in given if option == "-H")
(body,) = [value for option, value in given if option == "-d"]
assert quiet == "-sS"
with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers)) as response:
    sys.stdout.write(response.read().decode())
"""
GATEWAY = """#!/bin/sh
exec {python} -m gateway "$@"
"""


class Step(NamedTuple):
    """A block of commands and what is shown below it; ``shown`` is empty where nothing is."""

    typed: str
    shown: str


def steps() -> list[Step]:
    tour = README.partition("## A tour in five minutes\n")[2].partition("\n## ")[0]
    found: list[Step] = []
    for kind, text in re.findall(r"^```(sh|text)\n(.*?)^```$", tour, re.MULTILINE | re.DOTALL):
        if kind == "sh":
            found.append(Step(text, ""))
        else:
            found[-1] = Step(found[-1].typed, text)
    return found


def is_as_shown(printed: str, shown: str) -> bool:
    """Line by line; blanks are blanks however many, and … is anything."""
    patterns = [".*".join(map(re.escape, line.split("…"))) for line in squeezed(shown)]
    lines = squeezed(printed)
    return len(lines) == len(patterns) and all(map(re.fullmatch, patterns, lines))


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


class Project:
    """A directory that looks like the project's to the commands of the tour, with ports that are free."""

    def __init__(self, root: Path, gateway: GatewayProcess) -> None:
        self._root = root
        self._gateway = gateway
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.receiver_port: int = probe.getsockname()[1]
        for name, text in {".venv/bin/gateway": GATEWAY, "bin/curl": CURL}.items():
            (root / name).parent.mkdir(parents=True)
            (root / name).write_text(text.format(python=sys.executable))
            (root / name).chmod(0o755)

    def fitted(self, text: str) -> str:
        """The README's ports and paths, as they are here."""
        ours = {
            "http://127.0.0.1:8080": self._gateway.address,
            "127.0.0.1:9000": f"127.0.0.1:{self.receiver_port}",
            '"127.0.0.1", 9000': f'"127.0.0.1", {self.receiver_port}',
            "/tmp/receiver.py": str(self._root / "receiver.py"),  # noqa: S108 - what the README says
            "python3 ": f"{sys.executable} ",
        }
        for theirs, here in ours.items():
            text = text.replace(theirs, here)
        return text

    async def type(self, commands: str) -> str:
        """What they print, on both ways out."""
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", self.fitted(commands)),
            cwd=self._root,
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(WAIT_S_MAX):
            return (await shell.communicate())[0].decode()

    async def type_until(self, step: Step) -> None:
        """For commands that only look: again until it is as shown, since events need a moment to arrive."""
        printed = ""
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                while not is_as_shown(printed, self.fitted(step.shown)):
                    printed = await self.type(step.typed)
        except TimeoutError:
            raise AssertionError(f"{step.typed} goes on printing {printed}") from None

    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[None]:
        """The receiver of terminal 2, listening."""
        with (self._root / "received").open("ab") as received:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(self._root / "receiver.py")), stdout=received
            )
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                while not await self._is_received():
                    await asyncio.sleep(0.02)
            yield
        finally:
            process.terminate()
            await process.wait()

    @property
    def received(self) -> list[str]:
        return (self._root / "received").read_text().splitlines()

    async def _is_received(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.receiver_port)
        except OSError:
            return False
        writer.close()
        return True

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        return {
            **others,
            "PATH": f"{self._root / 'bin'}:{others['PATH']}",
            "GATEWAY_URL": self._gateway.address,
            "COLUMNS": "80",
        }


async def test_the_tour_can_be_followed(tmp_path: Path) -> None:
    """Every command works as it stands there and prints what stands below it, from the first start to the end."""
    start, write_receiver, create, post, books, send, waiting, again, enable, settled, delete = steps()
    assert "make run" in start.typed
    assert again.typed == "python3 /tmp/receiver.py\n"
    async with GatewayProcess(tmp_path / "data", bootstrap_key="", activity_emit="true") as gateway:
        project = Project(tmp_path, gateway)
        begin = "\n".join(gateway.output.splitlines()[: start.shown.count("\n")])
        assert is_as_shown(begin, project.fitted(start.shown)), gateway.output
        assert write_receiver.typed.endswith("END\n" + again.typed)
        await project.type(write_receiver.typed.removesuffix(again.typed))
        async with project.receiver():
            for step in (create, post):
                printed = await project.type(step.typed)
                assert is_as_shown(printed, step.shown), printed
            await project.type_until(books)
        printed = await project.type(send.typed)
        assert is_as_shown(printed, send.shown), printed
        await project.type_until(waiting)
        async with project.receiver():
            printed = await project.type(enable.typed)
            assert is_as_shown(printed, enable.shown), printed
            await project.type_until(settled)
            test_event, *posted = [line.partition('"id":"')[2].partition('"')[0] for line in project.received]
            assert test_event.startswith("evt_test")
            assert set(posted) == {"evt_abc123", *(f"evt_{number}" for number in range(1, 1001))}
            printed = await project.type(delete.typed)
            assert is_as_shown(printed, delete.shown), printed
