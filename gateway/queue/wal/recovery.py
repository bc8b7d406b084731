"""What a start finds in the directory, and how much of it may be trusted. Reads; decides; changes nothing but
leftovers.

Only the last segment is walked, since every other one's trusted end stands in its successor's header. Before the walk
the last segment is synced and then read from the device: what an earlier process left in the page cache becomes
durable, and what a failed sync left there as seemingly clean is not believed.
"""

from __future__ import annotations

import msgspec
import structlog

from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import damage, record, segment
from gateway.queue.wal.files import Files, make_durable
from gateway.queue.wal.index import Segment, Share, book_share, missing_from, read_index, write_index
from gateway.queue.wal.writer import Numbers
from gateway.telemetry import Event


class Recovered(msgspec.Struct, frozen=True):
    """Sealed segments in order, and what the writer needs to go on."""

    segments: list[Segment]
    numbers: Numbers
    previous: tuple[int, int]
    next_segment_id: int


class _Found(msgspec.Struct, frozen=True):
    name: str
    header: segment.SegmentHeader
    file_bytes: int


def recover(files: Files, *, log_id: bytes, proven: dict[int, int]) -> Recovered:
    """``proven`` says of segment ids how far checkpoints know them to be durable."""
    names = files.names("log")
    leftovers = [f"log/{name}" for name in names if name.endswith(".tmp")]
    files.unlink(leftovers)
    found = [f for name in names if (f := _read_header(files, name, log_id)) is not None]
    found.sort(key=lambda f: f.header.segment_id)
    last = max((f.header.segment_id for f in found if not f.header.sealed_end), default=0)
    used = [0, *proven, *(f.header.segment_id for f in found), *(_id_of_leftover(name) for name in leftovers)]
    found = _without_replaced(files, found)
    ends = {f.header.previous_id: f.header.previous_end for f in found}
    segments = []
    for f in found:
        trusted = f.header.sealed_end or ends.get(f.header.segment_id)
        if trusted is None:
            sealed = _recover_last(files, f, proven.get(f.header.segment_id, 0))
        else:
            sealed = _recover_sealed(files, f, trusted)
        segments.append(sealed)
    segments.sort(key=lambda s: (s.first_offset, s.segment_id))
    return Recovered(
        segments=segments,
        numbers=_numbers(segments),
        previous=_previous(last, found, segments),
        next_segment_id=max(used) + 1,
    )


def _previous(last: int, found: list[_Found], segments: list[Segment]) -> tuple[int, int]:
    """Id and trusted end of the last segment that was appended to. One without events will be replaced: it passes on
    what it knew of the segment before it.
    """
    for f, item in ((f, item) for f in found for item in segments if item.segment_id == f.header.segment_id == last):
        if item.end_offset == item.first_offset:
            return f.header.previous_id, f.header.previous_end
        return item.segment_id, item.durable_end
    return 0, 0


def _without_replaced(files: Files, found: list[_Found]) -> list[_Found]:
    """Of segments with the same first offset the highest id stays: the others were rewritten into it, or are empty."""
    newest = {f.header.first_offset: f for f in found}  # in ascending order of ids
    replaced = [f for f in found if newest[f.header.first_offset] is not f]
    files.unlink([name for f in replaced for name in (f.name, f.name.removesuffix(".seg") + ".idx")])
    return list(newest.values())


class Contents(msgspec.Struct):
    """What the frames of a segment add up to, gathered by reading it."""

    end_offset: int
    end_stream_sequence: int
    shares: dict[Subject, Share] = msgspec.field(default_factory=dict)

    def add(self, item: segment.Located) -> None:
        header = item.header
        assert item.body is not None
        subject = record.subject_of(header, item.body)
        end_sequence = header.sequence + header.events
        book_share(self.shares, subject, header.events, header.frame_bytes, header.payload_bytes, end_sequence)
        self.end_offset = header.first_offset + header.events
        of_stream = header.events if subject.kind is SubjectKind.TENANT else 0
        self.end_stream_sequence = header.stream_sequence + of_stream


def _read_header(files: Files, name: str, log_id: bytes) -> _Found | None:
    parsed = segment.parse_name(name)
    if parsed is None:
        return None
    path = f"log/{name}"
    file = files.open(path)
    try:
        block = file.read_at(0, segment.HEADER_BYTES)
        size = file.size()
    finally:
        file.close()
    header = segment.find_header(block, log_id, parsed[1])
    if header is None:
        detail = "the header of this segment is damaged or of another log; its events cannot be read"
        damage.report(files, path, 0, size, detail)
        return None
    for at in segment.damaged_copies(block, header):
        damage.report(files, path, at, segment.COPIES_AT[1], segment.SPARE_COPY)
    return _Found(path, header, size)


def _recover_sealed(files: Files, found: _Found, trusted_end: int) -> Segment:
    index_name = found.name.removesuffix(".seg") + ".idx"
    if files.exists(index_name):
        file = files.open(index_name)
        try:
            index = read_index(file.read_at(0, file.size()), segment.seed_of(found.header))
        finally:
            file.close()
        if index is not None:
            contents = Contents(index.end_offset, index.end_stream_sequence, index.shares())
            return _segment(found, trusted_end, contents)
    contents, _ = _walk(files, found, limit=trusted_end, proven=trusted_end)
    sealed = _segment(found, trusted_end, contents)
    write_index(files, sealed)
    return sealed


def _recover_last(files: Files, found: _Found, proven: int) -> Segment:
    make_durable(files, found.name)
    contents, end = _walk(files, found, limit=max(found.file_bytes, proven), proven=proven)
    structlog.get_logger().info(Event.LOG_RECOVERED, file=found.name, end=end.position, torn_tail=end.torn)
    last = _segment(found, end.position, contents)
    write_index(files, last)
    return last


def _walk(files: Files, found: _Found, *, limit: int, proven: int) -> tuple[Contents, segment.End]:
    contents = Contents(found.header.first_offset, found.header.first_stream_sequence)
    end = segment.End(segment.HEADER_BYTES, torn=False)
    file = files.open(found.name)
    try:
        for item in segment.walk(file.read_at, seed=segment.seed_of(found.header), limit=limit, proven=proven):
            match item:
                case segment.Located():
                    contents.add(item)
                case segment.Damage():
                    damage.report(files, found.name, item.position, item.length, segment.describe(item))
                case segment.End():
                    end = item
    finally:
        file.close()
    return contents, end


def _segment(found: _Found, durable_end: int, contents: Contents) -> Segment:
    return Segment(
        segment_id=found.header.segment_id,
        name=found.name,
        seed=segment.seed_of(found.header),
        first_offset=found.header.first_offset,
        end_offset=contents.end_offset,
        end_stream_sequence=contents.end_stream_sequence,
        durable_end=durable_end,
        file_bytes=found.file_bytes,
        shares=contents.shares,
        missing=missing_from(contents.shares, found.header.first_offset, contents.end_offset),
    )


def _numbers(segments: list[Segment]) -> Numbers:
    """What the segments say. Subjects whose segments are all gone are known to their consumers' checkpoints alone."""
    numbers = Numbers()
    for item in segments:
        numbers.next_offset = max(numbers.next_offset, item.end_offset)
        numbers.next_stream_sequence = max(numbers.next_stream_sequence, item.end_stream_sequence)
        for subject, share in (item.shares or {}).items():
            known = numbers.next_sequence.get(subject, 0)
            numbers.next_sequence[subject] = max(known, share.end_sequence)
    return numbers


def _id_of_leftover(name: str) -> int:
    text = name.rpartition("-")[2].removesuffix(".tmp")
    try:
        return int(text, 16)
    except ValueError:
        return 0
