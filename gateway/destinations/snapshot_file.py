"""The last known contents of a store on another machine, kept in the data directory for starts without it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from gateway.destinations.private_file import replace_private_file
from gateway.destinations.store import Snapshot
from gateway.telemetry import Event

_FORMAT = 1


class _Contents(msgspec.Struct, frozen=True):
    format: int
    snapshot: Snapshot


class SnapshotFile:
    """MessagePack, mode 0600, replaced as a whole. Credentials in it are sealed, of keys there are digests. Blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Snapshot | None:
        """None when there is none that can be read; what is wrong with it is logged."""
        try:
            contents = msgspec.msgpack.decode(self._path.read_bytes(), type=_Contents)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            structlog.get_logger().warning(Event.SNAPSHOT_FAILED, path=str(self._path), error=str(error))
            return None
        return contents.snapshot if contents.format == _FORMAT else None

    def save(self, snapshot: Snapshot) -> None:
        """One caller at a time. A failure is logged and costs no more than a start without the store later on."""
        try:
            replace_private_file(self._path, msgspec.msgpack.encode(_Contents(_FORMAT, snapshot)))
        except (OSError, OverflowError) as error:  # a number that somebody wrote into the store by hand
            structlog.get_logger().warning(Event.SNAPSHOT_FAILED, path=str(self._path), error=str(error))
