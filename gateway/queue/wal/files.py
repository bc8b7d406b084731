"""The only module that touches the queue's directory. Everything above speaks ``Files`` and ``File``.

Names are relative to the data directory, with ``/`` between folder and file. Methods block: call them in a thread.
Faults are ``OSError`` as the system raised them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gateway.errors import DataDirectoryInUse

_BUFFERS_PER_CALL = 1024  # IOV_MAX on Linux
_ZEROS = bytes(1 << 20)


class File(Protocol):
    """An open file. Writers are one thread; reads may run beside them."""

    def write_at(self, position: int, buffers: Sequence[bytes]) -> None:
        """Write all of the buffers one behind another. Not durable before ``sync``."""

    def sync(self, probe: int) -> None:
        """Make the contents durable, then read one byte at ``probe`` back from the file."""

    def read_at(self, position: int, size: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end of the file."""

    def size(self) -> int: ...

    def forget_cached(self) -> None:
        """Ask that later reads come from the device and not from memory."""

    def close(self) -> None: ...


class Files(Protocol):
    def lock(self, name: str) -> None:
        """Keep every other process out for as long as this one lives. Raises DataDirectoryInUse."""

    def unlock(self) -> None: ...

    def names(self, folder: str) -> list[str]:
        """Names in a folder, made with its parents when it is not there."""

    def create(self, name: str, size: int) -> File:
        """A new file of ``size`` zero bytes, written out so that later writes need no new blocks. Contents are
        durable.
        """

    def open(self, name: str, *, writable: bool = False) -> File: ...

    def rename(self, old: str, new: str) -> None:
        """Durable when it returns."""

    def unlink(self, names: Sequence[str]) -> None:
        """Remove files of one folder; names that are gone are passed over. Durable when it returns."""

    def truncate(self, name: str, size: int) -> None: ...

    def replace(self, name: str, content: bytes) -> None:
        """Put a whole small file in place of another, atomically. Durable when it returns."""

    def exists(self, name: str) -> bool: ...

    def free_bytes(self) -> int: ...


class DiskFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write_at(self, position: int, buffers: Sequence[bytes]) -> None:
        for start in range(0, len(buffers), _BUFFERS_PER_CALL):
            position = self._write(position, list(buffers[start : start + _BUFFERS_PER_CALL]))

    def _write(self, position: int, buffers: list[bytes]) -> int:
        remaining: list[memoryview] = [memoryview(buffer) for buffer in buffers]
        while remaining:
            written = os.pwritev(self._descriptor, remaining, position)
            position += written
            while remaining and written >= len(remaining[0]):
                written -= len(remaining.pop(0))
            if written:
                remaining[0] = remaining[0][written:]
        return position

    def sync(self, probe: int) -> None:
        os.fdatasync(self._descriptor)
        os.pread(self._descriptor, 1, probe)

    def read_at(self, position: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, position)
        if len(data) == size or not data:
            return data
        parts = [data]
        missing = size - len(data)
        while missing and (data := os.pread(self._descriptor, missing, position + size - missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def forget_cached(self) -> None:
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class DiskFiles:
    """``Files`` on a real directory, made with mode 0700 when it is not there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock: int | None = None
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def lock(self, name: str) -> None:
        descriptor = os.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise DataDirectoryInUse(
                f"the data directory {self._root} is in use by process {owner}: stop it, or give this one another "
                "directory (--data-dir)"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def names(self, folder: str) -> list[str]:
        path = self._root / folder
        if not path.is_dir():
            path.mkdir(parents=True, mode=0o700)
            self._sync_folder(path.parent)
        return sorted(entry.name for entry in path.iterdir())

    def create(self, name: str, size: int) -> File:
        path = self._root / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if size:
                os.posix_fallocate(descriptor, 0, size)
            for position in range(0, size, len(_ZEROS)):
                DiskFile(descriptor).write_at(position, [_ZEROS[: min(len(_ZEROS), size - position)]])
            os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return DiskFile(descriptor)

    def open(self, name: str, *, writable: bool = False) -> File:
        flags = os.O_RDWR if writable else os.O_RDONLY
        return DiskFile(os.open(self._root / name, flags | os.O_CLOEXEC))

    def rename(self, old: str, new: str) -> None:
        (self._root / old).rename(self._root / new)
        self._sync_folder((self._root / new).parent)

    def unlink(self, names: Sequence[str]) -> None:
        for name in names:
            (self._root / name).unlink(missing_ok=True)
        if names:
            self._sync_folder((self._root / names[0]).parent)

    def truncate(self, name: str, size: int) -> None:
        os.truncate(self._root / name, size)

    def replace(self, name: str, content: bytes) -> None:
        temporary = f"{name}.tmp"
        descriptor = os.open(self._root / temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        file = DiskFile(descriptor)
        try:
            file.write_at(0, [content])
            os.fsync(descriptor)
        finally:
            file.close()
        self.rename(temporary, name)

    def exists(self, name: str) -> bool:
        return (self._root / name).exists()

    def free_bytes(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    @staticmethod
    def _sync_folder(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
