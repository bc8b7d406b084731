"""Reading committed frames back from segments, for consumers that are behind the memory. Blocks: call it in a thread.

Both checksums of every frame are checked on each read. What is damaged is reported and left out; the consumer sees
from the numbers of the frames how many of its events were in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import zstandard

from gateway import scan
from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal import damage, record, segment
from gateway.queue.wal.files import Files
from gateway.queue.wal.index import Segment
from gateway.queue.wal.writer import Frame

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


class Lost(msgspec.Struct, frozen=True):
    """A damaged stretch that was met, between two events of the log. ``time_us`` is 0 where it is not known.

    ``position`` is 0 where no frame of the file has these events any more, because nobody needed them or because they
    were damaged, and ``file`` empty where their segment is gone.
    """

    first_offset: int
    end_offset: int
    file: str
    position: int
    length: int
    time_us: int


def where(damaged: Sequence[Lost]) -> str:
    """What the gap of events that could not be read says of the reason."""
    stretches = [item for item in damaged if item.position]
    if not stretches:
        files = sorted({item.file for item in damaged if item.file})
        what = f"no frame of {', '.join(files[:10])}" if files else "no frame of the log"
        return f"{what} has them; `gateway log verify` names what is damaged"
    parts = [
        f"{item.file} is damaged at byte {item.position}" + (f" ({item.length} bytes)" if item.length else "")
        for item in stretches[:10]
    ]
    return "; ".join(parts) + (f"; and {len(stretches) - 10} more" if len(stretches) > 10 else "")


class Chunk(msgspec.Struct, frozen=True):
    """Frames in order of the log. Every wanted frame below ``bookmark.offset`` has been handed out, or cannot be
    read: then ``lost`` may say why. ``begin`` is the place of the first one, to read it once more.
    """

    frames: list[Frame]
    bookmark: Bookmark
    lost: list[Lost]
    begin: Bookmark


def read(
    files: Files, segments: Sequence[Segment], wanted: Wanted, start: Bookmark, *, bytes_max: int, end_offset: int
) -> Chunk:
    """Wanted frames beyond ``start.offset``, about ``bytes_max`` of payload, at least one where there is one.

    ``segments`` are all segments in order, ``end_offset`` the end of what is durable.
    """
    frames: list[Frame] = []
    lost: list[Lost] = []
    size = 0
    bookmark, first = start, None
    behind_each = [*(item.first_offset for item in segments), end_offset][1:]
    for item, behind in zip(segments, behind_each, strict=True):
        if behind <= start.offset:
            continue
        if bookmark.offset < item.first_offset:
            lost.append(Lost(bookmark.offset, item.first_offset, "", 0, 0, 0))
        if not wanted.may_be_in(item):
            lost += _missing(item, item.first_offset if item.missing else item.end_offset, behind)
            bookmark = Bookmark(max(item.end_offset, bookmark.offset), item.segment_id, item.durable_end)
            continue
        begin = start if start.segment_id == item.segment_id else _start_of(item)
        file = files.open(item.name)
        try:
            for found in _walk(files, file.read_at, item, wanted, begin, behind, lost):
                bookmark = Bookmark(found.end_offset, item.segment_id, found.end_position)
                if found.frame is not None and found.end_offset > start.offset:
                    first = first or Bookmark(found.frame.first_offset, item.segment_id, found.position)
                    frames.append(found.frame)
                    size += len(found.frame.payload)
                    if size >= bytes_max:
                        return Chunk(frames, bookmark, lost, first)
        finally:
            file.close()
        bookmark = Bookmark(max(item.end_offset, bookmark.offset), item.segment_id, item.durable_end)
    bookmark = msgspec.structs.replace(bookmark, offset=max(bookmark.offset, end_offset))
    return Chunk(frames, bookmark, lost, first or bookmark)


def last_frame(files: Files, segments: Sequence[Segment], wanted: Wanted, before_offset: int) -> Frame | None:
    """The newest frame of a consumer that is still on disk and begins below ``before_offset``."""
    for item in reversed(segments):
        if item.first_offset < before_offset and wanted.may_be_in(item):
            last: Frame | None = None
            file = files.open(item.name)
            try:
                for found in _walk(files, file.read_at, item, wanted, _start_of(item), item.end_offset, []):
                    if found.frame is not None and found.frame.first_offset < before_offset:
                        last = found.frame
            finally:
                file.close()
            if last is not None:
                return last
    return None


def _start_of(item: Segment) -> Bookmark:
    return Bookmark(item.first_offset, item.segment_id, segment.HEADER_BYTES)


class _Found(msgspec.Struct, frozen=True, gc=False):
    end_offset: int
    position: int
    end_position: int
    frame: Frame | None


def _walk(
    files: Files,
    read_at: segment.Read,
    item: Segment,
    wanted: Wanted,
    start: Bookmark,
    end_offset: int,
    lost: list[Lost],
) -> Iterator[_Found]:
    """All frames with those contents that are wanted. What is damaged is reported and added to ``lost``."""
    limit = item.durable_end
    passed = start.offset
    unplaced: list[segment.Damage] = []  # they end where the next sound frame begins
    for found in segment.walk(
        read_at, seed=item.seed, start=start.position, limit=limit, proven=limit, wants=_asking(item, wanted)
    ):
        match found:
            case segment.Located(position=position, header=header, body=body):
                if unplaced or header.first_offset > passed:
                    _place(lost, item, unplaced, passed, header.first_offset)
                passed = header.first_offset + header.events
                frame = None
                if body is not None and wanted.matches(header.subject_kind, body[: header.name_bytes]):
                    frame = _decode(header, body)
                    if frame is None:
                        damage.report(files, item.name, position, header.frame_bytes, "a frame that cannot be unpacked")
                        lost.append(_lost(item, segment.Damage(position, header.frame_bytes, header), passed, passed))
                yield _Found(passed, position, position + header.frame_bytes, frame)
            case segment.Damage(position=position, length=length):
                damage.report(files, item.name, position, length, segment.describe(found))
                unplaced.append(found)
            case segment.End(position=position):
                if position < limit:
                    unplaced.append(segment.Damage(position, limit - position, None))
                _place(lost, item, unplaced, passed, end_offset)


def _asking(item: Segment, wanted: Wanted) -> Callable[[record.Header, bytes], bool]:
    """Which bodies to read: also those of subjects that the segment has not, since the name may be what is damaged."""
    known = {subject.name.encode() for subject in item.shares or ()}

    def wants(header: record.Header, name: bytes) -> bool:
        if header.kind != record.Kind.EVENTS:
            return False
        return wanted.matches(header.subject_kind, name) or (item.shares is not None and name not in known)

    return wants


def _place(lost: list[Lost], item: Segment, unplaced: list[segment.Damage], first: int, end: int) -> None:
    """The frames around damaged stretches tell which events were in them. Without damage they are just missing."""
    lost += [_lost(item, stretch, first, end) for stretch in unplaced] or _missing(item, first, end)
    unplaced.clear()


def _missing(item: Segment, first: int, end: int) -> Iterator[Lost]:
    """Events up to ``end`` that no frame of the segment has, so that nothing tells whose they were: left out of it, or
    its end could not be read.
    """
    if first < min(end, item.end_offset):
        yield Lost(first, min(end, item.end_offset), item.name, 0, 0, 0)
    if item.end_offset < end:
        yield Lost(max(first, item.end_offset), end, item.name, item.durable_end, 0, 0)


def _lost(item: Segment, stretch: segment.Damage, first: int, end: int) -> Lost:
    header = stretch.header
    if header is not None:
        first, end = header.first_offset, header.first_offset + header.events
    time_us = header.time_us if header is not None else 0
    return Lost(first, end, item.name, stretch.position, stretch.length, time_us)


def _decode(header: record.Header, body: bytes) -> Frame | None:
    """None when the payload is not what the header says."""
    payload = body[header.name_bytes :]
    if header.compressed:
        try:
            if zstandard.get_frame_parameters(payload).content_size != header.payload_bytes:
                return None  # asked before anything is allocated
            payload = zstandard.ZstdDecompressor().decompress(payload)
        except zstandard.ZstdError:
            return None
    if len(payload) != header.payload_bytes or scan.count(payload, b"\n") + 1 != header.events:
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
