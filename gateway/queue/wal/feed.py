"""Where one consumer's frames come from, in the order of the log: the memory of the newest ones, else the segments."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Protocol

import msgspec

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal.cursor import Lane, Place
from gateway.queue.wal.reader import Bookmark, Chunk, Lost, Wanted
from gateway.queue.wal.tail import FrameList, MemoryTail
from gateway.queue.wal.writer import Frame

READ_AHEAD_BYTES = 1 << 20
_CHUNKS_KNOWN = 64  # more than what is in flight comes from

_NOWHERE = Bookmark(0, 0, 0)


class FrameStore(Protocol):
    """The frames of the whole log."""

    @property
    def tail(self) -> MemoryTail: ...

    async def read(self, wanted: Wanted, start: Bookmark, bytes_max: int) -> Chunk: ...

    async def last_frame(self, wanted: Wanted, before_offset: int) -> Frame | None: ...


class Feed:
    """Owned by the event loop; one consumer's. It knows frames and nothing of what was handed out or settled."""

    def __init__(self, store: FrameStore, *, tenant_id: str, consumer_id: str) -> None:
        self.lanes = {
            Lane.TENANT: Subject(SubjectKind.TENANT, tenant_id),
            Lane.BACKFILL: Subject(SubjectKind.BACKFILL, consumer_id),
            Lane.REPLAY: Subject(SubjectKind.REPLAY, consumer_id),
        }
        self._store = store
        self._of_all = tenant_id == ALL_TENANTS
        self._wanted = Wanted(tenant_id, consumer_id)
        self._ahead: deque[Frame] = deque()
        self._bookmark = _NOWHERE
        self._chunks: deque[tuple[Bookmark, int]] = deque(maxlen=_CHUNKS_KNOWN)  # where they begin, what lies behind
        self._lost: deque[Lost] = deque()  # of what was read ahead
        self._seen_ahead: dict[Lane, tuple[int, Frame]] = {}
        self._rewinds = 0
        self._split: tuple[Frame | None, list[bytes]] = (None, [])

    def sequence(self, lane: Lane, frame: Frame) -> int:
        """The number of the frame's first event within the lane."""
        return frame.stream_sequence if lane is Lane.TENANT and self._of_all else frame.sequence

    def lines(self, frame: Frame) -> list[bytes]:
        if self._split[0] is not frame:
            self._split = frame, self._store.tail.lines(frame)
        return self._split[1]

    def lines_ahead(self, frame: Frame) -> list[bytes]:
        """As ``lines``, for a frame that is looked at while another is being taken."""
        return self._store.tail.lines(frame)

    def next_frame(self, place: Place, end: Place) -> tuple[Lane, Frame | None] | None:
        """The next frame of any lane with its lane; (lane, None) when it must be read from disk; None when there is
        none.
        """
        while self._ahead and not self._is_between(self._ahead[0], place, end):
            self._ahead.popleft()
        best: tuple[Lane, Frame] | None = None
        if self._ahead:
            best = self._ahead[0].subject.kind, self._ahead[0]
        for lane in Lane:
            sequence = place.sequence(lane)
            if sequence >= end.sequence(lane):
                continue
            kept = self._in_memory(lane).find(sequence)
            if kept is None or self.sequence(lane, kept) > sequence:
                if not self._ahead:
                    return lane, None
            elif best is None or kept.first_offset < best[1].first_offset:
                best = lane, kept
        return best

    def next_in_memory(self, place: Place, end: Place) -> tuple[Lane, Frame] | None:
        """As ``next_frame``, of the frames in memory alone, and for any place: None where the next one is not there."""
        best: tuple[Lane, Frame] | None = None
        for lane in Lane:
            sequence = place.sequence(lane)
            if sequence >= end.sequence(lane):
                continue
            frame = self._in_memory(lane).find(sequence)
            if frame is None or self.sequence(lane, frame) > sequence:
                return None
            if best is None or frame.first_offset < best[1].first_offset:
                best = lane, frame
        return best

    def memory_start(self, end: Place) -> Place:
        """The place from which on all frames are in memory. ``end`` is the present end of what is wanted."""
        first = {}
        for lane in Lane:
            frame = self._in_memory(lane).find(0)
            first[lane] = end.sequence(lane) if frame is None else min(self.sequence(lane, frame), end.sequence(lane))
        return Place(self._store.tail.first_offset, first[Lane.TENANT], first[Lane.BACKFILL], first[Lane.REPLAY])

    async def read_ahead(self, place: Place) -> bool:
        """Read frames behind ``place`` from disk. False when all that can be read there has been."""
        start = self._bookmark
        if start.offset < place.offset:
            start = self._chunk_with(place.offset)
        if start.offset >= self._store.tail.first_offset:
            return False
        rewinds = self._rewinds
        chunk = await self._store.read(self._wanted, start, READ_AHEAD_BYTES)
        if rewinds == self._rewinds:
            self._bookmark = chunk.bookmark
            self._chunks.append((chunk.begin, chunk.bookmark.offset))
            self._ahead.extend(chunk.frames)
            self._lost.extend(chunk.lost)
        return True

    def lost_between(self, first_offset: int, end_offset: int) -> list[Lost]:
        """The damaged stretches that were met among these events of the log. Nothing before them is asked for again."""
        while self._lost and self._lost[0].end_offset <= first_offset:
            self._lost.popleft()
        return list(takewhile(lambda lost: lost.first_offset < end_offset, self._lost))

    async def first_behind(self, lane: Lane, place: Place) -> Frame | None:
        """The lane's first frame behind ``place`` that can be read, wherever it is. Slow: for use around damage."""
        sequence = place.sequence(lane)
        known, frame = self._seen_ahead.get(lane, (-1, None))
        if known != sequence:
            frame = await self._search(lane, place)
            if frame is not None:
                self._seen_ahead[lane] = sequence, frame
        return frame

    async def _search(self, lane: Lane, place: Place) -> Frame | None:
        for frame in self._ahead:
            if frame.subject.kind is lane and self._sequence_end(frame) > place.sequence(lane):
                return frame
        bookmark = Bookmark(max(self._bookmark.offset, place.offset), 0, 0)
        while bookmark.offset < self._store.tail.first_offset:
            chunk = await self._store.read(self._wanted, bookmark, READ_AHEAD_BYTES)
            for frame in chunk.frames:
                if frame.subject.kind is lane and self._sequence_end(frame) > place.sequence(lane):
                    return frame
            bookmark = chunk.bookmark
        return self.in_memory(lane, place.sequence(lane))

    def rewind(self) -> None:
        """Reading goes on from another place: forget what was read ahead."""
        self._ahead.clear()
        self._lost.clear()
        self._bookmark = _NOWHERE
        self._rewinds += 1

    def in_memory(self, lane: Lane, sequence: int) -> Frame | None:
        """The frame with this event, else the first one behind it, among those in memory."""
        return self._in_memory(lane).find(sequence)

    async def last_before(self, place: Place) -> Frame | None:
        """The newest frame of any lane that lies before ``place`` and can be read."""
        frames = []
        for lane in Lane:
            frame = self._in_memory(lane).find(place.sequence(lane) - 1)
            if frame is not None and self.sequence(lane, frame) < place.sequence(lane):
                frames.append(frame)
        if frames:
            return max(frames, key=lambda frame: frame.first_offset)
        return await self._store.last_frame(self._wanted, place.offset)

    def accepted_at_s(self, place: Place) -> float | None:
        """When the first event behind ``place`` was accepted; None when memory does not hold it."""
        times = []
        for lane in Lane:
            frame = self._in_memory(lane).find(place.sequence(lane))
            if frame is not None and self.sequence(lane, frame) <= place.sequence(lane):
                times.append(frame.time_us / 1e6)
        return min(times, default=None)

    def _chunk_with(self, offset: int) -> Bookmark:
        """Where to begin reading for what is behind ``offset``: without a chunk that is known from before, the segment
        is walked from its beginning.
        """
        known = (begin for begin, end in self._chunks if begin.offset <= offset < end)
        return next(known, Bookmark(offset, 0, 0))

    def _is_between(self, frame: Frame, place: Place, end: Place) -> bool:
        """Not for what came after the end of the intake: other lanes go on behind that."""
        lane = frame.subject.kind
        return self._sequence_end(frame) > place.sequence(lane) and self.sequence(lane, frame) < end.sequence(lane)

    def _sequence_end(self, frame: Frame) -> int:
        return self.sequence(frame.subject.kind, frame) + frame.count

    def _in_memory(self, lane: Lane) -> FrameList:
        tail = self._store.tail
        return tail.of_stream() if lane is Lane.TENANT and self._of_all else tail.of_subject(self.lanes[lane])


class _Named(msgspec.Struct):
    id: str


_decode_id = msgspec.json.Decoder(_Named).decode


def event_id(line: bytes) -> str | None:
    try:
        return _decode_id(line).id
    except (msgspec.MsgspecError, RecursionError):
        return None
