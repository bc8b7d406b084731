"""The test's end of the oracle: starts the process, asks, and stops it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.acceptance.gateway_process import OPERATOR_KEY, ROOT, GatewayProcess

ANSWER_S_MAX = 300.0
_LINE_BYTES_MAX = 16 << 20


class OracleProcess:
    """Use as ``async with``. One test asks, one thing at a time."""

    def __init__(self, folder: Path, seed: object) -> None:
        self._errors = folder / "oracle.stderr"
        self._seed = str(seed)
        self._process: asyncio.subprocess.Process | None = None
        self.ids: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.acceptance.oracle", self._seed),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=_LINE_BYTES_MAX,
            )
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def ask(self, command: str, **arguments: object) -> Any:
        """The answer to a command of ``tests.acceptance.oracle``."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode([command, arguments]) + b"\n")
        async with asyncio.timeout(ANSWER_S_MAX):
            line = await self._process.stdout.readline()
        assert line, f"the oracle is gone:\n{self._errors.read_text()[-4000:]}"
        return msgspec.json.decode(line)

    async def create_destinations(self, gateway: GatewayProcess) -> None:
        for name, content in (await self.ask("destinations")).items():
            made = await gateway.api.expect(201, "POST", "/v1/audit/siem", json=content)
            self.ids[name] = made["id"]

    async def meet(self, gateway: GatewayProcess) -> None:
        await self.ask("meet", address=gateway.address, key=OPERATOR_KEY)

    async def look(self) -> list[str]:
        found: list[str] = await self.ask("look", ids=self.ids)
        return found

    async def judge(self) -> tuple[list[str], dict[str, int]]:
        """Complaints, and the figures of the whole run."""
        judged = await self.ask("judge", ids=self.ids)
        return judged["complaints"], judged["figures"]
