"""The system calls that the queue's files are made of, one method each and nothing more.

They are a part of their own so that the code above them can run on a disk that loses power between any two of them.
Faults are ``OSError`` as the system raised them; a descriptor is the number that ``open`` returned.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol


class System(Protocol):
    def mkdir(self, path: Path) -> None: ...

    def listdir(self, path: Path) -> list[str]: ...

    def exists(self, path: Path) -> bool: ...

    def open(self, path: Path, flags: int) -> int:
        """Files are made with mode 0600 and do not pass to child processes."""

    def close(self, descriptor: int) -> None: ...

    def pwritev(self, descriptor: int, buffers: Sequence[bytes | memoryview], position: int) -> int:
        """How many bytes were written, which may be fewer than were given."""

    def pread(self, descriptor: int, size: int, position: int) -> bytes: ...

    def size(self, descriptor: int) -> int: ...

    def allocate(self, descriptor: int, size: int) -> None: ...

    def truncate(self, descriptor: int, size: int) -> None: ...

    def fdatasync(self, descriptor: int) -> None: ...

    def fsync(self, descriptor: int) -> None: ...

    def forget_cached(self, descriptor: int) -> None: ...

    def flock(self, descriptor: int) -> None:
        """Exclusively and at once. Raises BlockingIOError when another process holds it."""

    def rename(self, old: Path, new: Path) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def free_bytes(self, path: Path) -> int: ...


class Linux:
    def mkdir(self, path: Path) -> None:
        path.mkdir(mode=0o700)

    def listdir(self, path: Path) -> list[str]:
        return [entry.name for entry in path.iterdir()]

    def exists(self, path: Path) -> bool:
        return path.exists()

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def pwritev(self, descriptor: int, buffers: Sequence[bytes | memoryview], position: int) -> int:
        return os.pwritev(descriptor, buffers, position)

    def pread(self, descriptor: int, size: int, position: int) -> bytes:
        return os.pread(descriptor, size, position)

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def allocate(self, descriptor: int, size: int) -> None:
        os.posix_fallocate(descriptor, 0, size)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def forget_cached(self, descriptor: int) -> None:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def flock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def free_bytes(self, path: Path) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


_UNREADABLE = frozenset({errno.EIO, errno.EUCLEAN})
_PAGE_BYTES = 4096


class ReadingAround(Linux):
    """Places that the disk refuses to read are zeros, and so damaged to whoever reads them.

    For an operator who has looked at the disk, and not for a gateway at work: what cannot be read now may be there
    again once a cable is, and must not be given up before.
    """

    def pread(self, descriptor: int, size: int, position: int) -> bytes:
        try:
            return super().pread(descriptor, size, position)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
        end = min(position + size, self.size(descriptor))
        edges = [position, *range(position - position % _PAGE_BYTES + _PAGE_BYTES, end, _PAGE_BYTES), end]
        pages = pairwise(edges)
        return b"".join(self._page(descriptor, start, behind - start) for start, behind in pages)

    def _page(self, descriptor: int, position: int, size: int) -> bytes:
        try:
            return super().pread(descriptor, size, position)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            return bytes(size)
