"""Looking at a queue directory from outside, without the lock and without changing a byte. Blocks.

A running gateway may be writing meanwhile: what it has not finished looks like the end of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.errors import LogCorrupt
from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import meta, record, segment
from gateway.queue.wal.census import Books, Census
from gateway.queue.wal.cursor import CursorState
from gateway.queue.wal.dead_letter_folder import consumer_ids
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.queue.wal.files import DiskFiles, Files
from gateway.queue.wal.index import read_index
from gateway.queue.wal.journal import restore


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


class DamageReport(msgspec.Struct, frozen=True):
    """``events`` and ``tenant`` are None where nothing sound tells them. ``first_offset`` and ``end_offset`` of the log
    are those between which the damaged events lie, 0 for damage that is not of events.
    """

    file: str
    at_byte: int
    length_bytes: int
    events: int | None
    tenant: str | None
    what: str
    first_offset: int = 0
    end_offset: int = 0


class Inspection(msgspec.Struct, frozen=True):
    segments: list[SegmentReport]
    consumers: list[Books]
    damage: list[DamageReport]


class _Found(msgspec.Struct, frozen=True):
    name: str
    header: segment.SegmentHeader
    file_bytes: int


def inspect_directory(path: Path) -> Inspection:
    """Read the whole directory. Raises LogCorrupt when it is none of ours or of another format."""
    if not (path / meta.NAME).is_file() and not (path / "log").is_dir():
        raise LogCorrupt(
            f"{path} is not a queue directory: there is neither a META file nor a log folder in it; name the gateway's "
            "data directory"
        )
    return Inspector(DiskFiles(path)).run()


class Inspector:
    """Use it once."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._damage: list[DamageReport] = []
        self._census = Census()
        self._log_id = b""

    def run(self) -> Inspection:
        log_id = meta.read(self._files)
        if log_id is None:
            log_id = meta.derive(self._files) or b""
            self._note(self._files, meta.NAME, 0, 0, "missing or damaged; the next start makes it anew")
        self._log_id = log_id
        before = restore(self._files, log_id, self._note)
        self._census.numbers.raise_to(before.numbers)
        segments = self._segments(before.proven)
        restored = restore(self._files, log_id, lambda *_: None)  # what a running gateway removed meanwhile was passed
        books = [self._census.books(state, restored.gaps.get(name, {})) for name, state in restored.states.items()]
        for state in restored.states.values():
            for hole in self._census.holes(state):
                self._note_hole(hole.subject, hole.events, hole.first_offset, hole.end_offset)
        self._dead_letters(restored.states)
        return Inspection(segments, books, self._damage)

    def _note(self, _: Files, file: str, at: int, length: int, what: str) -> None:
        self._damage.append(DamageReport(file, at, length, None, None, what))

    def _note_hole(self, subject: Subject, events: int, first: int, end: int) -> None:
        """Events that somebody waits for and no frame has: nothing new where damage at that place is known."""
        known = (item for item in self._damage if item.end_offset)
        if not any(item.first_offset < end and item.end_offset > first for item in known):
            what = "events that a destination waits for are in no segment"
            self._damage.append(DamageReport("log/", 0, 0, events, subject.name, what, first, end))

    # -- segments

    def _segments(self, proven: dict[int, int]) -> list[SegmentReport]:
        newest: dict[int, _Found] = {}  # what was rewritten under a higher id has the same first offset
        ends: dict[int, int] = {}
        for name in self._files.names("log"):
            found = self._header(name)
            if found is not None:
                ends[found.header.previous_id] = found.header.previous_end
                newest[found.header.first_offset] = found  # names are in order of offset and id
        ordered = list(newest.values())
        behind = [*(item.header.first_offset for item in ordered), None][1:]
        reports = []
        for item, end_offset in zip(ordered, behind, strict=True):
            header = item.header
            trusted = header.sealed_end or ends.get(header.segment_id)
            reports.append(self._segment(item, trusted, proven.get(header.segment_id, 0), end_offset))
            self._index(item)
        return reports

    def _header(self, name: str) -> _Found | None:
        parsed = segment.parse_name(name)
        if parsed is None:
            return None
        path = f"log/{name}"
        block, size = self._read(path, segment.HEADER_BYTES)
        header = segment.find_header(block, self._log_id, parsed[1])
        if header is None:
            self._note(self._files, path, 0, size, "the header is not readable, and so nothing of this segment")
            return None
        for at in segment.damaged_copies(block, header):
            self._note(self._files, path, at, segment.COPIES_AT[1], segment.SPARE_COPY)
        return _Found(path, header, size)

    def _segment(self, found: _Found, trusted: int | None, proven: int, behind: int | None) -> SegmentReport:
        header, seed = found.header, segment.seed_of(found.header)
        limit = max(found.file_bytes, proven) if trusted is None else trusted
        passed, end_bytes, frames, events = header.first_offset, segment.HEADER_BYTES, 0, 0
        subjects: set[Subject] = set()
        unplaced: list[segment.Damage] = []
        file = self._files.open(found.name)
        try:
            for item in segment.walk(file.read_at, seed=seed, limit=limit, proven=trusted or proven):
                match item:
                    case segment.Located(header=frame, body=body) if body is not None:
                        self._place(found.name, unplaced, passed, frame.first_offset, file.read_at)
                        subject = record.subject_of(frame, body)
                        subjects.add(subject)
                        frames, events = frames + 1, events + frame.events
                        passed = frame.first_offset + frame.events
                        if not self._census.add(frame, subject):
                            self._note(self._files, found.name, item.position, frame.frame_bytes, "numbers used before")
                    case segment.Damage():
                        unplaced.append(item)
                    case segment.End(position=end_bytes):
                        self._place(found.name, unplaced, passed, behind or 1 << 63, file.read_at)
        finally:
            file.close()
        return SegmentReport(
            found.name, header.first_offset, passed, frames, events, len(subjects), end_bytes, found.file_bytes
        )

    def _place(self, name: str, unplaced: list[segment.Damage], first: int, end: int, read: segment.Read) -> None:
        """Note damage with what its own header, or the sound frames around it, tell of its events."""
        for item in unplaced:
            events = end - first if len(unplaced) == 1 and end < 1 << 63 else None
            tenant, low, high = None, first, end
            if item.header is not None:
                low, high = item.header.first_offset, item.header.first_offset + item.header.events
                tenant, events = self._tenant(item, item.header, read), item.header.events
            what = segment.describe(item)
            self._damage.append(DamageReport(name, item.position, item.length, events, tenant, what, low, high))
        unplaced.clear()

    def _tenant(self, item: segment.Damage, header: record.Header, read: segment.Read) -> str | None:
        """The name in a damaged body, believed when sound frames have it too."""
        name = read(item.position + record.HEADER_BYTES, header.name_bytes).decode(errors="replace")
        return name if self._census.knows(Subject(SubjectKind(header.subject_kind), name)) else None

    def _index(self, found: _Found) -> None:
        name = found.name.removesuffix(".seg") + ".idx"
        if self._files.exists(name):
            size = self._read(name, 0)[1]
            if read_index(self._read(name, size)[0], segment.seed_of(found.header)) is None:
                self._note(self._files, name, 0, size, "an index; the next start makes it anew")

    # -- dead letters

    def _dead_letters(self, states: Mapping[str, CursorState]) -> None:
        for consumer_id in sorted({*states, *consumer_ids(self._files)}):
            state = states.get(consumer_id)
            letters = DeadLetterFile(
                self._files,
                log_id=self._log_id,
                consumer_id=consumer_id,
                replay_end=self._census.numbers.next_sequence.get(Subject(SubjectKind.REPLAY, consumer_id), 0),
                replayed=state.replayed_letters if state is not None else (),
                report=self._note,
            )
            missing = (state.dead_letters if state is not None else 0) - len(letters)
            letters.close()
            if missing > 0:
                what = "dead letters that a checkpoint knows of are not there"
                at, length = letters.torn[0] if letters.torn else (0, 0)
                self._damage.append(DamageReport(letters.name, at, length, missing, None, what))

    def _read(self, name: str, size: int) -> tuple[bytes, int]:
        file = self._files.open(name)
        try:
            return file.read_at(0, size), file.size()
        finally:
            file.close()
