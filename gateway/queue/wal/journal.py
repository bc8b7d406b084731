"""Checkpoints: the durable state of all consumers, in one append-only file. Blocks: one thread calls it.

A *tick* is one frame with the states of all consumers that changed, so it takes effect whole or not at all, and one
fdatasync whatever their number. The file is filled with zeros ahead of use, so that a full disk never keeps a
consumer from moving on and freeing space. When it is full a new generation begins with the states of all; the one
before is kept.

Losing the newest ticks moves consumers back: duplicates, never a loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec
import structlog

from gateway.queue import Gap, Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.cursor import CursorState
from gateway.queue.wal.files import File, Files
from gateway.queue.wal.writer import Numbers
from gateway.telemetry import Event

JOURNAL_BYTES = 4 << 20
_NAME = re.compile(r"(\d{16})\.journal")
_SUBJECT = Subject(SubjectKind.TENANT, "")


class LogEnd(msgspec.Struct, frozen=True, array_like=True):
    """How far the log had come when the tick was written: proof against taking damage for a torn tail.

    ``sequences`` are the next free ones of the subjects that got events since the last tick, as (kind, name, sequence).
    """

    segment_id: int
    durable_end: int
    next_offset: int
    next_stream_sequence: int
    sequences: list[tuple[int, str, int]]


class Tick(msgspec.Struct, frozen=True, array_like=True):
    log_end: LogEnd
    states: list[CursorState]


class Restored(msgspec.Struct):
    """What the journals say: the newest state of each consumer with all its gaps."""

    states: dict[str, CursorState] = msgspec.field(default_factory=dict)
    gaps: dict[str, list[Gap]] = msgspec.field(default_factory=dict)
    proven: dict[int, int] = msgspec.field(default_factory=dict)
    numbers: Numbers = msgspec.field(default_factory=Numbers)
    generation: int = 0
    is_lost: bool = False  # there are journals, and none of them can be read

    def apply(self, tick: Tick) -> None:
        end = tick.log_end
        self.proven[end.segment_id] = max(self.proven.get(end.segment_id, 0), end.durable_end)
        self.numbers.raise_to(
            Numbers(
                end.next_offset,
                end.next_stream_sequence,
                {Subject(SubjectKind(kind), name): sequence for kind, name, sequence in end.sequences},
            )
        )
        for state in tick.states:
            if state.removed:
                self.states.pop(state.consumer_id, None)
                self.gaps.pop(state.consumer_id, None)
                continue
            self.states[state.consumer_id] = state
            gaps = self.gaps.setdefault(state.consumer_id, [])
            for index, gap in state.changed_gaps:
                gaps[index : index + 1] = [gap]


def restore(files: Files, log_id: bytes) -> Restored:
    """Read the newest journal that holds a whole snapshot, or the one before it."""
    generations = _generations(files)
    for generation in reversed(generations):
        restored = _read(files, log_id, generation)
        if restored is not None:
            restored.generation = generations[-1]
            return restored
    return Restored(generation=generations[-1] if generations else 0, is_lost=bool(generations))


class Journal:
    """Construction writes a new generation with ``states``, so it blocks and may raise OSError."""

    def __init__(
        self,
        files: Files,
        *,
        log_id: bytes,
        generation: int,
        states: Sequence[CursorState],
        log_end: LogEnd,
        journal_bytes: int = JOURNAL_BYTES,
    ) -> None:
        self._files = files
        self._log_id = log_id
        self._generation = generation
        self._journal_bytes = journal_bytes
        self._file: File | None = None
        self._position = 0
        self._seed = 0
        self.begin(log_end, states)

    def fits(self, log_end: LogEnd, states: Sequence[CursorState]) -> bool:
        """Whether a tick can be appended, or a new generation has to ``begin`` with all states."""
        return self._file is not None and self._position + len(_body(log_end, states)) + 256 <= self._journal_bytes

    def append(self, log_end: LogEnd, states: Sequence[CursorState]) -> None:
        """Make a tick durable. After an OSError the file is given up and the next call must be ``begin``."""
        assert self._file is not None
        buffers = self._frame(log_end, states)
        try:
            self._file.write_at(self._position, buffers)
            self._file.sync(self._position)
        except OSError:
            self.close()
            raise
        self._position += sum(map(len, buffers))

    def begin(self, log_end: LogEnd, states: Sequence[CursorState]) -> None:
        """Start a new generation with the states of all consumers, then forget all but the one before it."""
        self.close()
        self._forget_old()
        self._generation += 1
        temporary, name = f"cursors/{self._generation:016d}.tmp", _path(self._generation)
        header = segment.SegmentHeader(self._log_id, self._generation, 0, 0, 0, 0, 0)
        self._seed = segment.seed_of(header)
        size = max(self._journal_bytes, segment.HEADER_BYTES + 2 * len(_body(log_end, states)) + 4096)
        file = self._files.create(temporary, size)
        self._position = 0  # nothing of the new file is proven yet, however much of the last one was
        buffers = self._frame(log_end, states)
        try:
            file.write_at(0, [segment.encode_header(header), *buffers])
            file.sync(0)
            self._files.rename(temporary, name)
        except OSError:
            file.close()
            raise
        self._file = file
        self._position = segment.HEADER_BYTES + sum(map(len, buffers))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _frame(self, log_end: LogEnd, states: Sequence[CursorState]) -> list[bytes]:
        return record.encode(
            seed=self._seed,
            kind=record.Kind.CHECKPOINT,
            subject=_SUBJECT,
            payload=_body(log_end, states),
            events=len(states),
            synced_end=self._position,
        )

    def _forget_old(self) -> None:
        kept = {_path(generation) for generation in _generations(self._files)[-1:]}
        names = [f"cursors/{name}" for name in self._files.names("cursors")]
        self._files.unlink([name for name in names if name not in kept])


def _body(log_end: LogEnd, states: Sequence[CursorState]) -> bytes:
    return msgspec.msgpack.encode(Tick(log_end, list(states)))


def _path(generation: int) -> str:
    return f"cursors/{generation:016d}.journal"


def _generations(files: Files) -> list[int]:
    matches = (_NAME.fullmatch(name) for name in files.names("cursors"))
    return sorted(int(match[1]) for match in matches if match)


def _read(files: Files, log_id: bytes, generation: int) -> Restored | None:
    """None when not even the snapshot at the beginning can be read."""
    name = _path(generation)
    file = files.open(name)
    try:
        header = segment.decode_header(file.read_at(0, segment.HEADER_BYTES))
        if header is None or header.log_id != log_id or header.segment_id != generation:
            structlog.get_logger().error(Event.LOG_CORRUPT, file=name, at=0, detail="the journal's header is damaged")
            return None
        return _replay(name, segment.walk(file.read_at, seed=segment.seed_of(header), limit=file.size()))
    finally:
        file.close()


def _replay(name: str, items: Iterable[segment.Located | segment.Damage | segment.End]) -> Restored | None:
    restored = Restored()
    whole = False
    for item in items:
        if isinstance(item, segment.Located) and item.body is not None:
            whole = whole or item.position == segment.HEADER_BYTES
            restored.apply(msgspec.msgpack.decode(item.body, type=Tick))
        elif isinstance(item, segment.Damage):
            structlog.get_logger().error(Event.LOG_CORRUPT, file=name, at=item.position, bytes=item.length)
    return restored if whole else None
