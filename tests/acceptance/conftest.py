from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.acceptance.gateway_process import GatewayProcess, StartGateway


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether a long test is to run in its full length."""
    return bool(request.config.getoption("--soak"))


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
