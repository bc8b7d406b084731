"""Small files that nobody else may read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_private_file(path: Path, content: bytes) -> None:
    """Put ``content`` in place of ``path``, whole or not at all; mode 0600 from its creation, durable when it returns.

    Makes the directory when it is not there. Blocks. The caller keeps two writers of one path apart. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # of a process that died, perhaps with another mode
    try:
        _write_new(temporary, content)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def create_private_file(path: Path) -> None:
    """An empty file of mode 0600 where there is none. Makes the directory too. Blocks. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        _write_new(path, b"")


def _write_new(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
