"""The newest committed frames in memory, so that consumers at the head never touch the disk. Bounded in bytes.

Indexed by subject, so that a consumer costs nothing while others' events pass.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal.writer import Frame

_FRAME_OVERHEAD_BYTES = 400  # what a frame costs beside its payload
_FRAMES_SPLIT = 4
_FORGOTTEN = Frame(Subject(SubjectKind.TENANT, ""), 0, 0, 0, 0, 0, b"")


class FrameList:
    """Frames in ascending order of a number of theirs; taking from the front is cheap, finding is a bisection."""

    __slots__ = ("_frames", "_head", "_number")

    def __init__(self, number: Callable[[Frame], int]) -> None:
        self._frames: list[Frame] = []
        self._head = 0
        self._number = number

    def __len__(self) -> int:
        return len(self._frames) - self._head

    def append(self, frame: Frame) -> None:
        self._frames.append(frame)

    def pop_first(self) -> None:
        self._frames[self._head] = _FORGOTTEN  # its bytes go now, the place of it with others later
        self._head += 1
        if self._head > 64 and self._head * 2 > len(self._frames):
            del self._frames[: self._head]
            self._head = 0

    def since(self, number: int) -> list[Frame] | None:
        """The frames from the one that holds ``number`` on; None when that one is not here."""
        found: list[Frame] = []
        while (frame := self.find(number)) is not None and self._number(frame) <= number:
            found.append(frame)
            number = self._number(frame) + frame.count
        return found or None

    def find(self, number: int) -> Frame | None:
        """The frame that holds ``number``, else the first one above it, else None."""
        at = bisect_right(self._frames, number, lo=self._head, key=self._number) - 1
        if at >= self._head and number < self._number(self._frames[at]) + self._frames[at].count:
            return self._frames[at]
        return self._frames[at + 1] if at + 1 < len(self._frames) else None


class MemoryTail:
    """Owned by the event loop."""

    def __init__(self, bytes_max: int, first_offset: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._order: deque[Frame] = deque()
        self._of_subject: dict[Subject, FrameList] = {}
        self._of_stream = FrameList(lambda frame: frame.stream_sequence)
        self._empty = FrameList(lambda frame: frame.sequence)
        self._next_offset = first_offset
        self._split: deque[tuple[Frame, list[bytes]]] = deque(maxlen=_FRAMES_SPLIT)

    @property
    def first_offset(self) -> int:
        """Every event from here on is in memory."""
        return self._order[0].first_offset if self._order else self._next_offset

    def of_subject(self, subject: Subject) -> FrameList:
        return self._of_subject.get(subject, self._empty)

    def of_tenant(self, tenant_id: str) -> FrameList:
        """Those of one tenant, or of all tenants, found by sequence or stream sequence."""
        return self._of_stream if tenant_id == ALL_TENANTS else self.of_subject(Subject(SubjectKind.TENANT, tenant_id))

    def of_stream(self) -> FrameList:
        """The frames of all tenants' subjects, found by stream sequence."""
        return self._of_stream

    def lines(self, frame: Frame) -> list[bytes]:
        """The frame's events. Consumers at the head want the same frames at about the same time, so that the last few
        are kept in lines.
        """
        for known, lines in self._split:
            if known is frame:
                return lines
        lines = frame.payload.split(b"\n")
        self._split.append((frame, lines))
        return lines

    def append(self, frame: Frame) -> None:
        self._order.append(frame)
        self._bytes += len(frame.payload) + _FRAME_OVERHEAD_BYTES
        self._next_offset = frame.end_offset
        frames = self._of_subject.get(frame.subject)
        if frames is None:
            frames = self._of_subject[frame.subject] = FrameList(lambda frame: frame.sequence)
        frames.append(frame)
        if frame.subject.kind is SubjectKind.TENANT:
            self._of_stream.append(frame)
        while self._bytes > self._bytes_max and len(self._order) > 1:
            self._forget_first()

    def _forget_first(self) -> None:
        frame = self._order.popleft()
        self._bytes -= len(frame.payload) + _FRAME_OVERHEAD_BYTES
        frames = self._of_subject[frame.subject]
        frames.pop_first()
        if not frames:
            del self._of_subject[frame.subject]
        if frame.subject.kind is SubjectKind.TENANT:
            self._of_stream.pop_first()
