"""One browser and one gateway for all of these tests; each test has a tenant and a browser context of its own.

They share the event loop of the session, since the browser's connection belongs to the loop that started it.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.acceptance.gateway_process import GatewayProcess
from tests.console.chromium import chromium_path
from tests.console.tab import OpenTab, Tab, open_tab
from tests.console.tenants import Tenant, new_tenant

WAIT_MS = 20_000  # for what is waited for by looking; a busy machine makes it slow, not wrong


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium_path())
        yield started
        await started.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    async with GatewayProcess(tmp_path_factory.mktemp("console") / "data") as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def own_gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """One that may be stopped and started, always at the same address, and gives up after two seconds of an outage."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    async with GatewayProcess(tmp_path / "data", listen=f"127.0.0.1:{port}", retry_window="2s") as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(gateway: GatewayProcess) -> Tenant:
    return await new_tenant(gateway)


@pytest_asyncio.fixture(loop_scope="session")
async def open_console(browser: Browser, gateway: GatewayProcess) -> AsyncIterator[OpenTab]:
    """Opens tabs: ``await open_console(locale="de-DE")``. At the end none of them may have misbehaved."""
    async with AsyncExitStack() as stack:
        tabs: list[Tab] = []

        async def open_one(address: str | None = None, **settings: object) -> Tab:
            tab = await open_tab(browser, address or gateway.address, **settings)  # type: ignore[arg-type]
            stack.push_async_callback(tab.page.context.close)
            tab.page.set_default_timeout(WAIT_MS)
            tabs.append(tab)
            return tab

        yield open_one
        for tab in tabs:
            await tab.check()


@pytest_asyncio.fixture(loop_scope="session")
async def console(open_console: OpenTab) -> Tab:
    return await open_console()
