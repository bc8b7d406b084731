"""Frames: how records lie in a file. Plain functions over bytes.

A frame is a 72-byte header, then the subject's name, then the payload, padded with zeros to a multiple of 8. The
header has a checksum of its own, seeded with that of its file, so that a rotten body never costs the framing and a
frame of another file is never taken for one of this. Every byte of the header is covered.

====  ====  ==========================================================
 at   size  field (little-endian)
====  ====  ==========================================================
  0    4    magic
  4    1    format version
  5    1    kind
  6    1    flags: 1 = the payload is one zstd frame
  7    1    kind of the subject
  8    4    length of the body, padding not counted
 12    4    crc32c of the body
 16    8    first offset: number of the first event in the log
 24    8    sequence: number of the first event within its subject
 32    8    stream sequence: its number among the events of all tenants (for consumers of all)
 40    4    number of events
 44    2    length of the subject's name
 46    2    zero
 48    8    time of acceptance, microseconds since the epoch, never going back
 56    4    length of the payload before compression
 60    4    bytes of this file known durable when the frame was written
 64    4    zero
 68    4    crc32c of bytes 0 to 67, seeded
====  ====  ==========================================================
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

import google_crc32c

from gateway.queue import Subject, SubjectKind

MAGIC = b"\xa7AG1"
VERSION = 1
HEADER_BYTES = 72
BODY_BYTES_MAX = 64 << 20  # of a body, packed or unpacked; checked before anything is allocated
_HEADER = struct.Struct("<4sBBBBIIQQQIHHQIII")
_CHECKSUM = struct.Struct("<I")
_COMPRESSED = 1
_SUBJECT_KINDS = frozenset(SubjectKind)


class Kind(enum.IntEnum):
    EVENTS = 1
    CHECKPOINT = 2
    DEAD_LETTER = 3
    REPLAY = 4  # in a file of dead letters: which of them are about to be replayed


class Header(NamedTuple):
    kind: int
    compressed: bool
    subject_kind: int
    body_bytes: int
    body_crc: int
    first_offset: int
    sequence: int
    stream_sequence: int
    events: int
    name_bytes: int
    time_us: int
    payload_bytes: int
    synced_end: int

    @property
    def frame_bytes(self) -> int:
        return HEADER_BYTES + padded(self.body_bytes)


def padded(size: int) -> int:
    return (size + 7) & ~7


def checksum(data: bytes, seed: int = 0) -> int:
    """crc32c; with the seed of a file, bytes of another file do not pass for this one's."""
    value: int = google_crc32c.extend(seed, data)
    return value


def encode(
    *,
    seed: int,
    kind: Kind,
    subject: Subject,
    payload: bytes,
    compressed: bool = False,
    payload_bytes: int | None = None,
    first_offset: int = 0,
    sequence: int = 0,
    stream_sequence: int = 0,
    events: int = 0,
    time_us: int = 0,
    synced_end: int = 0,
) -> list[bytes]:
    """The buffers of one frame, to be written one behind another. The payload is not copied."""
    name = subject.name.encode()
    body_bytes = len(name) + len(payload)
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        kind,
        _COMPRESSED if compressed else 0,
        subject.kind,
        body_bytes,
        google_crc32c.extend(google_crc32c.value(name), payload),
        first_offset,
        sequence,
        stream_sequence,
        events,
        len(name),
        0,
        time_us,
        len(payload) if payload_bytes is None else payload_bytes,
        synced_end,
        0,
    )
    buffers = [header + _CHECKSUM.pack(google_crc32c.extend(seed, header)) + name, payload]
    if padding := padded(body_bytes) - body_bytes:
        buffers.append(bytes(padding))
    return buffers


def decode_header(data: bytes, at: int, seed: int) -> Header | None:
    """The header at ``at``, or None when there is none that this file's writer wrote."""
    raw = data[at : at + HEADER_BYTES]
    if len(raw) < HEADER_BYTES or raw[:4] != MAGIC:
        return None
    if google_crc32c.extend(seed, raw[:-4]) != _CHECKSUM.unpack_from(raw, HEADER_BYTES - 4)[0]:
        return None
    fields = _HEADER.unpack_from(raw)
    if fields[1] != VERSION or fields[4] not in _SUBJECT_KINDS or fields[11] > fields[5]:
        return None
    if max(fields[5], fields[14]) > BODY_BYTES_MAX:
        return None
    return Header(
        kind=fields[2],
        compressed=bool(fields[3] & _COMPRESSED),
        subject_kind=fields[4],
        body_bytes=fields[5],
        body_crc=fields[6],
        first_offset=fields[7],
        sequence=fields[8],
        stream_sequence=fields[9],
        events=fields[10],
        name_bytes=fields[11],
        time_us=fields[13],
        payload_bytes=fields[14],
        synced_end=fields[15],
    )


def is_sensible(header: Header, body: bytes) -> bool:
    """Whether a body whose checksum holds names a subject. False only for what a bug wrote."""
    try:
        body[: header.name_bytes].decode()
    except UnicodeDecodeError:
        return False
    return True


def subject_of(header: Header, body: bytes) -> Subject:
    """Who the frame is for. Call it only on a body that ``segment.walk`` found sound."""
    return Subject(SubjectKind(header.subject_kind), body[: header.name_bytes].decode())
