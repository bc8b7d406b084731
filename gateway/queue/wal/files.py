"""The only module that touches the queue's directory. Everything above speaks ``Files`` and ``File``.

Names are relative to the data directory, with ``/`` between folder and file. Methods block: call them in a thread.
Faults are ``OSError`` as the system raised them, with the name of the file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from gateway.errors import DataDirectoryInUse
from gateway.queue.wal.system import Linux, System

_BUFFERS_PER_CALL = 1024  # IOV_MAX on Linux
_ZEROS = bytes(1 << 20)
_OWNER_LOOKS, _OWNER_LOOK_S = 50, 0.02


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

    def close(self) -> None:
        """Never fails: what was not synced before is not promised."""


class Files(Protocol):
    def lock(self, name: str) -> None:
        """Keep every other process out for as long as this one lives. Raises DataDirectoryInUse.

        The directory's names are durable when it returns: a process that was killed may have left some that are not.
        """

    def unlock(self) -> None: ...

    def names(self, folder: str) -> list[str]:
        """Names in a folder, made with its parents when it is not there. Durable when it returns, whoever made them."""

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


def make_durable(files: Files, name: str) -> None:
    """Before a file is believed that an earlier process wrote: what that one left in the page cache becomes durable,
    and what a failed sync left there as seemingly clean is read from the device.
    """
    file = files.open(name, writable=True)
    try:
        file.sync(0)
        file.forget_cached()
    finally:
        file.close()


class DiskFile:
    def __init__(self, system: System, path: Path, descriptor: int) -> None:
        self._system, self._path, self._descriptor = system, path, descriptor

    def write_at(self, position: int, buffers: Sequence[bytes]) -> None:
        with _about(self._path):
            for start in range(0, len(buffers), _BUFFERS_PER_CALL):
                position = self._write(position, list(buffers[start : start + _BUFFERS_PER_CALL]))

    def _write(self, position: int, buffers: list[bytes]) -> int:
        remaining: list[memoryview] = [memoryview(buffer) for buffer in buffers]
        while remaining:
            written = self._system.pwritev(self._descriptor, remaining, position)
            position += written
            while remaining and written >= len(remaining[0]):
                written -= len(remaining.pop(0))
            if written:
                remaining[0] = remaining[0][written:]
        return position

    def sync(self, probe: int) -> None:
        with _about(self._path):
            self._system.fdatasync(self._descriptor)
            self._system.pread(self._descriptor, 1, probe)

    def fill(self, size: int) -> None:
        """Give a fresh file ``size`` zero bytes and make it durable with all that the file system keeps of it."""
        with _about(self._path):
            if size:
                self._system.allocate(self._descriptor, size)
            for position in range(0, size, len(_ZEROS)):
                self.write_at(position, [_ZEROS[: min(len(_ZEROS), size - position)]])
            self._system.fsync(self._descriptor)

    def lock(self) -> None:
        self._system.flock(self._descriptor)

    def sync_names(self) -> None:
        """Of a folder: make its names durable."""
        with _about(self._path):
            self._system.fsync(self._descriptor)

    def truncate(self, size: int) -> None:
        with _about(self._path):
            self._system.truncate(self._descriptor, size)

    def read_at(self, position: int, size: int) -> bytes:
        with _about(self._path):
            parts: list[bytes] = []
            missing = size
            while missing and (data := self._system.pread(self._descriptor, missing, position + size - missing)):
                parts.append(data)
                missing -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self) -> int:
        return self._system.size(self._descriptor)

    def forget_cached(self) -> None:
        self._system.forget_cached(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):  # it is closed all the same, and what matters was synced before
                self._system.close(descriptor)


class DiskFiles:
    """``Files`` on a real directory, made with mode 0700 when it is not there."""

    def __init__(self, root: Path, system: System | None = None) -> None:
        self._root = root
        self._system = system or Linux()
        self._lock: DiskFile | None = None
        self._make_folder(root)

    def lock(self, name: str) -> None:
        file = self._open(name, os.O_RDWR | os.O_CREAT)
        try:
            file.lock()
            file.truncate(0)
            file.write_at(0, [b"%d\n" % os.getpid()])
        except BlockingIOError:
            owner = _owner_of(file)
            file.close()
            raise DataDirectoryInUse(
                f"the data directory {self._root} is in use by process {owner}: stop it, or give this one another "
                "directory (--data-dir)"
            ) from None
        except OSError:
            file.close()
            raise
        self._lock = file
        self._sync_folder(self._root)
        with contextlib.suppress(PermissionError):  # it may stand in a folder that is not ours
            self._sync_folder(self._root.parent)

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def names(self, folder: str) -> list[str]:
        path = self._root / folder
        self._make_folder(path)
        self._sync_folder(path)
        return sorted(self._system.listdir(path))

    def create(self, name: str, size: int) -> File:
        file = self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            file.fill(size)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                self._system.unlink(self._root / name)
            raise
        return file

    def open(self, name: str, *, writable: bool = False) -> File:
        return self._open(name, os.O_RDWR if writable else os.O_RDONLY)

    def rename(self, old: str, new: str) -> None:
        self._system.rename(self._root / old, self._root / new)
        self._sync_folder((self._root / new).parent)

    def unlink(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._system.unlink(self._root / name)
        if names:
            self._sync_folder((self._root / names[0]).parent)

    def truncate(self, name: str, size: int) -> None:
        file = self._open(name, os.O_RDWR)
        try:
            file.truncate(size)
        finally:
            file.close()

    def replace(self, name: str, content: bytes) -> None:
        temporary = f"{name}.tmp"
        with contextlib.suppress(FileNotFoundError):  # a new file, and not one in which the disk may have failed
            self._system.unlink(self._root / temporary)
        file = self._open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            file.write_at(0, [content])
            file.sync(0)
        finally:
            file.close()
        self.rename(temporary, name)

    def exists(self, name: str) -> bool:
        return self._system.exists(self._root / name)

    def free_bytes(self) -> int:
        return self._system.free_bytes(self._root)

    def _open(self, name: str, flags: int) -> DiskFile:
        path = self._root / name
        return DiskFile(self._system, path, self._system.open(path, flags))

    def _make_folder(self, path: Path) -> None:
        if not self._system.exists(path):
            self._make_folder(path.parent)
            with contextlib.suppress(FileExistsError):  # another process was faster
                self._system.mkdir(path)
            self._sync_folder(path.parent)

    def _sync_folder(self, path: Path) -> None:
        folder = DiskFile(self._system, path, self._system.open(path, os.O_RDONLY | os.O_DIRECTORY))
        try:
            folder.sync_names()
        finally:
            folder.close()


def _owner_of(file: DiskFile) -> str:
    """The process that holds the lock. It writes its id a moment after it has got it."""
    for _ in range(_OWNER_LOOKS):
        if owner := file.read_at(0, 32).decode(errors="replace").strip():
            return owner
        time.sleep(_OWNER_LOOK_S)
    return "unknown"


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Calls on a descriptor fail without a name: add it, for whoever reads the message."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
