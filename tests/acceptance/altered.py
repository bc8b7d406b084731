"""``python -m tests.acceptance.altered ALTERATION serve``: the gateway with one part exchanged, to see whether the
tests notice.

Each of the faults is a subclass here and no switch in the product.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway import app
from gateway.cli import main
from gateway.clock import SystemClock
from gateway.queue import Entry, Records
from gateway.queue.wal import log, opening
from gateway.queue.wal.consumer import WalConsumer
from gateway.queue.wal.cursor import CursorState
from gateway.queue.wal.files import DiskFiles, File
from gateway.queue.wal.journal import Journal, LogEnd
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.writer import Writer, _Prepared

_LATE_S = 0.3


class LosesAtIntake(WalQueue):
    """Every tenth batch is stored without its last event."""

    _appends = itertools.count(1)

    async def append(self, entries: Sequence[Entry]) -> None:
        last = entries[-1]
        if next(self._appends) % 10 == 0 and last.count > 1:
            shorter = Entry(last.subject, last.payload.rpartition(b"\n")[0], last.count - 1)
            entries = [*entries[:-1], shorter]
        await super().append(entries)


class LosesAtDelivery(WalConsumer):
    """Of every tenth batch the last event is settled and not handed out. The books balance."""

    _takes = itertools.count(1)

    async def take(self, *, events_max: int, bytes_max: int) -> Records | None:
        records = await super().take(events_max=events_max, bytes_max=bytes_max)
        if records is None or len(records.lines) < 2 or next(self._takes) % 10:
            return records
        self.settle_delivered(records.positions[-1:])
        return Records(records.positions[:-1], records.lines[:-1], records.oldest_time_s)


class CountsTwice(WalConsumer):
    """Every tenth settlement is counted twice."""

    _settlements = itertools.count(1)

    def _settle(self, positions: Sequence[int], counter: str) -> None:
        super()._settle(positions, counter)
        if next(self._settlements) % 10 == 0:
            self._cursor._counters[counter] += len(positions)


class FlipsAByte(Writer):
    """Some bytes of every tenth frame are others before its checksum is made."""

    _made = itertools.count(1)

    def _prepare(self, entries: Sequence[Entry]) -> list[_Prepared]:
        return [self._flipped(item) if next(self._made) % 10 == 0 else item for item in super()._prepare(entries)]

    @staticmethod
    def _flipped(item: _Prepared) -> _Prepared:
        at = item.payload.rindex(b"user-1")
        payload = item.payload[:at] + b"uses" + item.payload[at + 4 :]
        return item._replace(payload=payload, stored=payload)


class ForgetsCheckpoints(Journal):
    """Once it has written some ticks, it takes the others for written."""

    _ticks = itertools.count(1)

    def append(self, log_end: LogEnd, states: Sequence[CursorState]) -> None:
        if next(self._ticks) < 15:
            super().append(log_end, states)


class JumpingClock(SystemClock):
    """The wall clock is off by as many seconds as the file that ``CLOCK_OFF_BY`` names says at this moment."""

    def time_s(self) -> float:
        return super().time_s() + float(Path(os.environ["CLOCK_OFF_BY"]).read_text())


class HeldBackFile:
    """Written bytes stay in this process until they are synced, so that kill -9 does to them what a power cut does."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._held: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()

    def write_at(self, position: int, buffers: Sequence[bytes]) -> None:
        self._held.append((position, b"".join(buffers)))

    def sync(self, probe: int) -> None:
        self._write_out()
        self._file.sync(probe)

    def read_at(self, position: int, size: int) -> bytes:
        return self._file.read_at(position, size)

    def size(self) -> int:
        return self._file.size()

    def forget_cached(self) -> None:
        self._file.forget_cached()

    def close(self) -> None:
        self._file.close()

    def _write_out(self) -> None:
        with self._lock:
            held, self._held = self._held, []
            for position, content in held:
                self._file.write_at(position, [content])


class LateFile(HeldBackFile):
    """Says that it is synced and begins to write a little later."""

    def sync(self, probe: int) -> None:
        threading.Timer(_LATE_S, self._write_out).start()

    def close(self) -> None:
        self._write_out()
        super().close()


class HoldsBack(DiskFiles):
    """No fault: what was not synced is lost with the process, and nothing else."""

    kind: Callable[[File], HeldBackFile] = HeldBackFile

    def create(self, name: str, size: int) -> File:
        return type(self).kind(super().create(name, size))

    def open(self, name: str, *, writable: bool = False) -> File:
        file = super().open(name, writable=writable)
        return type(self).kind(file) if writable else file


class AnswersBeforeTheSync(HoldsBack):
    kind = LateFile


ALTERATIONS: dict[str, tuple[object, str, type]] = {
    "nothing": (app, "DiskFiles", DiskFiles),
    "holds-back": (app, "DiskFiles", HoldsBack),
    "clock-jumps": (app, "SystemClock", JumpingClock),
    "loses-at-intake": (opening, "WalQueue", LosesAtIntake),
    "loses-at-delivery": (log, "WalConsumer", LosesAtDelivery),
    "counts-twice": (log, "WalConsumer", CountsTwice),
    "flips-a-byte": (opening, "Writer", FlipsAByte),
    "forgets-checkpoints": (log, "Journal", ForgetsCheckpoints),
    "answers-before-the-sync": (app, "DiskFiles", AnswersBeforeTheSync),
}

if __name__ == "__main__":
    module, exchanged, replacement = ALTERATIONS[sys.argv.pop(1)]
    setattr(module, exchanged, replacement)
    main()
