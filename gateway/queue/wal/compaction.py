"""Rewriting a segment to what somebody still needs of it: a dead destination holds its own data and not everybody's.

The rewritten segment takes the place of the old one under the same first offset and a higher id. It gets its name only
when it is whole and durable, and the old one goes after that: a crash in between leaves both, and a start keeps the
higher id. Frames keep their numbers; holes between them are what others no longer need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.files import Files
from gateway.queue.wal.retention import Claim
from gateway.queue.wal.writer import Segment, Share, book_share, write_index

WORTH_SHARE = 0.5  # rewrite when less than this is needed
SETTLED_SEGMENTS = 2  # the newest sealed ones are left alone: whoever needs them may be through in a moment


class Need(msgspec.Struct, frozen=True):
    """From which sequence on somebody needs a subject's events. Empty where everything is needed."""

    from_sequence: dict[Subject, int]

    def covers(self, subject: Subject, end_sequence: int) -> bool:
        start = self.from_sequence.get(subject)
        return start is not None and end_sequence > start


def need_of(claims: Sequence[Claim]) -> Need | None:
    """None when a consumer of all tenants is among those who need something: then everything is needed."""
    needed: dict[Subject, int] = {}
    for claim in claims:
        for lane, subject in claim.lanes.items():
            if lane is SubjectKind.TENANT and subject.name == ALL_TENANTS:
                return None
            floor = claim.floor.sequence(lane)
            needed[subject] = min(needed.get(subject, floor), floor)
    return Need(needed)


def worthwhile(sealed: Sequence[Segment], claims: Sequence[Claim]) -> tuple[Segment, Need] | None:
    """The oldest segment of which little is needed, with what is."""
    for item in sealed[: -SETTLED_SEGMENTS or None]:
        needing = [claim for claim in claims if claim.needs(item)]
        need = need_of(needing)
        if not needing or need is None:
            continue
        shares = item.shares or {}
        live = sum(share.stored_bytes for subject, share in shares.items() if need.covers(subject, share.end_sequence))
        if live < WORTH_SHARE * (item.file_bytes - segment.HEADER_BYTES):
            return item, need
    return None


def rewrite(files: Files, old: Segment, need: Need, *, log_id: bytes, segment_id: int, now_us: int) -> Segment:
    """Write what is needed of ``old`` into a new segment and give it its name. Blocks; raises OSError.

    What is damaged in the old one is left out: its consumers see from the numbers what they lost.
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
        with contextlib.suppress(OSError):
            files.unlink([temporary, name])
        raise
    finally:
        file.close()
    rewritten = msgspec.structs.replace(
        old, segment_id=segment_id, name=name, seed=seed, durable_end=end, file_bytes=end, shares=shares
    )
    write_index(files, rewritten)
    return rewritten


def _needed_frames(files: Files, old: Segment, need: Need) -> list[segment.Located]:
    def wants(header: record.Header, name: bytes) -> bool:
        subject = Subject(SubjectKind(header.subject_kind), name.decode(errors="replace"))
        return need.covers(subject, header.sequence + header.events)

    file = files.open(old.name)
    try:
        walk = segment.walk(file.read_at, seed=old.seed, limit=old.durable_end, proven=old.durable_end, wants=wants)
        return [item for item in walk if isinstance(item, segment.Located) and item.body is not None]
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
