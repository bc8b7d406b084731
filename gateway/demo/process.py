"""The gateway itself, as a child process with settings of its own and a data directory that is thrown away."""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

START_S_MAX = 30.0
STOP_S_MAX = 15.0

_ADDRESS = re.compile(rb"https?://[^\s/]+")
_LOG_LINES_SHOWN = 5


class GatewayGone(Exception):
    """The gateway's process did not start or did not stay."""


class RunningGateway(msgspec.Struct, frozen=True):
    url: str
    api_key: str
    log_file: Path

    def __repr__(self) -> str:  # api_key is a secret
        return f"RunningGateway({self.url})"

    async def last_words(self) -> str:
        """The end of its log, to say why it is gone."""
        said = await asyncio.to_thread(self.log_file.read_text, errors="replace")
        return "\n".join(said.splitlines()[-_LOG_LINES_SHOWN:])


@asynccontextmanager
async def running_gateway(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[RunningGateway]:
    """Start it on a free port, and stop it in the polite way at the end. Raises GatewayGone when it does not start.

    ``environment`` is passed on without the settings of another gateway. Ctrl-C reaches this process and not the child.
    """
    key = f"tl_live_{secrets.token_urlsafe(24)}"
    log_file = folder / "gateway.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve"),
            env=_settings(environment, folder, key),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield RunningGateway(await _address(process, log_file), key, log_file)
    finally:
        await _stop(process)


def _settings(environment: Mapping[str, str], folder: Path, key: str) -> dict[str, str]:
    """Destinations on this machine are allowed, and waiting is short enough to be watched."""
    others = {name: value for name, value in environment.items() if not name.startswith("GATEWAY_")}
    return others | {
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_BOOTSTRAP_KEY": key,
        "GATEWAY_EGRESS_ALLOW_HTTP": "true",
        "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
        "GATEWAY_ACTIVITY_EMIT": "false",  # the numbers on the screen are the producer's alone
        "GATEWAY_RETRY_BACKOFF": "250ms",
        "GATEWAY_RETRY_BACKOFF_MAX": "2s",
        "GATEWAY_LOG_LEVEL": "warning",
        "GATEWAY_LOG_FORMAT": "json",
    }


async def _address(process: asyncio.subprocess.Process, log_file: Path) -> str:
    """The address in what the gateway prints when it listens."""
    if process.stdout is None:
        raise GatewayGone("the gateway's output cannot be read")
    try:
        async with asyncio.timeout(START_S_MAX):
            while line := await process.stdout.readline():
                found = _ADDRESS.search(line)
                if found is not None:
                    return found[0].decode()
    except TimeoutError:
        raise GatewayGone(f"the gateway did not start within {START_S_MAX:g} s") from None
    await process.wait()
    words = await RunningGateway("", "", log_file).last_words()
    raise GatewayGone(f"the gateway did not start (exit code {process.returncode}):\n{words}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask, wait, and end it by force when it does not listen. ``communicate`` reads what it still prints."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
