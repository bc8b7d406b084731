"""The folder of all dead letters: whose there are, and what becomes of those that nobody owns. Blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import structlog

from gateway.queue.wal.files import Files
from gateway.telemetry import Event

_FOLDER = "dead-letters"
_ASIDE = ".orphaned-"
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def path_of(consumer_id: str) -> str:
    if not _SAFE_ID.fullmatch(consumer_id):
        raise ValueError(f"{consumer_id!r} cannot be part of a file name")
    return f"{_FOLDER}/{consumer_id}.log"


def consumer_ids(files: Files) -> list[str]:
    """Whose dead letters there are."""
    return [name.removesuffix(".log") for name in files.names(_FOLDER) if name.endswith(".log")]


def remove_strays(files: Files, consumer_ids: Sequence[str]) -> None:
    """Remove what consumers that are gone left behind, and files that were never finished."""
    kept = {f"{consumer_id}.log" for consumer_id in consumer_ids}
    strays = [name for name in files.names(_FOLDER) if name not in kept and _ASIDE not in name]
    files.unlink([f"{_FOLDER}/{name}" for name in strays])


def set_aside(files: Files, generation: int, known_ids: Sequence[str]) -> None:
    """Keep the files of all others under other names, for an operator: their numbers mean nothing once the cursor is
    lost.
    """
    known = {f"{consumer_id}.log" for consumer_id in known_ids}
    names = [f"{_FOLDER}/{name}" for name in files.names(_FOLDER) if name.endswith(".log") and name not in known]
    for name in names:
        files.rename(name, f"{name}{_ASIDE}{generation}")
    structlog.get_logger().error(
        Event.LOG_CORRUPT,
        file="cursors",
        detail="checkpoints are damaged: destinations go back to older ones, and those that no checkpoint knows to the "
        "oldest event that the log has; the dead letters of the latter are set aside",
        dead_letters=[f"{name}{_ASIDE}{generation}" for name in names],
    )
