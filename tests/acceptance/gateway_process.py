"""The gateway as its users run it: ``python -m gateway serve``, a process of its own that may be killed at any time."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.acceptance.api import Api

ROOT = Path(__file__).parents[2]
OPERATOR_KEY = "tl_live_operator-of-the-acceptance-tests-0123456789"
START_S_MAX = 30.0
STOP_S_MAX = 30.0

_ADDRESS = re.compile(r"The gateway listens on (http://\S+|unix:\S+) and")
# What a log never shows while every promise is kept, whatever the destinations do.
_FAULTS = ("Traceback", "request.failed", "destination.crashed", "ledger.imbalanced", "was never retrieved")


class GatewayProcess:
    """Use as ``async with``: starts it, and at the end stops it politely and expects exit code 0 and a clean log.

    ``settings`` are those of the gateway with ``_`` for ``.``: ``retry_window="1s"`` is ``GATEWAY_RETRY_WINDOW``. One
    data directory is kept over ``kill`` and ``start``, and so is the log. ``api`` speaks with the operator's key.
    """

    def __init__(self, data_dir: Path, /, **settings: str) -> None:
        self.data_dir = data_dir
        self.settings = settings
        self.address = ""
        self.exit_code: int | None = None
        self._output = data_dir.parent / f"{data_dir.name}.stdout"
        self._log = data_dir.parent / f"{data_dir.name}.stderr"
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None

    # -- the process

    async def launch(self) -> None:
        """Start it without waiting for anything."""
        assert not self.is_running
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self._output.open("ab") as output, self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "serve"),
                cwd=ROOT,
                env=self._environment(),
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    async def start(self) -> None:
        """Start it and wait until it listens. Fails with the end of its log when it does not."""
        printed = len(self.output)
        await self.launch()
        async with asyncio.timeout(START_S_MAX):
            while (found := _ADDRESS.search(self.output, printed)) is None:
                assert self.is_running, f"the gateway did not start (exit code {await self.wait()}):\n{self.last_words}"
                await asyncio.sleep(0.01)
        self.address = found[1]
        if self.address.startswith("unix:"):
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(self.address.removeprefix("unix:"))
        else:
            connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector)

    async def kill(self) -> None:
        """SIGKILL: nothing of it runs any further."""
        self.send(signal.SIGKILL)
        assert await self.wait() == -signal.SIGKILL

    async def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.send(signal.SIGTERM)
        return await self.wait()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Until it has ended; the exit code."""
        assert self._process is not None
        async with asyncio.timeout(STOP_S_MAX):
            self.exit_code = await self._process.wait()
        if self._session is not None:
            await self._session.close()
            self._session = None
        return self.exit_code

    async def restart(self, **settings: str) -> None:
        """Politely, with settings added to those it had."""
        assert await self.terminate() == 0, self.last_words
        self.settings |= settings
        await self.start()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None or not self.is_running:
            await self._end()
        else:
            try:
                assert await self.terminate() == 0, self.last_words
            finally:
                await self._end()
        if kind is None:
            assert self.faults == []

    async def _end(self) -> None:
        if self.is_running:
            self.send(signal.SIGKILL)
        if self._process is not None:
            await self.wait()

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        given = {f"GATEWAY_{name.upper()}": value for name, value in self.settings.items()}
        defaults = {
            "GATEWAY_LISTEN": "127.0.0.1:0",
            "GATEWAY_DATA_DIR": str(self.data_dir),
            "GATEWAY_BOOTSTRAP_KEY": OPERATOR_KEY,
            "GATEWAY_EGRESS_ALLOW_HTTP": "true",
            "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
            "GATEWAY_ACTIVITY_EMIT": "false",  # so that what tests count is what they posted
            "GATEWAY_RETRY_BACKOFF": "20ms",
            "GATEWAY_RETRY_BACKOFF_MAX": "200ms",
            "GATEWAY_RETRY_MISCONFIGURED": "20ms",
            "GATEWAY_RETRY_MISCONFIGURED_MAX": "200ms",
        }
        return others | defaults | given

    # -- what it says

    @property
    def output(self) -> str:
        """Standard output of all its lives."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    @property
    def log(self) -> str:
        """Standard error of all its lives."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def last_words(self) -> str:
        return "\n".join(self.log.splitlines()[-20:])

    @property
    def faults(self) -> list[str]:
        """The lines of the log that tell of a bug."""
        return [line[:2000] for line in self.log.splitlines() if any(fault in line for fault in _FAULTS)]

    # -- what it answers

    @property
    def api(self) -> Api:
        return self.api_with(self.settings.get("bootstrap_key", OPERATOR_KEY))

    def api_with(self, key: str | None) -> Api:
        """None: without a key."""
        assert self._session is not None, "the gateway does not run"
        base = "http://gateway" if self.address.startswith("unix:") else self.address
        return Api(self._session, base, key)


StartGateway = Callable[..., Awaitable[GatewayProcess]]
