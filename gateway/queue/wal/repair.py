"""What an operator may do to a damaged directory while no gateway runs on it. Blocks.

A start needs none of this: it reads around damage each time. A repair does what a start does first (META, indexes,
leftovers, the end of the last segment) and then rewrites what is damaged to what is sound of it, so that later reads
meet no damage. What consumers lost is booked at the next start, since the numbers of the frames tell it. Checkpoints
are left alone: each start writes them anew, and must know that they were damaged.

Interrupted at any point it leaves a directory that opens: a file is taken away only when its successor is durable.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import compaction, damage, journal, meta
from gateway.queue.wal.dead_letter_folder import consumer_ids
from gateway.queue.wal.dead_letters import DeadLetterFile
from gateway.queue.wal.files import DiskFiles, Files
from gateway.queue.wal.index import Segment
from gateway.queue.wal.inspect import DamageReport, Inspector
from gateway.queue.wal.recovery import recover
from gateway.queue.wal.retention import Need
from gateway.queue.wal.system import ReadingAround


class Repair(msgspec.Struct, frozen=True):
    """What was found, and for each file what was done with it."""

    damage: list[DamageReport]
    done: list[str]


def repair_directory(path: Path) -> Repair:
    """Mend what can be mended. Raises DataDirectoryInUse while a gateway runs on it, LogCorrupt or OSError."""
    files = DiskFiles(path, ReadingAround())
    files.lock("LOCK")
    try:
        return repair(files)
    finally:
        files.unlock()


def repair(files: Files) -> Repair:
    """As ``repair_directory``, under a lock that is held."""
    found = Inspector(files).run().damage
    damaged = {item.file for item in found if item.file != "log/"}
    log_id = meta.establish(files)
    restored = journal.recovered(files, log_id)
    recovered = recover(files, log_id=log_id, proven=restored.proven)
    restored.numbers.raise_to(recovered.numbers)
    done = [f"{meta.NAME}: made anew"] if meta.NAME in damaged else []
    done += [f"{name}: made anew" for name in sorted(damaged) if name.endswith(".idx") and files.exists(name)]
    number = recovered.next_segment_id
    for item in recovered.segments:
        if item.name in damaged:
            done.append(_rewrite(files, item, log_id, number))
            number += 1
    done += [
        _put_away(files, name) for name in _unreadable(files, {item.name for item in recovered.segments}) & damaged
    ]
    for consumer_id in consumer_ids(files):
        if f"dead-letters/{consumer_id}.log" in damaged:
            replay_end = restored.numbers.next_sequence.get(Subject(SubjectKind.REPLAY, consumer_id), 0)
            known = restored.states.get(consumer_id)
            letters = DeadLetterFile(
                files,
                log_id=log_id,
                consumer_id=consumer_id,
                replay_end=replay_end,
                replayed=known.replayed_letters if known is not None else (),
            )
            letters.mend()
            letters.close()
            done.append(f"dead-letters/{consumer_id}.log: rewritten with the {len(letters)} that are sound")
    done += [f"{name}: left to the next start" for name in sorted(damaged) if name.startswith("cursors/")]
    return Repair(found, done)


def _unreadable(files: Files, readable: set[str]) -> set[str]:
    """Segments without a sound header, of which nothing can be read."""
    return {f"log/{name}" for name in files.names("log") if name.endswith(".seg")} - readable


def _put_away(files: Files, name: str) -> str:
    files.names(damage.FOLDER)  # makes it
    aside = damage.piece_name(name, 0) + ".whole"
    files.rename(name, aside)
    return f"{name}: moved to {aside}, since nothing of it can be read"


def _rewrite(files: Files, old: Segment, log_id: bytes, number: int) -> str:
    everything = Need(dict.fromkeys(old.shares or {}, 0), from_stream=0)
    new = compaction.rewrite(files, old, everything, log_id=log_id, segment_id=number, now_us=0)
    files.unlink([old.name, old.index_name])
    sound = sum(share.events for share in (new.shares or {}).values())
    return f"{old.name}: rewritten as {new.name} with the {sound} events that are sound"
