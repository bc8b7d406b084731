"""The oracle on trial: the queue with one promise broken at a time. Each must be seen, and by the check that is meant.

A mutant replaces a class or a function of the product for the time of a test. One that is not seen would mean that
the tests beside this one prove nothing about what it breaks.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import msgspec
import pytest

from gateway.queue import Entry, Refused
from gateway.queue.wal import compaction, record, recovery, segment
from gateway.queue.wal.consumer import WalConsumer
from gateway.queue.wal.cursor import Cursor, CursorState
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.queue.wal.files import DiskFile, DiskFiles, File
from gateway.queue.wal.index import Segment
from gateway.queue.wal.journal import Journal, LogEnd
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.recovery import Recovered
from gateway.queue.wal.retention import Claim, Need
from gateway.queue.wal.writer import Committed, Frame, Numbers, Writer
from tests.crash.explorer import ROOMY, Explorer
from tests.crash.life import Lab
from tests.crash.test_faults import Countdown, Trial, batch_that_failed_twice
from tests.crash.workloads import WORKLOADS, Script
from tests.simulated_disk import SimulatedDisk

WRITER = "gateway.queue.wal.opening.Writer"
RECOVER = "gateway.queue.wal.opening.recover"
QUEUE = "gateway.queue.wal.opening.WalQueue"
JOURNAL = "gateway.queue.wal.log.Journal"
LETTERS = "gateway.queue.wal.log.DeadLetterFile"
CONSUMER = "gateway.queue.wal.log.WalConsumer"
CURSOR = "gateway.queue.wal.consumer.Cursor"
FILE = "gateway.queue.wal.files.DiskFile"
NEEDED = "gateway.queue.wal.compaction._needed_frames"

# As they are without a mutant.
_encode, _needed_frames, _sync = record.encode, compaction._needed_frames, DiskFile.sync


def _header_alone(file: DiskFile, probe: int) -> None:
    if probe < segment.HEADER_BYTES:
        _sync(file, probe)


class FolderNotSynced(DiskFiles):
    """A new name is confirmed before it is durable."""

    def _sync_folder(self, path: Path) -> None: ...


class AcknowledgedBeforeTheSync(DiskFile):
    """A commit is answered before its bytes are durable."""

    def sync(self, probe: int) -> None:
        if probe < segment.HEADER_BYTES or "log" not in self._path.parts:
            super().sync(probe)


class HeaderNotSynced(DiskFile):
    """A segment gets its name while its header may still be lost."""

    def sync(self, probe: int) -> None:
        if probe or "spare" not in self._path.name:
            super().sync(probe)


class FlippedByte(Writer):
    """One byte of a payload changes on its way into the log."""

    def commit(self, entries: Sequence[Entry]) -> Committed:
        first = entries[0]
        flipped = first.payload[:-3] + bytes([first.payload[-3] ^ 1]) + first.payload[-2:]
        return super().commit([msgspec.structs.replace(first, payload=flipped), *entries[1:]])


class DroppedEvent(Writer):
    """The last entry of a commit with more than one is left out."""

    def commit(self, entries: Sequence[Entry]) -> Committed:
        return super().commit(entries[:-1] or entries)


class SwappedEvents(Writer):
    """The lines of an entry come in another order."""

    def commit(self, entries: Sequence[Entry]) -> Committed:
        turned = [
            msgspec.structs.replace(entry, payload=b"\n".join(reversed(entry.payload.split(b"\n"))))
            for entry in entries
        ]
        return super().commit(turned)


class NamedBeforeItsHeader(Writer):
    """The rename comes before the header is written."""

    def _name_segment(self, number: int, file: File) -> Segment:
        temporary = f"log/spare-{number:016x}.tmp"
        name = f"log/{segment.file_name(self._numbers.next_offset, number)}"
        self._files.rename(temporary, name)
        with mock.patch.object(self._files, "rename"):
            return super()._name_segment(number, file)


class SyncedTooFar(Writer):
    """Frames say of themselves that they were durable when they were written."""

    def _write(self, prepared: Any) -> tuple[list[Frame], int]:
        def too_far(**fields: Any) -> list[bytes]:
            return _encode(**{**fields, "synced_end": fields["synced_end"] + 200})

        with mock.patch("gateway.queue.wal.writer.record.encode", too_far):
            return super()._write(prepared)


class SyncedAgain(Writer):
    """After a failure the same file is written and synced once more."""

    def commit(self, entries: Sequence[Entry]) -> Committed:
        with (
            mock.patch.object(self, "_give_up_file"),
            mock.patch.object(self, "_start_segment", return_value=self._active),
        ):
            return super().commit(entries)


class FailedBatchTrusted(Writer):
    """The header of the next segment vouches for the batch that the disk failed, too."""

    def _write(self, prepared: Any) -> tuple[list[Frame], int]:
        self._tried = sum(
            record.HEADER_BYTES + record.padded(len(item.subject.name) + len(item.stored)) for item in prepared
        )
        return super()._write(prepared)

    def _give_up_file(self, error: OSError) -> None:
        end = self._active.durable_end + self._tried
        self._active = msgspec.structs.replace(self._active, durable_end=end)
        super()._give_up_file(error)


class EmptySegmentsCount(Writer):
    """A segment without events is named as the one before the next, though a start takes it away."""

    def _seal(self) -> None:
        sealed = self._active
        super()._seal()
        self._previous = (sealed.segment_id, sealed.durable_end)


class ForgottenCheckpoint(Journal):
    """A tick is confirmed and not written."""

    def append(self, log_end: LogEnd, states: Sequence[CursorState]) -> None: ...


class LettersNotSynced(DeadLetterFile):
    """A dead letter is confirmed before it is durable."""

    def add(self, letters: Any) -> None:
        with mock.patch.object(DiskFile, "sync", _header_alone):
            super().add(letters)


class ReplayNotWrittenDown(DeadLetterFile):
    """A replay begins without a word of it beside the dead letters."""

    def begin_replay(self, numbers: Sequence[int], begin: int) -> None:
        with mock.patch.object(self, "_append"):
            super().begin_replay(numbers, begin)


class SettledBeforeItsLetter(WalConsumer):
    """The settlement of a dead letter is durable before the letter is."""

    async def settle_refused(self, refused: Sequence[Refused]) -> None:
        self._settle(sorted(item.position for item in refused), "dead_lettered")
        await self._log.checkpoint()
        with mock.patch.object(self, "_settle"):
            await super().settle_refused(refused)


class SettledTwice(Cursor):
    """A settlement counts double."""

    def settle(self, positions: Sequence[int], outcome: str) -> None:
        super().settle(positions, outcome)
        self._counters[outcome] += len(positions)


class FloorAheadOfTheSettled(Cursor):
    """What was handed out counts as settled in the checkpoint."""

    def state(self, **fields: Any) -> CursorState:
        state = super().state(**fields)
        return msgspec.structs.replace(state, floor=self.place)


class UnlinkedBeforeItsCheckpoint(WalQueue):
    """Segments go by what is settled in memory, durable or not."""

    def claims(self) -> list[Claim]:
        return [Claim(c.id, c.lanes, c._cursor.floor) for c in self._consumers.values()]


class RemovedInMemoryAlone(WalQueue):
    """The removal of a consumer is confirmed and not written."""

    async def remove_consumer(self, consumer_id: str) -> None:
        self._listeners[self._consumers.pop(consumer_id).tenant_id].clear()


def tail_not_cut(files: Any, *, log_id: bytes, proven: dict[int, int]) -> Recovered:
    """The whole of the last segment counts as trusted, torn or not."""
    recovered = recovery.recover(files, log_id=log_id, proven=proven)
    number, _ = recovered.previous
    sizes = {item.segment_id: item.file_bytes for item in recovered.segments}
    return msgspec.structs.replace(recovered, previous=(number, sizes.get(number, 0)))


class ForgetfulNumbers(Numbers):
    def raise_to(self, other: Numbers) -> None: ...


def numbers_begin_anew(files: Any, *, log_id: bytes, proven: dict[int, int]) -> Recovered:
    """Numbers come from the segments that are there; those of removed ones are used again."""
    recovered = recovery.recover(files, log_id=log_id, proven=proven)
    known = recovered.numbers
    forgetful = ForgetfulNumbers(known.next_offset, known.next_stream_sequence, known.next_sequence)
    return msgspec.structs.replace(recovered, numbers=forgetful)


def last_needed_frame_left_out(files: Any, old: Segment, need: Need) -> list[segment.Located]:
    """A compaction forgets one frame that somebody needs."""
    return _needed_frames(files, old, need)[:-1]


def explored(lab: Lab, name: str) -> list[str]:
    """What the explorer of crash states says first of a workload. Each log has a random name, and with it other bytes
    to tear: where one look sees nothing, others follow.
    """
    roomy = Lab(ROOMY, lab.files_type)
    explorer = Explorer(roomy, dice=1, violations_max=4)
    script = Script(lab)
    with suppress(AssertionError):  # some are so wrong that the workload cannot go on: what came before is enough
        WORKLOADS[name](script)
    for look in range(4):
        if not explorer.report.violations:
            explorer.explore(name, script.recording(), stride=3 - look % 3, seed=look)
    roomy.close()
    return [violation.split(": ", 1)[1] for violation in explorer.report.violations]


def swept(lab: Lab) -> list[str]:
    """What the sweep of faults says first."""
    roomy = Lab(ROOMY, lab.files_type)
    wrong: list[str] = []
    for at in range(0, 400, 3):
        disk = SimulatedDisk(seed=at)
        disk.fault = Countdown(at, errno.EIO)
        trial = Trial(roomy, disk, seed=at)
        trial.run()
        wrong = [f"failed file: {text}" for text in disk.violations]
        if not wrong:
            trial.heal()
            wrong = [text.removeprefix("at the fault: ") for text in trial.wrong()]
        if wrong:
            break
    roomy.close()
    return wrong


def failed_twice(lab: Lab) -> list[str]:
    return [text for seed in range(10) for text in batch_that_failed_twice(lab, seed)]


class Mutant(NamedTuple):
    """``target`` is what is replaced, ``trial`` what must see it, ``check`` the check that does."""

    replacement: Any
    target: str
    trial: Callable[[Lab], list[str]]
    check: str


def on_small(lab: Lab) -> list[str]:
    return explored(lab, "small")


def on_large(lab: Lab) -> list[str]:
    return explored(lab, "large")


MUTANTS = [
    Mutant(AcknowledgedBeforeTheSync, FILE, on_small, "missing"),
    Mutant(FolderNotSynced, "", on_small, "corrupt"),
    Mutant(HeaderNotSynced, FILE, on_small, "corrupt"),
    Mutant(NamedBeforeItsHeader, WRITER, on_small, "corrupt"),
    Mutant(SyncedTooFar, WRITER, on_small, "corrupt"),
    Mutant(tail_not_cut, RECOVER, on_small, "corrupt"),
    Mutant(SyncedAgain, WRITER, swept, "failed file"),
    Mutant(FailedBatchTrusted, WRITER, swept, "corrupt"),
    Mutant(EmptySegmentsCount, WRITER, failed_twice, "missing"),
    Mutant(numbers_begin_anew, RECOVER, on_large, "books"),
    Mutant(ForgottenCheckpoint, JOURNAL, on_small, "consumer"),
    Mutant(FloorAheadOfTheSettled, CURSOR, on_small, "missing"),
    Mutant(UnlinkedBeforeItsCheckpoint, QUEUE, on_large, "books"),
    Mutant(RemovedInMemoryAlone, QUEUE, on_small, "consumer"),
    Mutant(LettersNotSynced, LETTERS, on_small, "settled again"),
    Mutant(ReplayNotWrittenDown, LETTERS, on_small, "letters"),
    Mutant(SettledBeforeItsLetter, CONSUMER, on_small, "letters"),
    Mutant(SettledTwice, CURSOR, on_small, "books"),
    Mutant(DroppedEvent, WRITER, on_small, "missing"),
    Mutant(FlippedByte, WRITER, on_small, "bytes"),
    Mutant(SwappedEvents, WRITER, on_small, "order"),
    Mutant(last_needed_frame_left_out, NEEDED, on_large, "missing"),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.replacement.__name__)
def test_a_broken_promise_is_seen(lab: Lab, mutant: Mutant) -> None:
    """The queue with this mutant in it does not pass, and the check that names it is the one that is meant."""
    with _replaced(mutant, lab):
        wrong = mutant.trial(lab)
    assert wrong, "nobody saw it"
    assert mutant.check in {text.partition(":")[0] for text in wrong}, wrong[:5]


@contextmanager
def _replaced(mutant: Mutant, lab: Lab) -> Iterator[None]:
    if not mutant.target:
        lab.files_type = mutant.replacement
        yield
        return
    replacement = mutant.replacement
    if mutant.target == JOURNAL:
        replacement = partial(replacement, journal_bytes=24 << 10)
    with mock.patch(mutant.target, replacement):
        yield
