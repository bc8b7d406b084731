"""``Files`` that fail on demand, on top of real ones."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from gateway.queue.wal.files import DiskFiles, File


class FaultyFile:
    def __init__(self, file: File, name: str, owner: FaultyFiles) -> None:
        self._file, self._name, self._owner = file, name, owner

    def write_at(self, position: int, buffers: Sequence[bytes]) -> None:
        self._owner.check("write", self._name)
        self._file.write_at(position, buffers)

    def sync(self, probe: int) -> None:
        self._owner.check("sync", self._name)
        self._owner.synced.append(self._name)
        self._file.sync(probe)

    def read_at(self, position: int, size: int) -> bytes:
        self._owner.check("read", self._name)
        return self._file.read_at(position, size)

    def size(self) -> int:
        return self._file.size()

    def forget_cached(self) -> None:
        self._file.forget_cached()

    def close(self) -> None:
        self._file.close()


class FaultyFiles(DiskFiles):
    """``fail`` arms a fault: the next ``times`` calls of an operation on names with a prefix raise OSError."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._armed: list[list[object]] = []
        self.synced: list[str] = []
        self.failed: list[tuple[str, str]] = []

    def fail(self, operation: str, prefix: str, *, number: int = errno.EIO, times: int = 1) -> None:
        self._armed.append([operation, prefix, number, times])

    def mend(self) -> None:
        """No operation fails any more."""
        self._armed.clear()

    def check(self, operation: str, name: str) -> None:
        for armed in self._armed:
            wanted, prefix, number, times = armed
            if operation == wanted and name.startswith(str(prefix)) and int(str(times)) > 0:
                armed[3] = int(str(times)) - 1
                self.failed.append((operation, name))
                raise OSError(int(str(number)), "injected fault", name)

    def create(self, name: str, size: int) -> File:
        self.check("create", name)
        return FaultyFile(super().create(name, size), name, self)

    def open(self, name: str, *, writable: bool = False) -> File:
        self.check("open", name)
        return FaultyFile(super().open(name, writable=writable), name, self)

    def rename(self, old: str, new: str) -> None:
        self.check("rename", old)
        super().rename(old, new)

    def unlink(self, names: Sequence[str]) -> None:
        for name in names:
            self.check("unlink", name)
        super().unlink(names)
