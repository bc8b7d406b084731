"""What the suites of the stores share: each runs against SQLite, a real PostgreSQL and memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.destinations.postgres import PostgresStore
from gateway.destinations.sqlite import SqliteStore
from gateway.destinations.store import DestinationStore
from tests.postgres import Postgres, running_postgres
from tests.stores import MemoryContents, MemoryStore, OpenStore


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "memory"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens any number of stores on the same, at first empty, contents."""
    opened: list[DestinationStore] = []
    contents = MemoryContents()
    url = ""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = await server.new_database()

    async def open_one() -> DestinationStore:
        if request.param == "sqlite":
            opened.append(SqliteStore(tmp_path / "store.sqlite3"))
        else:
            opened.append(PostgresStore(url) if url else MemoryStore(contents))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: OpenStore) -> DestinationStore:
    return await open_store()
