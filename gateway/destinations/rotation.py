"""Changing the key that seals credentials: the new one stands before the old one until nothing needs the old one.

A generated key is kept in a file of the data directory. Its rotation has four steps, each durable before the next: the
file gets ``new,old``; every destination is sealed anew with the first; the snapshot is written anew; the file gets
``new``. After a crash at any point every credential opens with what the file holds, and the next rotation goes on with
the one that was begun instead of making a third key. With a key that was given in the settings there is the second step
alone: the operator has put ``new,old`` there, and takes the old one out afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.destinations.private_file import replace_private_file
from gateway.destinations.secrets import SecretBox, generate_secret_key, load_or_create_secret, split_keys
from gateway.destinations.snapshot_file import SnapshotFile
from gateway.destinations.store import Destination, DestinationStore, Snapshot
from gateway.errors import ConfigError, Conflict, NotFound, StoreError

_PASSES_MAX = 10


class Resealed(msgspec.Struct, frozen=True):
    """How many destinations were sealed anew, and the ids of those that no key opens."""

    resealed: int
    unreadable: tuple[str, ...]


async def reseal(store: DestinationStore, box: SecretBox) -> Resealed:
    """Seal with the first key whatever is not, a running gateway's changes in between included.

    Each destination is durable by itself: to begin again after a crash is to go on. Raises StoreError.
    """
    resealed = 0
    for _ in range(_PASSES_MAX):
        old = [row for row in (await store.load()).destinations if _is_old(row, box)]
        unreadable = tuple(row.id for row in old if not _opens(row, box))
        waiting = [row for row in old if row.id not in unreadable]
        if not waiting:
            return Resealed(resealed, unreadable)
        for row in waiting:
            resealed += await _reseal_one(store, row, box)
    raise Conflict("destinations are being changed all the time: run the rotation again when it is quieter")


async def rotate_kept_key(
    path: Path,
    store: DestinationStore,
    *,
    snapshots: SnapshotFile | None,
    generate: Callable[[], str] = generate_secret_key,
) -> Resealed:
    """Make a new key in the file ``path`` and seal everything with it. Call it with the data directory locked.

    The old key stays in the file while something is left that no key opens. Raises StoreError and ConfigError.
    """
    keys = split_keys(await asyncio.to_thread(load_or_create_secret, path, generate))
    if len(keys) == 1:
        keys.insert(0, generate())
        await asyncio.to_thread(_write, path, keys)
    done = await reseal(store, SecretBox(",".join(keys)))
    if snapshots is not None:
        await asyncio.to_thread(_renew, snapshots, await store.load())
    if not done.unreadable:
        await asyncio.to_thread(_write, path, keys[:1])
    return done


async def _reseal_one(store: DestinationStore, row: Destination, box: SecretBox) -> bool:
    """False when someone else was faster; the next pass sees what became of it."""
    sealed = box.seal(box.open(row.sealed_credentials))
    try:
        await store.update_destination(
            replace(row, sealed_credentials=sealed, revision=row.revision + 1), expected_revision=row.revision
        )
    except (Conflict, NotFound):
        return False
    return True


def _is_old(row: Destination, box: SecretBox) -> bool:
    return bool(row.sealed_credentials) and not box.is_newest(row.sealed_credentials)


def _opens(row: Destination, box: SecretBox) -> bool:
    try:
        box.open(row.sealed_credentials)
    except StoreError:
        return False
    return True


def _renew(snapshots: SnapshotFile, snapshot: Snapshot) -> None:
    snapshots.save(snapshot)
    if snapshots.load() != snapshot:
        raise StoreError("the snapshot of the database cannot be written, so the old key stays: rotate again")


def _write(path: Path, keys: list[str]) -> None:
    try:
        replace_private_file(path, ",".join(keys).encode() + b"\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
