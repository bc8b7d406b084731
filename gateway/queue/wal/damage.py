"""Bytes that are not what was written: named on the log, kept for an operator, in nobody's way. Blocks.

A copy of each damaged stretch goes into ``damaged/`` under the file's name and its first byte, so that it is still
there when retention or compaction has removed the file. The folder is bounded: what it has is never overwritten, and
what no longer fits is named on the log alone. Nothing here stops a start or a read.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from gateway.queue.wal.files import Files
from gateway.telemetry import Event

FOLDER = "damaged"
PIECES_MAX = 64
PIECE_BYTES_MAX = 256 << 10  # of a longer stretch the beginning is kept

Report = Callable[[Files, str, int, int, str], None]  # file, first byte, length, what it was


def report(files: Files, file: str, at: int, length: int, detail: str) -> None:
    """Say on the log that ``length`` bytes of a file are damaged, and keep them."""
    kept = _keep(files, file, at, min(length, PIECE_BYTES_MAX))
    structlog.get_logger().error(Event.LOG_CORRUPT, file=file, at=at, bytes=length, detail=detail, kept=kept)


def report_torn(files: Files, file: str, at: int, length: int) -> None:
    """Say on the log that a write at the end of a file was broken off, or is damaged, and keep its bytes."""
    kept = _keep(files, file, at, min(length, PIECE_BYTES_MAX))
    structlog.get_logger().warning(Event.LOG_RECOVERED, file=file, end=at, bytes=length, torn_tail=True, kept=kept)


def piece_name(file: str, at: int) -> str:
    return f"{FOLDER}/{file.replace('/', '_')}@{at}"


def _keep(files: Files, file: str, at: int, length: int) -> str:
    name = piece_name(file, at)
    try:
        if files.exists(name):
            return name
        if len(files.names(FOLDER)) >= PIECES_MAX:
            return f"not kept: {FOLDER}/ is full, look at what it holds and empty it"
        opened = files.open(file)
        try:
            content = opened.read_at(at, length)
        finally:
            opened.close()
        if not content:
            return "nothing is left of it"
        files.replace(name, content)
    except OSError as error:  # another thread keeps the same piece, or the disk fails
        return f"not kept: {error}"
    return name
