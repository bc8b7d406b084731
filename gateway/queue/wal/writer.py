"""The thread side of the log: numbers, frames, writes and syncs. One thread calls it, one batch at a time.

What it promises when ``commit`` returns: the frames are on stable storage, in a segment that a start after a crash
finds. When it raises ``OSError`` nothing of the batch was numbered, and the file that failed is never written or
synced again.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple

import msgspec
import structlog
import zstandard

from gateway.queue import Entry, Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.files import File, Files
from gateway.queue.wal.index import Segment, Share, book_share, write_index
from gateway.telemetry import Event

MERGED_BYTES_MAX = 1 << 20
SEGMENT_FRAMES_MAX = 1 << 16  # a start walks the last segment frame by frame: this bounds how long that takes
_COMPRESS_FROM_BYTES = 512


class Frame(msgspec.Struct, frozen=True, gc=False):
    """Committed events of one subject; ``payload`` is NDJSON as it came in."""

    subject: Subject
    first_offset: int
    sequence: int
    stream_sequence: int
    count: int
    time_us: int
    payload: bytes

    @property
    def end_offset(self) -> int:
        return self.first_offset + self.count


class Numbers(msgspec.Struct):
    """The next free numbers: of an event in the log, in the stream of all tenants, and within each subject."""

    next_offset: int = 0
    next_stream_sequence: int = 0
    next_sequence: dict[Subject, int] = msgspec.field(default_factory=dict)

    def raise_to(self, other: Numbers) -> None:
        """No number is ever used twice: take the higher one of each."""
        self.next_offset = max(self.next_offset, other.next_offset)
        self.next_stream_sequence = max(self.next_stream_sequence, other.next_stream_sequence)
        for subject, sequence in other.next_sequence.items():
            self.next_sequence[subject] = max(self.next_sequence.get(subject, 0), sequence)


class Committed(msgspec.Struct, frozen=True):
    """``active`` is the segment that holds the end of the log now; ``sealed`` those that were closed on the way."""

    frames: list[Frame]
    active: Segment
    sealed: list[Segment]
    written_bytes: int


class _Prepared(NamedTuple):
    subject: Subject
    payload: bytes
    events: int
    stored: bytes
    compressed: bool


class Writer:
    """Construction makes the first segment of this process, so it blocks and may raise OSError.

    On a full disk it is made without one: ``full`` tells why, what is stored can be read, and ``heal`` makes the first
    segment once there is space. A log that fills its disk could else never be started to be emptied.
    """

    def __init__(
        self,
        files: Files,
        *,
        log_id: bytes,
        numbers: Numbers,
        previous: tuple[int, int],
        next_segment_id: int,
        segment_bytes: int,
        compression_level: int,
        now_us: Callable[[], int],
        spare_executor: Executor,
    ) -> None:
        """``previous`` is the id and the trusted end of the segment before the first one made here."""
        self._files = files
        self._log_id = log_id
        self._numbers = numbers
        self._segment_ids = itertools.count(next_segment_id)
        self._segment_bytes = max(segment_bytes, segment.HEADER_BYTES * 2)
        self._compressor = zstandard.ZstdCompressor(level=compression_level) if compression_level else None
        self._now_us = now_us
        self._spare_executor = spare_executor
        self._last_time_us = 0
        self._previous = previous
        self._spare: tuple[int, Future[File]] | None = None
        self._sealed: list[Segment] = []
        self._shares: dict[Subject, Share] = {}
        self._frames = 0
        self._file: File | None = None
        self.full: OSError | None = None
        try:
            self._active = self._start_segment()
        except OSError as error:
            if not is_full(error):
                raise
            self.full = error
            self._active = self._no_segment()

    @property
    def active(self) -> Segment:
        return self._active

    def commit(self, entries: Sequence[Entry]) -> Committed:
        """Store the entries in order of their subjects' first appearance, each subject's own in their order."""
        prepared = self._prepare(entries)
        size = sum(record.HEADER_BYTES + len(p.subject.name) * 4 + len(p.stored) + 8 for p in prepared)
        self._make_room(size)
        try:
            frames, written = self._write(prepared)
        except OSError as error:
            self._give_up_file(error)
            self._active = self._start_segment()
            frames, written = self._write_rerouted(prepared)
        return Committed(frames, self._active, self._take_sealed(), written)

    def heal(self) -> tuple[Segment, list[Segment]]:
        """Find out whether the disk takes writes again. Raises OSError while it does not.

        Returns what is active now and what was sealed on the way.
        """
        if self._file is None:
            self._active = self._start_segment()
        else:
            self._rotate()
        return self._active, self._take_sealed()

    def take_segment_id(self) -> int:
        """An id that no segment has had. Safe from any thread."""
        return next(self._segment_ids)

    def close(self) -> None:
        if self._spare is not None:
            number, making = self._spare
            self._spare = None
            if not making.cancel() and making.exception() is None:
                making.result().close()
                with contextlib.suppress(OSError):  # the next start looks for it again
                    self._files.unlink([f"log/spare-{number:016x}.tmp"])
        if self._file is not None:
            self._file.close()
            self._file = None

    def _prepare(self, entries: Sequence[Entry]) -> list[_Prepared]:
        prepared = []
        for subject, payloads, count in _merged(entries):
            payload = payloads[0] if len(payloads) == 1 else b"\n".join(payloads)
            stored, compressed = payload, False
            if self._compressor is not None and len(payload) >= _COMPRESS_FROM_BYTES:
                smaller = self._compressor.compress(payload)
                if len(smaller) < len(payload):
                    stored, compressed = smaller, True
            prepared.append(_Prepared(subject, payload, count, stored, compressed))
        return prepared

    def _make_room(self, size: int) -> None:
        if self._file is None:
            self._active = self._start_segment()
        elif self._frames >= SEGMENT_FRAMES_MAX or (
            self._active.durable_end + size > self._segment_bytes
            and self._active.end_offset > self._active.first_offset
        ):
            self._rotate()
        elif self._spare is None and self._active.durable_end > self._segment_bytes // 2:
            self._order_spare()

    def _write(self, prepared: Sequence[_Prepared]) -> tuple[list[Frame], int]:
        assert self._file is not None
        active, numbers = self._active, self._numbers
        time_us = max(self._now_us(), self._last_time_us)
        offset, stream = numbers.next_offset, numbers.next_stream_sequence
        sequences: dict[Subject, int] = {}
        frames: list[Frame] = []
        buffers: list[bytes] = []
        sizes: list[int] = []
        for subject, payload, count, stored, compressed in prepared:
            sequence = sequences.get(subject, numbers.next_sequence.get(subject, 0))
            sequences[subject] = sequence + count
            frame = record.encode(
                seed=active.seed,
                kind=record.Kind.EVENTS,
                subject=subject,
                payload=stored,
                compressed=compressed,
                payload_bytes=len(payload),
                first_offset=offset,
                sequence=sequence,
                stream_sequence=stream,
                events=count,
                time_us=time_us,
                synced_end=active.durable_end,
            )
            buffers += frame
            sizes.append(sum(map(len, frame)))
            frames.append(Frame(subject, offset, sequence, stream, count, time_us, payload))
            offset += count
            if subject.kind is SubjectKind.TENANT:
                stream += count
        self._file.write_at(active.durable_end, buffers)
        self._file.sync(active.durable_end)
        self._advance(frames, sizes, offset, stream, time_us)
        return frames, sum(sizes)

    def _advance(self, frames: Sequence[Frame], sizes: Sequence[int], offset: int, stream: int, time_us: int) -> None:
        """The batch is durable: let the numbers and the segment say so."""
        for frame, size in zip(frames, sizes, strict=True):
            end_sequence = frame.sequence + frame.count
            self._numbers.next_sequence[frame.subject] = end_sequence
            book_share(self._shares, frame.subject, frame.count, size, len(frame.payload), end_sequence)
        self._frames += len(frames)
        self._numbers.next_offset, self._numbers.next_stream_sequence = offset, stream
        self._last_time_us = time_us
        durable_end = self._active.durable_end + sum(sizes)
        self._active = msgspec.structs.replace(
            self._active,
            end_offset=offset,
            end_stream_sequence=stream,
            durable_end=durable_end,
            file_bytes=max(self._active.file_bytes, durable_end),
        )

    def _write_rerouted(self, prepared: Sequence[_Prepared]) -> tuple[list[Frame], int]:
        try:
            written = self._write(prepared)
        except OSError as error:
            self._give_up_file(error)
            raise
        structlog.get_logger().warning(Event.LOG_COMMIT_REROUTED, segment=self._active.name)
        return written

    def _give_up_file(self, error: OSError) -> None:
        """Never write or sync this file again: after a failed sync the kernel may drop the data and report success."""
        structlog.get_logger().error(
            Event.LOG_COMMIT_FAILED,
            segment=self._active.name,
            error=str(error),
            remedy="check the disk and its file system",
        )
        self._seal()

    def _rotate(self) -> None:
        following = self._new_file()
        self._seal()
        self._active = self._name_segment(*following)

    def _seal(self) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None
        sealed = msgspec.structs.replace(self._active, shares=self._shares)
        if sealed.end_offset > sealed.first_offset:  # one without events will be replaced, and its header with it
            self._previous = (sealed.segment_id, sealed.durable_end)
        self._sealed.append(sealed)
        write_index(self._files, sealed)

    def _no_segment(self) -> Segment:
        """The empty end of the log: behind the last segment of the process before, and in no file."""
        numbers, (segment_id, durable_end) = self._numbers, self._previous
        return Segment(
            segment_id=segment_id,
            name="",
            seed=0,
            first_offset=numbers.next_offset,
            end_offset=numbers.next_offset,
            end_stream_sequence=numbers.next_stream_sequence,
            durable_end=durable_end,
            file_bytes=0,
            shares={},
        )

    def _start_segment(self) -> Segment:
        return self._name_segment(*self._new_file())

    def _name_segment(self, number: int, file: File) -> Segment:
        """Write the header into a fresh file and give it its name, in that order."""
        first_offset = self._numbers.next_offset
        header = segment.SegmentHeader(
            log_id=self._log_id,
            segment_id=number,
            first_offset=first_offset,
            first_stream_sequence=self._numbers.next_stream_sequence,
            previous_id=self._previous[0],
            previous_end=self._previous[1],
            created_us=self._now_us(),
        )
        temporary, name = f"log/spare-{number:016x}.tmp", f"log/{segment.file_name(first_offset, number)}"
        try:
            file.write_at(0, [segment.encode_header(header)])
            file.sync(0)
            self._files.rename(temporary, name)
        except OSError:
            file.close()
            with contextlib.suppress(OSError):
                self._files.unlink([temporary, name])
            raise
        self._file = file
        self._frames = 0
        self._shares = {}
        return Segment(
            segment_id=number,
            name=name,
            seed=segment.seed_of(header),
            first_offset=first_offset,
            end_offset=first_offset,
            end_stream_sequence=header.first_stream_sequence,
            durable_end=segment.HEADER_BYTES,
            file_bytes=self._segment_bytes,
        )

    def _order_spare(self) -> None:
        number = self.take_segment_id()
        name = f"log/spare-{number:016x}.tmp"
        self._spare = number, self._spare_executor.submit(self._files.create, name, self._segment_bytes)

    def _new_file(self) -> tuple[int, File]:
        if self._spare is None:
            self._order_spare()
        assert self._spare is not None
        number, making = self._spare
        self._spare = None
        return number, making.result()

    def _take_sealed(self) -> list[Segment]:
        sealed, self._sealed = self._sealed, []
        return sealed


def is_full(error: OSError) -> bool:
    """Whether it is space that is missing."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _merged(entries: Sequence[Entry]) -> list[tuple[Subject, list[bytes], int]]:
    """Entries of one subject in one commit become one frame, up to a MiB."""
    merged: list[tuple[Subject, list[bytes], int]] = []
    last: dict[Subject, tuple[int, int]] = {}
    for entry in entries:
        at, size = last.get(entry.subject, (-1, MERGED_BYTES_MAX))
        if size + len(entry.payload) <= MERGED_BYTES_MAX:
            subject, payloads, count = merged[at]
            payloads.append(entry.payload)
            merged[at] = (subject, payloads, count + entry.count)
            last[entry.subject] = (at, size + len(entry.payload))
        else:
            last[entry.subject] = (len(merged), len(entry.payload))
            merged.append((entry.subject, [entry.payload], entry.count))
    return merged
