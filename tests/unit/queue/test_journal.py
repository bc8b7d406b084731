"""How large a journal is made, and when the next one begins."""

from __future__ import annotations

import errno

from gateway.queue import Counters
from gateway.queue.wal.cursor import CursorState, Place
from gateway.queue.wal.journal import Journal, LogEnd, restore
from tests.memory_files import MemoryFile, MemoryFiles

LOG_ID = bytes(range(16))
USUAL_BYTES = 16 << 10
END = LogEnd(1, 4096, 0, 0, [])
START = Place(0, 0, 0, 0)


class Disk(MemoryFiles):
    """With room for files of ``bytes_max``."""

    bytes_max = 1 << 30

    def create(self, name: str, size: int) -> MemoryFile:
        if size > self.bytes_max:
            raise OSError(errno.ENOSPC, "no space")
        return super().create(name, size)

    def journal_bytes(self) -> list[int]:
        return [len(content) for name, content in sorted(self.contents.items()) if name.endswith(".journal")]


def states(runs: int, *, floor: int = 0, count: int = 20) -> list[CursorState]:
    settled = [(floor + 2 * run + 1, floor + 2 * run + 2) for run in range(runs)]
    at = Place(floor, floor, 0, 0)
    return [CursorState(f"siem_{number}", "a", START, at, settled, Counters()) for number in range(count)]


def begun(disk: Disk, snapshot: list[CursorState]) -> Journal:
    return Journal(disk, log_id=LOG_ID, generation=0, states=snapshot, log_end=END, journal_bytes=USUAL_BYTES)


def ticks_that_fit(journal: Journal, changed: list[CursorState]) -> int:
    ticks = 0
    while journal.fits(END, changed):
        journal.append(END, changed)
        ticks += 1
    return ticks


def test_a_journal_is_several_times_as_large_as_its_snapshot() -> None:
    """However much consumers keep: ticks are appended, also when all of them have changed in each."""
    disk = Disk()
    journal = begun(disk, states(1000))
    assert disk.journal_bytes()[0] > 2 * USUAL_BYTES
    assert ticks_that_fit(journal, states(1000)) >= 2
    journal.begin(END, states(1000))
    assert ticks_that_fit(journal, states(1000, count=1)) >= 40


def test_a_journal_has_the_usual_size_where_snapshots_are_small() -> None:
    """It is used to its end."""
    disk = Disk()
    journal = begun(disk, states(1))
    while journal.fits(END, states(1)):
        journal.append(END, states(1))
    assert disk.journal_bytes() == [USUAL_BYTES]
    assert USUAL_BYTES - journal._position < 4096


def test_no_tick_is_written_behind_the_end_of_a_small_journal() -> None:
    """On a full disk the file is smaller than usual, and there is no room to let it grow."""
    disk = Disk()
    disk.bytes_max = USUAL_BYTES - 1
    journal = begun(disk, states(1))
    (made,) = disk.journal_bytes()
    assert made < USUAL_BYTES
    assert ticks_that_fit(journal, states(1, floor=7)) >= 1
    assert disk.journal_bytes() == [made]
    assert {state.floor.tenant for state in restore(disk, LOG_ID).states.values()} == {7}


def test_a_journal_has_its_usual_size_again_once_there_is_space() -> None:
    """The next generation does not take after the one before."""
    disk = Disk()
    disk.bytes_max = USUAL_BYTES - 1
    journal = begun(disk, states(1))
    disk.bytes_max = 1 << 30
    journal.begin(END, states(1))
    assert disk.journal_bytes()[-1] == USUAL_BYTES
    while journal.fits(END, states(1)):
        journal.append(END, states(1))
    assert USUAL_BYTES - journal._position < 4096
