"""The embedded store beyond what every store does: its file, its schema, its thread."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from gateway.destinations.schema import Migration, migrations, missing
from gateway.destinations.sqlite import SqliteStore
from gateway.destinations.store import ApiKey, Scope
from gateway.errors import ConfigError, StoreError, StoreUnavailable

KEY = ApiKey("key_one", "t", "Key", (Scope.KEYS_WRITE,), "d", "tl_live_abcd", 1.0)


async def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    """The database and the files beside it have mode 0600 whatever the umask."""
    store = SqliteStore(tmp_path / "data" / "gateway.sqlite3")
    old_umask = os.umask(0)
    try:
        await store.create_key(KEY)
    finally:
        os.umask(old_umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {"gateway.sqlite3": 0o600, "gateway.sqlite3-wal": 0o600, "gateway.sqlite3-shm": 0o600}
    await store.close()


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    """Write-ahead log with full synchronisation."""
    store = SqliteStore(tmp_path / "gateway.sqlite3")
    journal, synchronous = await store._run(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    )
    assert (journal, synchronous) == ("wal", 2)
    await store.close()


async def test_the_schema_is_numbered(tmp_path: Path) -> None:
    """The file says which migrations it has had, and a second opening applies none."""
    path = tmp_path / "gateway.sqlite3"
    for _ in range(2):
        store = SqliteStore(path)
        await store.load()
        await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(migrations("sqlite"))
    connection.close()


async def test_an_older_file_is_brought_up_with_what_it_holds(tmp_path: Path) -> None:
    """Destinations of the first schema are read as before; what they did not know of themselves is empty."""
    first = migrations("sqlite")[0]
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.executescript(first.sql)
    connection.execute("PRAGMA user_version = 1")
    row = ("siem_old", "t", "webhook", "https://a", 1, "Old", "{}", "{}", b"\0", '["secret"]', 1.0, 2.0, 3, 0, 0, 0.0)
    connection.execute("INSERT INTO destinations VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row)
    connection.commit()
    connection.close()
    store = SqliteStore(tmp_path / "store.db")
    (known,) = (await store.load()).destinations
    assert (known.id, known.revision, known.credentials_set) == ("siem_old", 3, ("secret",))
    assert known.credentials_updated_at_s == {}
    await store.close()


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A file of a later gateway is left alone."""
    path = tmp_path / "gateway.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    store = SqliteStore(path)
    with pytest.raises(ConfigError, match="newer gateway"):
        await store.load()
    await store.close()


async def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is applied as a whole or not at all; the next start tries it again."""
    path = tmp_path / "gateway.sqlite3"
    good = migrations("sqlite")
    broken = (*good, Migration(len(good) + 1, "broken", "CREATE TABLE half (a TEXT); CREATE TABLE half (a TEXT);"))
    monkeypatch.setattr("gateway.destinations.sqlite.migrations", lambda _: broken)
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable):
        await store.load()
    await store.close()
    monkeypatch.undo()
    store = SqliteStore(path)
    await store.create_key(KEY)
    assert (await store.load()).keys == (KEY,)
    await store.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_migrations_count_from_one_without_a_hole(engine: str) -> None:
    """So that the number of the last is how many there are."""
    found = migrations(engine)  # type: ignore[arg-type]  # the parameter is one of the two names
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    assert found


def test_only_what_is_missing_is_applied() -> None:
    """From the middle on, in order; nothing when all is there."""
    known = tuple(Migration(number, "", "") for number in (1, 2, 3))
    assert missing(known, 1) == known[1:]
    assert missing(known, 3) == ()
    with pytest.raises(ConfigError):
        missing(known, 4)


async def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    """A damaged file is StoreUnavailable with its name, and is not overwritten."""
    path = tmp_path / "gateway.sqlite3"
    path.write_bytes(b"this is no database " * 100)
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match=r"gateway\.sqlite3"):
        await store.load()
    await store.close()
    assert path.read_bytes() == b"this is no database " * 100


async def test_a_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Half a configuration is not handed out."""
    store = SqliteStore(tmp_path / "gateway.sqlite3")
    await store.create_key(KEY)
    await store._run(lambda connection: connection.execute("""UPDATE api_keys SET scopes = '["all"]'"""))
    with pytest.raises(StoreError, match="key_one"):
        await store.load()
    await store.close()


async def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Faults of the file system are StoreUnavailable, and a later call tries again."""
    obstacle = tmp_path / "data"
    obstacle.write_text("")
    store = SqliteStore(obstacle / "gateway.sqlite3")
    with pytest.raises(StoreUnavailable):
        await store.load()
    obstacle.unlink()
    await store.create_key(KEY)
    await store.close()


async def test_the_loop_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """All work runs in one thread that is not the loop's."""
    store = SqliteStore(tmp_path / "gateway.sqlite3")
    threads = {await store._run(lambda _: threading.get_ident()) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    await store.close()


async def test_a_cancelled_write_is_announced(tmp_path: Path) -> None:
    """It may have been made: whoever reads after the announcement sees what became of it."""
    store = SqliteStore(tmp_path / "gateway.sqlite3")
    await store.load()
    changes = store.changes()
    await anext(changes)
    release = threading.Event()
    blocking = asyncio.create_task(store._run(lambda _: release.wait(10)))
    writing = asyncio.create_task(store.create_key(KEY))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait({writing})
    release.set()
    await blocking
    await asyncio.wait_for(anext(changes), 10)
    assert (await store.load()).keys in ((), (KEY,))
    await changes.aclose()
    await store.close()
