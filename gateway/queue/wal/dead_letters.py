"""The events that one destination's provider refused for good, in a file of their own. Blocks: one thread at a time
calls it.

A dead letter's number is the event's position in its consumer plus one, so an event that is refused again after a
crash is found stored and is not stored twice. Adding is durable before it returns; forgetting some rewrites the file
under another name first. In memory there are 16 bytes for each.

A replay is written here before its events go into the log: the numbers, in order, and the place in the lane of replays
from which on they will stand. From then on the log alone decides: those that it has are dead letters no more. So a
replay that is cut off, by a crash or a failing disk, leaves no event both replayed and dead-lettered, and none neither.
Checkpoints know of finished replays as well, so that damage to what was written here brings none of their letters back.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Self, TypeVar

import msgspec

from gateway.queue import DeadLetter, Subject, SubjectKind
from gateway.queue.ranges import RangeSet, runs_of
from gateway.queue.wal import damage, record, segment
from gateway.queue.wal.dead_letter_folder import path_of
from gateway.queue.wal.files import File, Files, make_durable

_WHAT = "dead letters that cannot be read any more"
_WHAT_OF_REPLAY = "which dead letters were about to be replayed; those that no checkpoint knows of are listed again"
REPLAYED_RUNS_MAX = 1000  # of replayed letters that checkpoints have to carry
COPIED_AT_ONCE = 16  # letters; each may weigh as much as an event may
PAGE_BYTES_MAX = 16 << 20  # of events; a thousand large ones would take half a GiB

T = TypeVar("T")


class _Replay(msgspec.Struct, frozen=True):
    """Dead letters that stand in the lane of replays from ``begin`` on, as far as the lane goes."""

    begin: int
    numbers: list[int]


class DeadLetterFile:
    """Opening it reads the file through. Nothing is made on disk before the first dead letter.

    ``replay_end`` is the end of this consumer's lane of replays, as far as it is durable. ``replayed`` are the numbers,
    in runs, of letters in the file that were replayed: to begin with, those that a checkpoint knows of. ``torn`` are
    the stretches (first byte, length) that are damaged or were never acknowledged; a checkpoint tells which. ``lost``
    counts the dead letters that were found unreadable and left out since the file was opened. Without ``writable`` it
    is only looked at.
    """

    def __init__(
        self,
        files: Files,
        *,
        log_id: bytes,
        consumer_id: str,
        replay_end: int,
        replayed: Sequence[tuple[int, int]] = (),
        report: damage.Report = damage.report,
        writable: bool = True,
    ) -> None:
        self._files, self._report, self._writable = files, report, writable
        self.name = path_of(consumer_id)
        number = record.checksum(consumer_id.encode())  # so that no other destination's dead letters pass for these
        self._header = segment.SegmentHeader(log_id, number, 0, 0, 0, 0, 0)
        self._seed = segment.seed_of(self._header)
        self._subject = Subject(SubjectKind.REPLAY, consumer_id)
        self._numbers = array("Q")
        self._places = array("Q")
        self._end = segment.HEADER_BYTES
        self.torn: list[tuple[int, int]] = []
        self._file: File | None = None
        self._is_suspect = False  # it is read and never written or synced again: the disk failed it, or parts are torn
        self._replay: _Replay | None = None  # begun, and not known to have come into the lane
        self._doubtful = 0
        self._gone = 0  # letters in the file that are none any more
        self.replayed = tuple(replayed)
        self.lost = 0
        if files.exists(self.name):
            self._restore(replay_end)

    @classmethod
    def recovered(
        cls,
        files: Files,
        *,
        log_id: bytes,
        consumer_id: str,
        replay_end: int,
        replayed: Sequence[tuple[int, int]] = (),
    ) -> Self:
        """As a start opens it.

        What a killed process left is synced before it is believed. What is torn is kept before it is written over.
        """
        name = path_of(consumer_id)
        if files.exists(name):
            make_durable(files, name)
        letters = cls(files, log_id=log_id, consumer_id=consumer_id, replay_end=replay_end, replayed=replayed)
        for at, length in letters.torn:
            damage.report_torn(files, letters.name, at, length)
        return letters

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def doubtful(self) -> int:
        """How many are listed and may be gone at the next start: a failing disk does not tell whether it removed
        them, or whether it took a replay's events.
        """
        return self._doubtful + (len(self._replay.numbers) if self._replay is not None else 0)

    @property
    def is_mostly_gone(self) -> bool:
        """Whether the file is worth writing anew for what it holds in vain, or for what is to be known of that."""
        return 0 < self._gone >= len(self._numbers) or len(self.replayed) > REPLAYED_RUNS_MAX

    @property
    def disk_bytes(self) -> int:
        return self._end if self._file is not None else 0

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Store those that are not stored yet, durably. After an OSError none of them may be taken for stored."""
        new = sorted((letter for letter in letters if not self._has(letter.number)), key=lambda letter: letter.number)
        if not new:
            return
        start = self._prepared()
        buffers, places = self._frames(new, start, synced_end=start)
        self._append(buffers)
        for letter, place in zip(new, places, strict=True):
            at = bisect_left(self._numbers, letter.number)
            self._numbers.insert(at, letter.number)
            self._places.insert(at, place)
        if self.replayed:  # an event that came again after checkpoints were damaged, and was refused again
            left = RangeSet(self.replayed)
            for letter in new:
                left.remove(letter.number, letter.number + 1)
            self.replayed = tuple(left)

    def page(self, *, after: int, limit: int) -> list[DeadLetter]:
        """Those with a number above ``after``, ascending: ``limit`` of them, or fewer where they weigh more than
        PAGE_BYTES_MAX, one however heavy. What is damaged is reported, and others come in its place.
        """
        letters: list[DeadLetter] = []
        size_bytes, start = 0, bisect_right(self._numbers, after)
        for place in islice(self._places, start, None):
            if len(letters) == limit:
                break
            letter = self._read(place)
            if letter is None:
                continue
            size_bytes += len(letter.line)
            if letters and size_bytes > PAGE_BYTES_MAX:
                break
            letters.append(letter)
        return letters

    def read(self, numbers: Sequence[int], *, bytes_max: int) -> tuple[list[DeadLetter], int]:
        """The first of these that weigh no more than ``bytes_max``, one however heavy, and how many of ``numbers`` were
        looked at. What cannot be read is left out, forgotten and counted as ``lost``.
        """
        letters: list[DeadLetter] = []
        unreadable: list[int] = []
        looked_at, size_bytes = 0, 0
        for number in numbers:
            if not self._has(number):  # found unreadable since
                looked_at += 1
                continue
            letter = self._letter(number)
            if letter is not None and letters and size_bytes + len(letter.line) > bytes_max:
                break
            looked_at += 1
            if letter is None:
                unreadable.append(number)
            else:
                letters.append(letter)
                size_bytes += len(letter.line)
        self._leave_out(unreadable)
        self.lost += len(unreadable)
        return letters, looked_at

    def begin_replay(self, numbers: Sequence[int], begin: int) -> None:
        """Write down, durably, that these will stand in the lane of replays from ``begin`` on, in this order.

        It takes back what an earlier replay wrote down, so what that one put into the lane must be known by now. After
        an OSError none may be replayed.
        """
        replay = _Replay(begin, list(numbers))
        self._append(self._replay_frame(replay, self._prepared()))
        self._replay = replay

    def end_replay(self) -> None:
        """They are in the lane of replays now. Does no I/O: what ``begin_replay`` wrote tells it to the next start, as
        does the next checkpoint.
        """
        if self._replay is not None:
            numbers = [number for number in self._replay.numbers if self._has(number)]
            self._leave_out(numbers)
            self.replayed = tuple(RangeSet([*self.replayed, *runs_of(numbers)]))
            self._replay = None

    def all_numbers(self) -> list[int]:
        return list(self._numbers)

    def forget(self, numbers: Sequence[int]) -> int:
        """Remove these. Returns how many there were."""
        gone = {number for number in numbers if self._has(number)}
        if not gone:
            return 0
        if len(gone) == len(self._numbers):
            self.remove()
        else:
            self._rewrite([number for number in self._numbers if number not in gone])
        return len(gone)

    def mend(self) -> None:
        """Write the file anew with what is sound of it and still a dead letter."""
        if self._file is None:
            return
        if self._numbers:
            self._rewrite(self.all_numbers())
        else:
            self.remove()

    def remove(self) -> None:
        self._is_suspect = self._file is not None  # until its name is durably gone
        self._doubtful = len(self._numbers)
        self._files.unlink([self.name])
        self.close()
        self._is_suspect, self._doubtful, self._gone, self.replayed = False, 0, 0, ()
        self._numbers, self._places, self._end = array("Q"), array("Q"), segment.HEADER_BYTES

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _has(self, number: int) -> bool:
        at = bisect_left(self._numbers, number)
        return at < len(self._numbers) and self._numbers[at] == number

    def _leave_out(self, numbers: Sequence[int]) -> None:
        """Ascending numbers of letters that are there: by runs, since each removal moves all that lies behind."""
        for low, high in reversed(list(runs_of([bisect_left(self._numbers, number) for number in numbers]))):
            del self._numbers[low:high]
            del self._places[low:high]
        self._gone += len(numbers)

    def _prepared(self) -> int:
        """Where the next frame goes, in a file that takes one."""
        if self._is_suspect or self._file is None:
            self._rewrite(self._numbers)
        return self._end

    def _append(self, buffers: Sequence[bytes]) -> None:
        assert self._file is not None
        try:
            self._file.write_at(self._end, buffers)
            self._file.sync(self._end)
        except OSError:
            self._is_suspect = True
            with contextlib.suppress(OSError):
                self._rewrite(self._numbers)  # what got into the file is not to be found there later
            raise
        self._end += sum(map(len, buffers))

    def _frames(self, letters: Sequence[DeadLetter], start: int, *, synced_end: int) -> tuple[list[bytes], list[int]]:
        buffers: list[bytes] = []
        places = []
        end = start
        for letter in letters:
            frame = self._frame(record.Kind.DEAD_LETTER, letter, letter.number, 1, synced_end)
            buffers += frame
            places.append(end)
            end += sum(map(len, frame))
        return buffers, places

    def _replay_frame(self, replay: _Replay, start: int) -> list[bytes]:
        return self._frame(record.Kind.REPLAY, replay, replay.begin, len(replay.numbers), start)

    def _frame(
        self, kind: record.Kind, item: DeadLetter | _Replay, sequence: int, events: int, synced_end: int
    ) -> list[bytes]:
        return record.encode(
            seed=self._seed,
            kind=kind,
            subject=self._subject,
            payload=msgspec.msgpack.encode(item),
            sequence=sequence,
            events=events,
            synced_end=synced_end,
        )

    def _letter(self, number: int) -> DeadLetter | None:
        """One that is there; None, and reported, when it cannot be read."""
        return self._read(self._places[bisect_left(self._numbers, number)])

    def _read(self, place: int) -> DeadLetter | None:
        assert self._file is not None
        header = record.decode_header(self._file.read_at(place, record.HEADER_BYTES), 0, self._seed)
        if header is not None:
            body = self._file.read_at(place + record.HEADER_BYTES, header.body_bytes)
            if record.checksum(body) == header.body_crc and (letter := _decode(header, body, DeadLetter)) is not None:
                return letter
        self._report(self._files, self.name, place, header.frame_bytes if header else record.HEADER_BYTES, _WHAT)
        return None

    def _rewrite(self, numbers: Sequence[int]) -> None:
        temporary = f"{self.name}.tmp"
        self._files.unlink([temporary])
        file = self._files.create(temporary, 0)
        try:
            kept, places, end = self._copy(numbers, file)
            file.sync(0)
            self._is_suspect = True  # from here on the open file may have no name
            self._doubtful = len(self._numbers) - len(kept)
            self._files.rename(temporary, self.name)
        except OSError:
            file.close()
            with contextlib.suppress(OSError):  # a full disk must not become fuller by it
                self._files.unlink([temporary])
            raise
        self.close()
        self._file, self._is_suspect, self._doubtful, self._gone, self.replayed = file, False, 0, 0, ()
        self.lost += len(numbers) - len(kept)
        self._numbers, self._places, self._end = kept, places, end

    def _copy(self, numbers: Sequence[int], file: File) -> tuple[array[int], array[int], int]:
        """What can be read of these, in pieces, and the replay under way. Returns the numbers, their places, and where
        they end.
        """
        kept, places, end = array("Q"), array("Q"), segment.HEADER_BYTES
        file.write_at(0, [segment.encode_header(self._header)])
        for start in range(0, len(numbers), COPIED_AT_ONCE):
            piece = numbers[start : start + COPIED_AT_ONCE]
            letters = [letter for number in piece if (letter := self._letter(number)) is not None]
            buffers, at = self._frames(letters, end, synced_end=segment.HEADER_BYTES)
            file.write_at(end, buffers)
            kept.extend(letter.number for letter in letters)
            places.extend(at)
            end += sum(map(len, buffers))
        if self._replay is not None:
            frame = self._replay_frame(self._replay, segment.HEADER_BYTES)
            file.write_at(end, frame)
            end += sum(map(len, frame))
        return kept, places, end

    def _restore(self, replay_end: int) -> None:
        """Walk the file up to the end of its last sound frame."""
        self._file = self._files.open(self.name, writable=self._writable)
        size = self._file.size()
        block = self._file.read_at(0, segment.HEADER_BYTES)
        for at in segment.damaged_copies(block, self._header):
            self._report(
                self._files, self.name, at, segment.COPIES_AT[1], "one of two copies of the header; it costs nothing"
            )
        found: dict[int, int] = {}
        replays: list[tuple[_Replay, list[int | None]]] = []  # with the places of its letters at that time
        for item in segment.walk(self._file.read_at, seed=self._seed, limit=size, passes_torn=True):
            match item:
                case segment.Located(position=position, header=header, body=body) if body is not None:
                    if header.kind == record.Kind.REPLAY and (replay := _decode(header, body, _Replay)) is not None:
                        replays.append((replay, [found.get(number) for number in replay.numbers]))
                    elif header.kind != record.Kind.REPLAY and _decode(header, body, DeadLetter) is not None:
                        found[header.sequence] = position
                    else:
                        self._report(self._files, self.name, position, header.frame_bytes, _what(header))
                case segment.Damage(position=position, length=length, was_durable=False):
                    self.torn.append((position, length))
                    self._is_suspect = True  # the next frame here would vouch for what may never have been written
                case segment.Damage(position=position, length=length, header=header):
                    self._report(self._files, self.name, position, length, _what(header))
                case segment.End(position=position):
                    self._end = position
                    self.torn += [(position, size - position)] if position < size else []
        known = RangeSet(self.replayed)
        replayed = {number for number in found if number in known} if known else set()
        replayed |= {  # and were not stored again since
            number for number, place in _replayed(replays, replay_end) if found.get(number, -1) == place
        }
        self._gone, self.replayed = len(replayed), tuple(runs_of(sorted(replayed)))
        self._numbers = array("Q", sorted(found.keys() - replayed))
        self._places = array("Q", [found[number] for number in self._numbers])


def _what(header: record.Header | None) -> str:
    return _WHAT_OF_REPLAY if header is not None and header.kind == record.Kind.REPLAY else _WHAT


def _replayed(replays: Sequence[tuple[_Replay, list[int | None]]], replay_end: int) -> Iterator[tuple[int, int | None]]:
    """The dead letters that the lane of replays has, and where each stood when its replay was written down. Where one
    replay begins the one before it ends, at the latest.
    """
    ends = [*(replay.begin for replay, _ in replays), replay_end][1:]
    for (replay, places), end in zip(replays, ends, strict=True):
        reached = max(0, min(end, replay_end) - replay.begin)
        yield from list(zip(replay.numbers, places, strict=True))[:reached]


def _decode(header: record.Header, body: bytes, type_: type[T]) -> T | None:
    """None for what is none of that type, though its checksum holds."""
    try:
        return msgspec.msgpack.decode(body[header.name_bytes :], type=type_)
    except msgspec.DecodeError:
        return None
