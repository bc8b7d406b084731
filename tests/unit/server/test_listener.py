"""How many connections there may be: every one is an open file, and the queue needs files too."""

from __future__ import annotations

import asyncio
import resource

import pytest

from gateway.server.listener import allow_many_files, connections_for
from tests.events import event
from tests.unit.server.conftest import Start


@pytest.mark.parametrize(("files", "connections"), [(1_048_576, 1_047_552), (4_096, 3_072), (600, 300), (1, 1)])
def test_connections_leave_files_to_the_rest(files: int, connections: int) -> None:
    """Where there are few, half of them."""
    assert connections_for(files) == connections


@pytest.mark.parametrize(
    ("limits", "allowed", "asked"),
    [
        ((1_024, 524_288), 524_288, [(524_288, 524_288)]),
        ((4_096, 4_096), 4_096, []),
        ((1_024, resource.RLIM_INFINITY), 65_536, [(65_536, resource.RLIM_INFINITY)]),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 65_536, []),
    ],
)
def test_as_many_files_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], allowed: int, asked: list[tuple[int, int]]
) -> None:
    """Whatever number of connections is wanted: destinations have theirs besides."""
    set_limits = list[tuple[int, int]]()
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: set_limits.append(wanted))
    assert allow_many_files() == allowed
    assert set_limits == asked


async def test_no_more_connections_than_files_allow(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ``server.connections_max`` says: without a file the queue can store nothing of anybody's."""
    monkeypatch.setattr("gateway.server.listener.allow_many_files", lambda: 6)
    gateway = await start()
    idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
    assert (await gateway.post(event())).status == 202
    assert await idle[0][0].read() == b""
    for _, writer in idle:
        writer.close()
