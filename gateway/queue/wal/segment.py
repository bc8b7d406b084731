"""Segment files: their header block, their names, and walking their frames. Plain functions over bytes.

The header block is 4 KiB, written once. The header stands in it twice, in two sectors, so that a rotten one does not
cost the frames behind it. Its checksum seeds those of all frames in the file.

A walk tells a torn tail from damage by what was *proven* durable: each frame says how much of the file was synced
when it was written, and the next segment's header says where this one's trusted bytes end. A bad frame below that
line was there once and is damage; one above it was never acknowledged and is the end of the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

import msgspec

from gateway.queue.wal import record

MAGIC = b"AUDSEG\0\1"
HEADER_BYTES = 4096
FORMAT_VERSION = 1
COPIES_AT = (0, 2048)
SPARE_COPY = "one of two copies of the header; it costs nothing"
_HEADER = struct.Struct("<8sHHI16sQQQQQQQ")
_CHECKSUM = struct.Struct("<I")
_NAME = re.compile(r"(\d{20})-([0-9a-f]{16})\.seg")
_WALK_BYTES = 1 << 20

Read = Callable[[int, int], bytes]


class SegmentHeader(msgspec.Struct, frozen=True):
    """``previous_end`` is how many bytes of the previous segment are trusted, decided once and for ever.

    ``sealed_end`` is the own end of a segment that was written whole, or the size that a journal was made with; 0 for
    one that grows.
    """

    log_id: bytes
    segment_id: int
    first_offset: int
    first_stream_sequence: int
    previous_id: int
    previous_end: int
    created_us: int
    sealed_end: int = 0


def encode_header(header: SegmentHeader) -> bytes:
    """The whole header block."""
    raw = _encode(header)
    copy = (raw + _CHECKSUM.pack(record.checksum(raw))).ljust(COPIES_AT[1], b"\0")
    return copy * 2


def _encode(header: SegmentHeader) -> bytes:
    return _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        FORMAT_VERSION,
        HEADER_BYTES,
        header.log_id,
        header.segment_id,
        header.first_offset,
        header.first_stream_sequence,
        header.previous_id,
        header.previous_end,
        header.created_us,
        header.sealed_end,
    )


def seed_of(header: SegmentHeader) -> int:
    return record.checksum(_encode(header))


def decode_header(block: bytes, at: int = 0) -> SegmentHeader | None:
    """The copy of the header at ``at`` of the block, or None when it is not sound."""
    raw = block[at : at + _HEADER.size]
    if len(block) < at + _HEADER.size + _CHECKSUM.size or raw[:8] != MAGIC:
        return None
    if record.checksum(raw) != _CHECKSUM.unpack_from(block, at + _HEADER.size)[0]:
        return None
    fields = _HEADER.unpack(raw)
    if fields[1] != FORMAT_VERSION:
        return None
    return SegmentHeader(*fields[4:])


def find_header(block: bytes, log_id: bytes, segment_id: int) -> SegmentHeader | None:
    """The header of this very file: the first copy that is sound, of this log and of this id."""
    for at in COPIES_AT:
        header = decode_header(block, at)
        if header is not None and header.log_id == log_id and header.segment_id == segment_id:
            return header
    return None


def damaged_copies(block: bytes, header: SegmentHeader) -> list[int]:
    """Where the block does not hold the copy of the header that was written there."""
    size = _HEADER.size + _CHECKSUM.size
    return [at for at in COPIES_AT if block[at : at + size] != encode_header(header)[at : at + size]]


def file_name(first_offset: int, segment_id: int) -> str:
    return f"{first_offset:020d}-{segment_id:016x}.seg"


def parse_name(name: str) -> tuple[int, int] | None:
    """(first offset, segment id), or None for another kind of file."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2], 16)) if match else None


class Located(msgspec.Struct, frozen=True):
    """A sound frame where it lies. ``body`` is None where the walk was asked for headers alone."""

    position: int
    header: record.Header
    body: bytes | None


class Damage(msgspec.Struct, frozen=True):
    """Bytes that are not what was written, or that a bug wrote. ``header`` is known when only the body is damaged.

    ``was_durable`` is False where it may as well be a write that was broken off.
    """

    position: int
    length: int
    header: record.Header | None
    was_durable: bool = True


def describe(damaged: Damage) -> str:
    """What an operator is told of a damaged stretch: the numbers of its events where they are known."""
    header = damaged.header
    if header is None:
        return "frames that cannot be recognised"
    end = header.first_offset + header.events
    return f"the body of a frame with events {header.first_offset} to {end - 1} of the log"


class End(msgspec.Struct, frozen=True):
    """Where the walk stopped: the first byte that holds no trusted frame."""

    position: int
    torn: bool


def walk(
    read: Read,
    *,
    seed: int,
    start: int = HEADER_BYTES,
    limit: int,
    proven: int = 0,
    passes_torn: bool = False,
    wants: Callable[[record.Header, bytes], bool] | None = None,
) -> Iterator[Located | Damage | End]:
    """The frames from ``start`` up to ``limit`` in order, each damaged stretch, and last the End.

    ``proven`` is how far the bytes are known to have been durable. With ``passes_torn`` a bad frame that may never have
    been is no end where sound frames follow: right where frames that were written together do not need each other.
    ``wants`` is asked with the header and the (not yet checked) name of the subject, and spares the reading and
    checking of bodies that nobody needs; None reads all.
    """
    window = _Window(read, limit)
    position = start
    while True:
        header = record.decode_header(window.at(position, record.HEADER_BYTES), 0, seed)
        if header is None:
            following, was_durable = _following(window, seed, position, position + 1, proven, limit)
            if following is None and was_durable and position < limit:
                following = min(proven, limit)
            if following is None or not (was_durable or passes_torn):
                yield End(position, torn=any(window.at(position, record.HEADER_BYTES)))
                return
            yield Damage(position, following - position, None, was_durable)
            position = following
            continue
        proven = max(proven, header.synced_end)
        end = position + header.frame_bytes
        body: bytes | None = None
        if wants is None or wants(header, window.at(position + record.HEADER_BYTES, header.name_bytes)):
            body = window.at(position + record.HEADER_BYTES, header.body_bytes)
            if record.checksum(body) != header.body_crc:
                following, was_durable = None, end <= proven
                if not was_durable:
                    following, was_durable = _following(window, seed, end, end, proven, limit)
                if not was_durable and (following is None or not passes_torn):
                    yield End(position, torn=True)
                    return
                yield Damage(position, header.frame_bytes, header, was_durable)
                position = end
                continue
            if not record.is_sensible(header, body):
                yield Damage(position, header.frame_bytes, header)
                position = end
                continue
        yield Located(position, header, body)
        position = end


def _following(
    window: _Window, seed: int, position: int, durable: int, proven: int, limit: int
) -> tuple[int | None, bool]:
    """Where sound frames go on from ``position`` on, None when nowhere; and whether the file was synced up to
    ``durable``, by what is proven so far or by the word of a later frame.

    The frames that follow at once may have been written together with a bad one, so that all are asked.
    """
    first: int | None = None
    for at, header in _headers(window, seed, position, limit):
        first = at if first is None else first
        if max(proven, header.synced_end) >= durable:
            return first, True
    return first, proven >= durable


def _headers(window: _Window, seed: int, position: int, limit: int) -> Iterator[tuple[int, record.Header]]:
    """The headers of this file's frames from ``position`` on, wherever they stand, with their positions."""
    while position < limit:
        data = window.at(position, _WALK_BYTES)
        behind = len(data) - len(record.MAGIC) + 1
        at = data.find(record.MAGIC)
        while at >= 0:
            raw = data[at : at + record.HEADER_BYTES]
            if len(raw) < record.HEADER_BYTES:
                raw = window.at(position + at, record.HEADER_BYTES)
            header = record.decode_header(raw, 0, seed)
            step = 1
            if header is not None and (position + at) % 8 == 0:
                yield position + at, header
                step = header.frame_bytes
            behind = max(behind, at + step)
            at = data.find(record.MAGIC, at + step)
        if len(data) < _WALK_BYTES:
            return
        position += behind


class _Window:
    """Reads a file in blocks of a MiB, so that a walk over small frames is not a system call for each."""

    def __init__(self, read: Read, limit: int) -> None:
        self._read = read
        self._limit = limit
        self._start = 0
        self._data = b""

    def at(self, position: int, size: int) -> bytes:
        size = min(size, self._limit - position)
        if size <= 0:
            return b""
        if position < self._start or position + size > self._start + len(self._data):
            self._start = position
            self._data = self._read(position, min(max(size, _WALK_BYTES), self._limit - position))
        at = position - self._start
        return self._data[at : at + size]
