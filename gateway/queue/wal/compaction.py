"""Rewriting a segment to what somebody still needs of it: a dead destination holds its own data and not everybody's.

The rewritten segment takes the place of the old one under the same first offset and a higher id. It gets its name only
when it is whole and durable, and the old one goes after that: a crash in between leaves both, and a start keeps the
higher id. Frames keep their numbers; holes between them are what others no longer need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import damage, record, segment
from gateway.queue.wal.files import Files
from gateway.queue.wal.index import Segment, Share, book_share, missing_from, write_index
from gateway.queue.wal.retention import Need

HELD_PER_NEEDED = 1.2  # how much more than what is needed may stay on disk, beside the slack


def too_much_is_held(sealed: Sequence[Segment], need: Need, *, slack_bytes: int) -> bool:
    """Whether the log as a whole keeps so much that nobody needs that rewriting is worth its writes.

    Within the slack fall the segments at the head of the log, which those behind will have passed in a moment.
    """
    needed = sum(need.bytes_in(item) for item in sealed)
    return sum(item.file_bytes for item in sealed) > HELD_PER_NEEDED * needed + slack_bytes


def emptiest(sealed: Sequence[Segment], need: Need) -> Segment | None:
    """The segment of which the least is needed; None when everything of all of them is.

    Taking it first, and no more than it takes, keeps down how often the same events are rewritten.
    """
    best, most = None, 0.0
    for item in sealed:
        frame_bytes = item.file_bytes - segment.HEADER_BYTES
        idle = 1 - need.bytes_in(item) / frame_bytes if frame_bytes > 0 else 0.0
        if idle > most and item.end_offset > item.first_offset:  # rewritten, an empty one would replace its successor
            best, most = item, idle
    return best


def rewrite(files: Files, old: Segment, need: Need, *, log_id: bytes, segment_id: int, now_us: int) -> Segment:
    """Write what is needed of ``old`` into a new segment and give it its name. Blocks; raises OSError.

    What is damaged in the old one is kept aside and left out: its consumers see from the numbers what they lost.
    """
    kept = _needed_frames(files, old, need)
    end = segment.HEADER_BYTES + sum(item.header.frame_bytes for item in kept)
    header = segment.SegmentHeader(
        log_id=log_id,
        segment_id=segment_id,
        first_offset=old.first_offset,
        first_stream_sequence=old.end_stream_sequence,
        previous_id=0,
        previous_end=0,
        created_us=now_us,
        sealed_end=end,
    )
    seed = segment.seed_of(header)
    shares: dict[Subject, Share] = {}
    buffers = [segment.encode_header(header)]
    for item in kept:
        buffers += _reframed(item, seed, end, shares)
    temporary = f"log/spare-{segment_id:016x}.tmp"
    name = f"log/{segment.file_name(old.first_offset, segment_id)}"
    file = files.create(temporary, 0)
    try:
        file.write_at(0, buffers)
        file.sync(0)
        files.rename(temporary, name)
    except OSError:
        with contextlib.suppress(OSError):  # a full disk is tried again every second, and must not become fuller by it
            files.unlink([temporary, name])
        raise
    finally:
        file.close()
    rewritten = msgspec.structs.replace(
        old,
        segment_id=segment_id,
        name=name,
        seed=seed,
        durable_end=end,
        file_bytes=end,
        shares=shares,
        missing=missing_from(shares, old.first_offset, old.end_offset),
    )
    write_index(files, rewritten)
    return rewritten


def _needed_frames(files: Files, old: Segment, need: Need) -> list[segment.Located]:
    def wants(header: record.Header, name: bytes) -> bool:
        subject = Subject(SubjectKind(header.subject_kind), name.decode(errors="replace"))
        end_stream_sequence = header.stream_sequence + header.events
        return need.covers(subject, header.sequence + header.events, end_stream_sequence)

    file = files.open(old.name)
    try:
        kept = []
        for item in segment.walk(
            file.read_at, seed=old.seed, limit=old.durable_end, proven=old.durable_end, wants=wants
        ):
            if isinstance(item, segment.Damage):
                damage.report(files, old.name, item.position, item.length, segment.describe(item))
            elif isinstance(item, segment.Located) and item.body is not None:
                kept.append(item)
        return kept
    finally:
        file.close()


def _reframed(item: segment.Located, seed: int, end: int, shares: dict[Subject, Share]) -> list[bytes]:
    header, body = item.header, item.body
    assert body is not None
    subject = record.subject_of(header, body)
    book_share(
        shares, subject, header.events, header.frame_bytes, header.payload_bytes, header.sequence + header.events
    )
    return record.encode(
        seed=seed,
        kind=record.Kind.EVENTS,
        subject=subject,
        payload=body[header.name_bytes :],
        compressed=header.compressed,
        payload_bytes=header.payload_bytes,
        first_offset=header.first_offset,
        sequence=header.sequence,
        stream_sequence=header.stream_sequence,
        events=header.events,
        time_us=header.time_us,
        synced_end=end,
    )
