"""Looking at a queue directory from outside, without the lock and without changing a byte. Blocks.

A running gateway may be writing meanwhile: what it has not finished looks like the end of the log.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.errors import LogCorrupt
from gateway.queue import ALL_TENANTS, Subject
from gateway.queue.wal import meta, record, segment
from gateway.queue.wal.cursor import CursorState, Lane
from gateway.queue.wal.files import DiskFiles, Files
from gateway.queue.wal.journal import Restored, restore
from gateway.queue.wal.writer import Numbers


class SegmentReport(msgspec.Struct, frozen=True):
    """``events`` and ``tenants`` are counted from sound frames; ``end_bytes`` is where the trusted frames end."""

    file: str
    first_offset: int
    end_offset: int
    frames: int
    events: int
    tenants: int
    end_bytes: int
    file_bytes: int


class ConsumerReport(msgspec.Struct, frozen=True):
    """As of the last checkpoint. ``pending`` is counted from the segments that are there."""

    id: str
    tenant_id: str
    floor_offset: int
    delivered: int
    dead_lettered: int
    dropped: int
    filtered: int
    pending: int
    gaps: int
    balanced: bool


class DamageReport(msgspec.Struct, frozen=True):
    """``events`` and ``tenant`` are known where only the body of a frame is damaged."""

    file: str
    at_byte: int
    length_bytes: int
    events: int | None
    what: str


class Inspection(msgspec.Struct, frozen=True):
    segments: list[SegmentReport]
    consumers: list[ConsumerReport]
    damage: list[DamageReport]


def inspect_directory(path: Path) -> Inspection:
    """Read the whole directory. Raises LogCorrupt when it is none of ours or of another format."""
    if not (path / "META").is_file():
        raise LogCorrupt(
            f"{path} is not a queue directory: there is no META file in it; name the gateway's data directory"
        )
    files = DiskFiles(path)
    log_id = meta.read(files) or b""
    damage: list[DamageReport] = []
    restored = restore(files, log_id)
    segments, ends = _segments(files, log_id, restored.proven, damage)
    ends.raise_to(restored.numbers)
    consumers = [_consumer(state, restored, ends) for state in restored.states.values()]
    return Inspection(segments, consumers, damage)


def _segments(
    files: Files, log_id: bytes, proven: dict[int, int], damage: list[DamageReport]
) -> tuple[list[SegmentReport], Numbers]:
    reports: list[SegmentReport] = []
    ends = Numbers()
    headers: dict[str, segment.SegmentHeader] = {}
    for name in (f"log/{name}" for name in files.names("log") if name.endswith(".seg")):
        file = files.open(name)
        try:
            header = segment.decode_header(file.read_at(0, segment.HEADER_BYTES))
        finally:
            file.close()
        if header is None or header.log_id != log_id:
            damage.append(DamageReport(name, 0, segment.HEADER_BYTES, None, "the segment's header is not readable"))
        else:
            headers[name] = header
    trusted = {header.previous_id: header.previous_end for header in headers.values()}
    for name, header in headers.items():
        end = header.sealed_end or trusted.get(header.segment_id)
        reports.append(_segment(files, name, header, end, proven.get(header.segment_id, 0), ends, damage))
    return reports, ends


def _segment(
    files: Files,
    name: str,
    header: segment.SegmentHeader,
    trusted_end: int | None,
    proven: int,
    ends: Numbers,
    damage: list[DamageReport],
) -> SegmentReport:
    file = files.open(name)
    frames = events = 0
    end_offset, end_bytes = header.first_offset, segment.HEADER_BYTES
    tenants: set[Subject] = set()
    try:
        size = file.size()
        limit = size if trusted_end is None else min(trusted_end, size)
        if trusted_end is not None and size < trusted_end:
            damage.append(DamageReport(name, size, trusted_end - size, None, "the file is shorter than it was"))
        seed = segment.seed_of(header)
        for item in segment.walk(file.read_at, seed=seed, limit=limit, proven=trusted_end or proven):
            match item:
                case segment.Located(header=found, body=body) if body is not None:
                    subject = record.subject_of(found, body)
                    frames, events = frames + 1, events + found.events
                    end_offset = found.first_offset + found.events
                    tenants.add(subject)
                    of_stream = found.stream_sequence + found.events if subject.kind is Lane.TENANT else 0
                    ends.raise_to(Numbers(end_offset, of_stream, {subject: found.sequence + found.events}))
                case segment.Damage(position=at, length=length, header=found):
                    what = "a frame's body is damaged" if found is not None else "frames cannot be recognised"
                    damage.append(DamageReport(name, at, length, found.events if found else None, what))
                case segment.End(position=end_bytes):
                    pass
    finally:
        file.close()
    return SegmentReport(name, header.first_offset, end_offset, frames, events, len(tenants), end_bytes, size)


def _consumer(state: CursorState, restored: Restored, ends: Numbers) -> ConsumerReport:
    floor, counters = state.floor, state.counters
    tenant_end = (
        ends.next_stream_sequence
        if state.tenant_id == ALL_TENANTS
        else ends.next_sequence.get(Subject(Lane.TENANT, state.tenant_id), floor.tenant)
    )
    if state.end is not None:
        tenant_end = min(tenant_end, state.end.tenant)
    out_of_order = sum(high - low for low, high in state.settled)
    waiting = max(tenant_end - floor.tenant, 0)
    for lane in (Lane.BACKFILL, Lane.REPLAY):
        sequence = floor.sequence(lane)
        waiting += max(ends.next_sequence.get(Subject(lane, state.consumer_id), sequence) - sequence, 0)
    below_floor = (
        floor.tenant + floor.backfill + floor.replay - state.start.tenant - state.start.backfill - state.start.replay
    )
    settled = counters.delivered + counters.dead_lettered + counters.dropped + counters.filtered
    return ConsumerReport(
        id=state.consumer_id,
        tenant_id=state.tenant_id,
        floor_offset=floor.offset,
        delivered=counters.delivered,
        dead_lettered=counters.dead_lettered,
        dropped=counters.dropped,
        filtered=counters.filtered,
        pending=waiting - out_of_order,
        gaps=len(restored.gaps.get(state.consumer_id, [])),
        balanced=settled == below_floor + out_of_order,
    )
