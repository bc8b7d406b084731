"""Changing the key that seals credentials, and dying in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.destinations import rotation
from gateway.destinations.private_file import replace_private_file
from gateway.destinations.rotation import Resealed, reseal, rotate_kept_key
from gateway.destinations.secrets import SecretBox, generate_secret_key
from gateway.destinations.snapshot_file import SnapshotFile
from gateway.destinations.sqlite import SqliteStore
from gateway.destinations.store import Destination
from gateway.errors import ConfigError, Conflict, StoreError
from gateway.providers.codec import Secret
from tests.destinations import destination
from tests.stores import MemoryContents, MemoryStore

OLD, NEW = "the old key of the tests", "the new key of the tests"


def row(number: int, box: SecretBox | None) -> Destination:
    sealed = box.seal({"token": Secret(f"token {number}")}) if box is not None else b""
    return destination(
        id=f"siem_{number}",
        sealed_credentials=sealed,
        credentials_set=("token",),
        created_at_s=float(number),
        updated_at_s=7.0,
    )


def stored(*rows: Destination) -> MemoryStore:
    contents = MemoryContents()
    contents.destinations = {row.id: row for row in rows}
    return MemoryStore(contents)


async def all_open(store: MemoryStore | SqliteStore, keys: str) -> bool:
    box = SecretBox(keys)
    rows = (await store.load()).destinations
    return [box.open(row.sealed_credentials)["token"].reveal() for row in rows] == [
        f"token {int(row.created_at_s)}" for row in rows
    ]


async def test_everything_is_sealed_with_the_first_key() -> None:
    """What was sealed with it before is not touched, and nothing else of a destination changes but its revision."""
    store = stored(row(1, SecretBox(OLD)), row(2, SecretBox(NEW)), row(3, SecretBox(OLD)), row(4, None))
    before = store.contents.destinations["siem_1"]
    assert await reseal(store, SecretBox(f"{NEW},{OLD}")) == Resealed(2, ())
    del store.contents.destinations["siem_4"]
    assert await all_open(store, NEW)
    after = store.contents.destinations["siem_1"]
    assert after == replace(before, sealed_credentials=after.sealed_credentials, revision=2)
    assert store.contents.destinations["siem_2"].revision == 1
    assert await reseal(store, SecretBox(f"{NEW},{OLD}")) == Resealed(0, ())


async def test_what_no_key_opens_is_named_and_left() -> None:
    """A lost key of one destination does not keep the others."""
    store = stored(row(1, SecretBox("a key that nobody has any more")), row(2, SecretBox(OLD)))
    before = store.contents.destinations["siem_1"]
    assert await reseal(store, SecretBox(f"{NEW},{OLD}")) == Resealed(1, ("siem_1",))
    assert store.contents.destinations["siem_1"] == before


class Busy(MemoryStore):
    """A gateway beside it changes each destination once just before it is written."""

    changed: frozenset[str] = frozenset()
    for_ever = False

    async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
        if destination.id not in self.changed or self.for_ever:
            self.changed |= {destination.id}
            known = self.contents.destinations[destination.id]
            changed = SecretBox(OLD).seal({"token": Secret(f"token {int(known.created_at_s)}")})
            self.contents.destinations[destination.id] = replace(
                known, name="changed", sealed_credentials=changed, revision=known.revision + 1
            )
        await super().update_destination(destination, expected_revision=expected_revision)


async def test_a_change_in_between_is_not_lost() -> None:
    """A running gateway's change stays, and is sealed anew in the next pass; one that never ends is given up on."""
    store = Busy(stored(row(1, SecretBox(OLD)), row(2, SecretBox(OLD))).contents)
    assert await reseal(store, SecretBox(f"{NEW},{OLD}")) == Resealed(2, ())
    assert await all_open(store, NEW)
    assert {row.name for row in store.contents.destinations.values()} == {"changed"}
    store.for_ever = True
    with pytest.raises(Conflict, match="again"):
        await reseal(store, SecretBox(f"{generate_secret_key()},{OLD},{NEW}"))


class Dies(BaseException):
    """Nothing after it runs, as after kill -9."""


class Steps:
    """Every durable step of a rotation in turn; dies before or after the one with the given number."""

    def __init__(self, *, die_at: int, after: bool) -> None:
        self.count, self.die_at, self.after = 0, die_at, after

    def reached(self, *, after: bool) -> None:
        self.count += not after
        if self.count == self.die_at and self.after is after:
            raise Dies


class MortalStore(MemoryStore):
    steps: Steps

    async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
        self.steps.reached(after=False)
        await super().update_destination(destination, expected_revision=expected_revision)
        self.steps.reached(after=True)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("die_at", range(1, 6))
async def test_a_crash_at_any_point_loses_no_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_at: int, after: bool
) -> None:
    """Whatever step it dies at, what the key file holds opens everything, and the next rotation ends what was begun
    with the key that was made then.
    """
    path = tmp_path / "secret-key"
    path.write_text(f"{OLD}\n")
    store = MortalStore(stored(*(row(number, SecretBox(OLD)) for number in range(3))).contents)
    store.steps = Steps(die_at=die_at, after=after)
    made: list[str] = []

    def generate() -> str:
        made.append(generate_secret_key())
        return made[-1]

    def mortal_write(path: Path, content: bytes) -> None:
        store.steps.reached(after=False)
        replace_private_file(path, content)
        store.steps.reached(after=True)

    monkeypatch.setattr(rotation, "replace_private_file", mortal_write)
    with pytest.raises(Dies):
        await rotate_kept_key(path, store, snapshots=None, generate=generate)
    assert await all_open(store, path.read_text())
    store.steps = Steps(die_at=0, after=False)
    if (die_at, after) != (5, True):  # there it was done
        await rotate_kept_key(path, store, snapshots=None, generate=generate)
    assert path.read_text() == f"{made[-1]}\n"
    assert len(made) == (2 if (die_at, after) == (1, False) else 1)
    assert await all_open(store, made[-1])


async def test_the_old_key_stays_while_something_needs_it(tmp_path: Path) -> None:
    """A destination whose credentials no key opens may still be mended with a key that is added."""
    path = tmp_path / "secret-key"
    path.write_text(OLD)
    store = stored(row(1, SecretBox("a key that nobody has any more")), row(2, SecretBox(OLD)))
    done = await rotate_kept_key(path, store, snapshots=None, generate=lambda: NEW)
    assert done == Resealed(1, ("siem_1",))
    assert path.read_text() == f"{NEW},{OLD}\n"


async def test_the_snapshot_follows(tmp_path: Path) -> None:
    """A start without the database opens with the new key alone."""
    path, snapshots = tmp_path / "secret-key", SnapshotFile(tmp_path / "catalog.snapshot")
    path.write_text(OLD)
    store = stored(row(1, SecretBox(OLD)))
    await asyncio.to_thread(snapshots.save, await store.load())
    await rotate_kept_key(path, store, snapshots=snapshots, generate=lambda: NEW)
    kept = await asyncio.to_thread(snapshots.load)
    assert kept is not None
    assert SecretBox(NEW).open(kept.destinations[0].sealed_credentials)


async def test_the_old_key_stays_while_the_snapshot_needs_it(tmp_path: Path) -> None:
    """A snapshot that cannot be written anew still opens at a start without the database."""
    path, folder = tmp_path / "secret-key", tmp_path / "catalog.snapshot"
    path.write_text(OLD)
    folder.mkdir()
    with pytest.raises(StoreError, match="the old key stays"):
        await rotate_kept_key(
            path, stored(row(1, SecretBox(OLD))), snapshots=SnapshotFile(folder), generate=lambda: NEW
        )
    assert path.read_text() == f"{NEW},{OLD}\n"


async def test_a_disk_that_refuses_the_key_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key is on disk before anything is sealed with it."""
    path = tmp_path / "secret-key"
    path.write_text(OLD)
    store = stored(row(1, SecretBox(OLD)))

    def failing(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rotation, "replace_private_file", failing)
    with pytest.raises(ConfigError, match="secret-key cannot be written: No space left"):
        await rotate_kept_key(path, store, snapshots=None)
    assert await all_open(store, OLD)


async def test_what_was_sealed_before_is_gone_from_the_file(tmp_path: Path) -> None:
    """Who has the old key finds nothing in the embedded store that it opens."""
    path, box = tmp_path / "destinations.db", SecretBox(OLD)
    store = SqliteStore(path)
    rows = [row(number, box) for number in range(20)]
    for stored_row in rows:
        await store.create_destination(stored_row)
    await reseal(store, SecretBox(f"{NEW},{OLD}"))
    await store.close()
    assert traces(tmp_path, [destination.sealed_credentials for destination in rows]) == []
    again = SqliteStore(path)
    assert await all_open(again, NEW)
    await again.close()


def traces(folder: Path, sealed: Sequence[bytes]) -> list[str]:
    contents = [(file.name, file.read_bytes()) for file in folder.iterdir()]
    return [name for name, content in contents if any(piece[20:80] in content for piece in sealed)]
