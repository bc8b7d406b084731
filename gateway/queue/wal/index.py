"""What a segment holds and of whom: as readers see it, and in the index file that keeps it beside a sealed one.

An index saves the start a walk over the segment. Where one is missing or damaged it is made anew by that walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
import structlog

from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import record
from gateway.queue.wal.files import Files
from gateway.telemetry import Event


class Share(msgspec.Struct, array_like=True, gc=False):
    """What one subject has in a segment. ``end_sequence`` is the sequence behind its last event there.

    ``stored_bytes`` are those of its frames in the file, ``payload_bytes`` those of its events before compression.
    """

    events: int
    stored_bytes: int
    payload_bytes: int
    end_sequence: int


class Segment(msgspec.Struct, frozen=True):
    """A segment as readers see it: bytes up to ``durable_end`` may be read, events up to ``end_offset`` are in it.

    ``shares`` is None while the segment is being written: it may hold anybody's events. ``missing`` events between the
    first and the end are in no frame of it: left out when it was rewritten, or damaged.
    """

    segment_id: int
    name: str
    seed: int
    first_offset: int
    end_offset: int
    end_stream_sequence: int
    durable_end: int
    file_bytes: int
    shares: dict[Subject, Share] | None = None
    missing: int = 0

    @property
    def index_name(self) -> str:
        return self.name.removesuffix(".seg") + ".idx"


def missing_from(shares: Mapping[Subject, Share], first_offset: int, end_offset: int) -> int:
    """How many of the events between two offsets are in none of these shares."""
    return end_offset - first_offset - sum(share.events for share in shares.values())


def book_share(
    shares: dict[Subject, Share],
    subject: Subject,
    events: int,
    stored_bytes: int,
    payload_bytes: int,
    end_sequence: int,
) -> None:
    """Add one frame to what its subject has in a segment."""
    share = shares.setdefault(subject, Share(0, 0, 0, 0))
    share.events += events
    share.stored_bytes += stored_bytes
    share.payload_bytes += payload_bytes
    share.end_sequence = end_sequence


class Index(msgspec.Struct, array_like=True, frozen=True):
    """What stands in a segment's ``.idx`` file: where it ends, and each subject's share as (kind, name, share)."""

    end_offset: int
    end_stream_sequence: int
    rows: list[tuple[int, str, Share]]

    def shares(self) -> dict[Subject, Share]:
        return {_subject(kind, name): share for kind, name, share in self.rows}


@lru_cache(maxsize=1 << 16)
def _subject(kind: int, name: str) -> Subject:
    """One object for each, however many segments name it."""
    return Subject(SubjectKind(kind), name)


def write_index(files: Files, sealed: Segment) -> None:
    """Keep what a sealed segment holds beside it. A failure costs a scan later, so it is not raised."""
    rows = [(int(subject.kind), subject.name, share) for subject, share in (sealed.shares or {}).items()]
    body = msgspec.msgpack.encode(Index(sealed.end_offset, sealed.end_stream_sequence, rows))
    try:
        files.replace(sealed.index_name, record.checksum(body, sealed.seed).to_bytes(4, "little") + body)
    except OSError as error:
        structlog.get_logger().warning(Event.LOG_INDEX_FAILED, file=sealed.index_name, error=str(error))


def read_index(raw: bytes, seed: int) -> Index | None:
    """None when the bytes are not the index of the segment with this seed."""
    if len(raw) < 4 or record.checksum(raw[4:], seed) != int.from_bytes(raw[:4], "little"):
        return None
    try:
        index = msgspec.msgpack.decode(raw[4:], type=Index)
        index.shares()
    except ValueError:  # msgspec's errors, and kinds of subjects that there are not
        return None
    return index
