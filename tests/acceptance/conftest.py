from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.acceptance.gateway_process import GatewayProcess, StartGateway


@pytest.fixture(autouse=True)
def _signals_as_at_a_terminal() -> Iterator[None]:
    """With ``nohup make test`` or ``make test &`` what the tests start would inherit that these are to be ignored."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A running gateway with quick retries."""
    async with GatewayProcess(tmp_path / "data") as process:
        yield process


@pytest.fixture
async def start_gateway(tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Starts gateways with settings of their own: ``await start_gateway(retry_window="1s")``."""
    async with AsyncExitStack() as stack:

        async def start(folder: str = "data", **settings: str) -> GatewayProcess:
            return await stack.enter_async_context(GatewayProcess(tmp_path / folder, **settings))

        yield start
