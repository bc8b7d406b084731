"""Looking at a queue directory from outside, without the lock and without changing a byte. Blocks.

A running gateway may be at work meanwhile: what it has not finished looks like the end of the log, and what it removes
between two looks is looked for again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.errors import LogCorrupt
from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import damage, meta, record, segment
from gateway.queue.wal.census import Books, Census
from gateway.queue.wal.cursor import CursorState
from gateway.queue.wal.dead_letter_folder import consumer_ids
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.queue.wal.files import DiskFiles, Files
from gateway.queue.wal.index import read_index
from gateway.queue.wal.journal import Restored, restore
from gateway.queue.wal.system import ReadingAround

_LOOKS = 5  # at what a running gateway removes meanwhile

T = TypeVar("T")


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
    return Inspector(DiskFiles(path, ReadingAround())).run()


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
            self._note(meta.NAME, 0, 0, "missing or damaged; the next start makes it anew")
        self._log_id = log_id
        before = self._checkpoints(_noting(self._damage))
        self._census.numbers.raise_to(before.numbers)
        segments = self._segments(before.proven)
        restored = self._checkpoints()  # what a running gateway removed meanwhile was passed
        holes = {name: list(self._census.holes(state)) for name, state in restored.states.items()}
        self._census.numbers.raise_to(restored.numbers)  # and what came meanwhile may be settled
        books = [
            self._census.books(state, restored.gaps.get(name, {}), holes[name])
            for name, state in restored.states.items()
        ]
        for hole in (hole for found in holes.values() for hole in found):
            self._note_hole(hole.subject, hole.events, hole.first_offset, hole.end_offset)
        self._dead_letters(restored.states)
        return Inspection(segments, books, self._damage)

    def _checkpoints(self, report: damage.Report = lambda *_: None) -> Restored:
        return self._look(lambda: restore(self._files, self._log_id, report))

    def _look(self, look: Callable[[], T]) -> T:
        """Again where something was removed between its name and its contents: a journal, or a segment."""
        for _ in range(_LOOKS - 1):
            noted = len(self._damage)
            try:
                return look()
            except FileNotFoundError:
                del self._damage[noted:]
        return look()

    def _note(self, file: str, at: int, length: int, what: str) -> None:
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
        for found in self._look(self._headers):
            ends[found.header.previous_id] = found.header.previous_end
            newest[found.header.first_offset] = found
        ordered = list(newest.values())
        behind = [*(item.header.first_offset for item in ordered), None][1:]
        reports = []
        for item, end_offset in zip(ordered, behind, strict=True):
            present: _Found | None = item
            while present is not None:
                header = present.header
                trusted = header.sealed_end or ends.get(header.segment_id)
                try:
                    reports.append(self._segment(present, trusted, proven.get(header.segment_id, 0), end_offset))
                    self._index(present)
                    break
                except FileNotFoundError:
                    present = self._rewritten(present)
        return reports

    def _headers(self, place: int | None = None) -> list[_Found]:
        """In order of offset and id, as the names are; with ``place`` those that begin there."""
        names = [(name, parsed[0]) for name in self._files.names("log") if (parsed := segment.parse_name(name))]
        chosen = [name for name, first_offset in names if place in (None, first_offset)]
        return [found for name in chosen if (found := self._header(name)) is not None]

    def _rewritten(self, gone: _Found) -> _Found | None:
        """What stands in the place of a segment that is gone; None when nobody needed it any more."""
        found = self._look(lambda: self._headers(gone.header.first_offset))
        return found[-1] if found and found[-1].name != gone.name else None

    def _header(self, name: str) -> _Found | None:
        parsed = segment.parse_name(name)
        if parsed is None:
            return None
        path = f"log/{name}"
        block, size = self._read(path, segment.HEADER_BYTES)
        header = segment.find_header(block, self._log_id, parsed[1])
        if header is None:
            self._note(path, 0, size, "the header is not readable, and so nothing of this segment")
            return None
        for at in segment.damaged_copies(block, header):
            self._note(path, at, segment.COPIES_AT[1], segment.SPARE_COPY)
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
                            self._note(found.name, item.position, frame.frame_bytes, "numbers used before")
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
        with contextlib.suppress(FileNotFoundError):
            size = self._read(name, 0)[1]
            if read_index(self._read(name, size)[0], segment.seed_of(found.header)) is None:
                self._note(name, 0, size, "an index; the next start makes it anew")

    # -- dead letters

    def _dead_letters(self, states: Mapping[str, CursorState]) -> None:
        for consumer_id in sorted({*states, *consumer_ids(self._files)}):
            damaged = self._letters_of(consumer_id, states.get(consumer_id))
            if damaged:  # or some went after the checkpoint that knows of them
                damaged = self._letters_of(consumer_id, self._checkpoints().states.get(consumer_id))
            self._damage += damaged

    def _letters_of(self, consumer_id: str, state: CursorState | None) -> list[DamageReport]:
        """What is damaged of one consumer's."""
        damaged: list[DamageReport] = []
        letters = DeadLetterFile(
            self._files,
            log_id=self._log_id,
            consumer_id=consumer_id,
            replay_end=self._census.numbers.next_sequence.get(Subject(SubjectKind.REPLAY, consumer_id), 0),
            replayed=state.replayed_letters if state is not None else (),
            report=_noting(damaged),
            writable=False,
        )
        missing = (state.dead_letters if state is not None else 0) - len(letters)
        letters.close()
        if missing > 0:
            what = "dead letters that a checkpoint knows of are not there"
            at, length = letters.torn[0] if letters.torn else (0, 0)
            damaged.append(DamageReport(letters.name, at, length, missing, None, what))
        return damaged

    def _read(self, name: str, size: int) -> tuple[bytes, int]:
        file = self._files.open(name)
        try:
            return file.read_at(0, size), file.size()
        finally:
            file.close()


def _noting(damaged: list[DamageReport]) -> damage.Report:
    """Adds to the list what it is told of."""
    return lambda _, file, at, length, what: damaged.append(DamageReport(file, at, length, None, None, what))
