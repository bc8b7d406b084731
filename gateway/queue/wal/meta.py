"""META: the log's id and format, written once. Reading it decides whether the directory is ours at all. Blocks.

The id stands in the header of every segment, journal and dead-letter file too. A META that is lost or damaged is
therefore made anew from them, as long as they agree. One of another format is obeyed: the directory is refused and
not touched. The checksum tells the two apart.
"""

from __future__ import annotations

import secrets

import msgspec

from gateway.errors import LogCorrupt
from gateway.queue.wal import damage, record, segment
from gateway.queue.wal.files import Files

FORMAT = 1
NAME = "META"
_HEADED = {"log": ".seg", "cursors": ".journal", "dead-letters": ".log"}
_BYTES_MAX = 4096


class _Meta(msgspec.Struct, frozen=True):
    """``checksum`` covers the other two. Later formats keep these names."""

    format: int
    log_id: str = ""
    checksum: int | None = None

    def is_whole(self) -> bool:
        return self.checksum == _checksum(self.log_id, self.format)


def establish(files: Files) -> bytes:
    """The id of this directory's log, with a META made for it where there is none that is sound. Hold the lock.

    Raises LogCorrupt when the format is another, or when nothing tells which log this is.
    """
    log_id = read(files)
    if log_id is not None:
        return log_id
    log_id = derive(files)
    if log_id is None:
        log_id = secrets.token_bytes(16)
    else:
        damage.report(files, NAME, 0, _BYTES_MAX, "missing or damaged: made anew with the id that all other files have")
    files.replace(NAME, encode(log_id))
    return log_id


def read(files: Files) -> bytes | None:
    """The id of the log, None where META is missing or damaged. Raises LogCorrupt when the format is another."""
    if not files.exists(NAME):
        return None
    file = files.open(NAME)
    try:
        meta = msgspec.json.decode(file.read_at(0, _BYTES_MAX), type=_Meta)
        log_id = bytes.fromhex(meta.log_id)
    except ValueError:  # msgspec's errors among them
        return None
    finally:
        file.close()
    if meta.format != FORMAT and (meta.checksum is None or meta.is_whole()):
        raise LogCorrupt(
            f"the data directory has format {meta.format}, this version reads {FORMAT}: use a newer gateway"
        )
    return log_id if meta.is_whole() else None


def derive(files: Files) -> bytes | None:
    """The id that the headers of all files agree on; None where there are no files yet. Else raises LogCorrupt."""
    names = [
        f"{folder}/{name}"
        for folder, ending in _HEADED.items()
        for name in files.names(folder)
        if name.endswith(ending)
    ]
    found = {log_id for name in names if (log_id := _id_in(files, name)) is not None}
    if len(found) > 1 or (names and not found):
        problem = "its files belong to different logs" if found else "no other file's header can be read"
        raise LogCorrupt(
            f"the file META of the data directory is missing or damaged, and {problem}: restore META from a backup, or "
            "take away the files that do not belong there"
        )
    return found.pop() if found else None


def encode(log_id: bytes) -> bytes:
    text = log_id.hex()
    return msgspec.json.encode(_Meta(FORMAT, text, _checksum(text, FORMAT)))


def _checksum(log_id: str, number: int) -> int:
    return record.checksum(f"{log_id} {number}".encode())


def _id_in(files: Files, name: str) -> bytes | None:
    file = files.open(name)
    try:
        block = file.read_at(0, segment.HEADER_BYTES)
    finally:
        file.close()
    headers = (segment.decode_header(block, at) for at in segment.COPIES_AT)
    return next((header.log_id for header in headers if header is not None), None)
