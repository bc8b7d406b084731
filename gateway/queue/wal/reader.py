"""Reading committed frames back from segments, for consumers that are behind the memory. Blocks: call it in a thread.

Both checksums of every frame are checked on each read. What is damaged is reported and left out; the consumer sees
from the numbers of the frames how many of its events were in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import structlog
import zstandard

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.files import Files
from gateway.queue.wal.writer import Frame, Segment
from gateway.telemetry import Event

ADDRESSED = (SubjectKind.BACKFILL, SubjectKind.REPLAY)


class Wanted(msgspec.Struct, frozen=True):
    """Which frames are one consumer's: those of its tenant (or of all), and those addressed to it."""

    tenant_id: str
    consumer_id: str

    def matches(self, kind: int, name: bytes) -> bool:
        if kind == SubjectKind.TENANT:
            return self.tenant_id == ALL_TENANTS or name == self.tenant_id.encode()
        return name == self.consumer_id.encode()

    def may_be_in(self, item: Segment) -> bool:
        if item.shares is None:
            return True
        if self.tenant_id == ALL_TENANTS:
            return any(self.matches(subject.kind, subject.name.encode()) for subject in item.shares)
        names = ((SubjectKind.TENANT, self.tenant_id), *((kind, self.consumer_id) for kind in ADDRESSED))
        return any(Subject(kind, name) in item.shares for kind, name in names)


class Bookmark(msgspec.Struct, frozen=True):
    """Where in the files the event at ``offset`` begins; saves walking a segment from its start."""

    offset: int
    segment_id: int
    position: int


class Chunk(msgspec.Struct, frozen=True):
    """Frames in order of the log. Every wanted frame below ``bookmark.offset`` has been handed out, or cannot be
    read.
    """

    frames: list[Frame]
    bookmark: Bookmark


def read(
    files: Files, segments: Sequence[Segment], wanted: Wanted, start: Bookmark, *, bytes_max: int, end_offset: int
) -> Chunk:
    """Wanted frames beyond ``start.offset``, about ``bytes_max`` of payload, at least one where there is one.

    ``segments`` are all segments in order, ``end_offset`` the end of what is durable.
    """
    frames: list[Frame] = []
    size = 0
    bookmark = start
    for item in segments:
        if item.end_offset <= start.offset:
            continue
        if not wanted.may_be_in(item):
            bookmark = Bookmark(max(item.end_offset, bookmark.offset), item.segment_id, item.durable_end)
            continue
        at = start.position if start.segment_id == item.segment_id else segment.HEADER_BYTES
        file = files.open(item.name)
        try:
            for found in _walk(file.read_at, item, wanted, at):
                bookmark = Bookmark(found.end_offset, item.segment_id, found.end_position)
                if found.frame is not None and found.end_offset > start.offset:
                    frames.append(found.frame)
                    size += len(found.frame.payload)
                    if size >= bytes_max:
                        return Chunk(frames, bookmark)
        finally:
            file.close()
        bookmark = Bookmark(max(item.end_offset, bookmark.offset), item.segment_id, item.durable_end)
    return Chunk(frames, msgspec.structs.replace(bookmark, offset=max(bookmark.offset, end_offset)))


def last_frame(files: Files, segments: Sequence[Segment], wanted: Wanted, before_offset: int) -> Frame | None:
    """The newest frame of a consumer that is still on disk and begins below ``before_offset``."""
    for item in reversed(segments):
        if item.first_offset < before_offset and wanted.may_be_in(item):
            last: Frame | None = None
            file = files.open(item.name)
            try:
                for found in _walk(file.read_at, item, wanted, segment.HEADER_BYTES):
                    if found.frame is not None and found.frame.first_offset < before_offset:
                        last = found.frame
            finally:
                file.close()
            if last is not None:
                return last
    return None


class _Found(msgspec.Struct, frozen=True, gc=False):
    end_offset: int
    end_position: int
    frame: Frame | None


def _walk(read_at: segment.Read, item: Segment, wanted: Wanted, start: int) -> Iterator[_Found]:
    limit = item.durable_end

    def wants(header: record.Header, name: bytes) -> bool:
        return header.kind == record.Kind.EVENTS and wanted.matches(header.subject_kind, name)

    for found in segment.walk(read_at, seed=item.seed, start=start, limit=limit, proven=limit, wants=wants):
        match found:
            case segment.Located(position=position, header=header, body=body):
                frame = _decode(item, position, header, body) if body is not None else None
                yield _Found(header.first_offset + header.events, position + header.frame_bytes, frame)
            case segment.Damage(position=position, length=length):
                structlog.get_logger().error(Event.LOG_CORRUPT, file=item.name, at=position, bytes=length)
            case segment.End():
                return


def _decode(item: Segment, position: int, header: record.Header, body: bytes) -> Frame | None:
    payload = body[header.name_bytes :]
    if header.compressed:
        try:
            payload = zstandard.ZstdDecompressor().decompress(payload, max_output_size=header.payload_bytes)
        except zstandard.ZstdError:
            structlog.get_logger().error(
                Event.LOG_CORRUPT, file=item.name, at=position, detail="cannot be decompressed"
            )
            return None
    return Frame(
        subject=record.subject_of(header, body),
        first_offset=header.first_offset,
        sequence=header.sequence,
        stream_sequence=header.stream_sequence,
        count=header.events,
        time_us=header.time_us,
        payload=payload,
    )
