"""One life of the whole queue on a simulated disk, from opening to a crash, with an oracle beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from structlog.testing import capture_logs

from gateway.config import Queue
from gateway.errors import Overloaded
from gateway.quantity import Bytes
from gateway.queue import Consumer, Entry, GapReason, Records, Refused, Subject, SubjectKind
from gateway.queue.wal.consumer import WalConsumer
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Event, Metrics
from tests.clock import ManualClock
from tests.crash.oracle import Book, Found, Oracle, id_of, is_dull, passing
from tests.inline_threads import InlineLoop
from tests.simulated_disk import SimulatedDisk

T = TypeVar("T")

ROOT = Path("/data")
# The smallest segments there are, and a budget of which eviction begins at four of them.
SETTINGS = Queue(
    disk_budget_bytes=Bytes(1792 << 10),
    segment_bytes=Bytes(256 << 10),
    tail_bytes=Bytes(4 << 10),
    compression_level=0,
)


class Faulty(Exception):
    """What an operation on a failing disk raised, as expected; everything else is a bug."""


class Lab:
    """What lives share that cost time to make. ``files_type`` is DiskFiles, or a mutant of it."""

    def __init__(self, settings: Queue = SETTINGS, files_type: type[DiskFiles] = DiskFiles) -> None:
        self.loop = InlineLoop()
        self.metrics = Metrics()
        self.settings = settings
        self.files_type = files_type

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        self.loop.close()


class Life:
    """Methods are the operations of the queue; each notes in the oracle what was asked and what was answered.

    ``marks`` are copies of the oracle with the length of the disk's trace at which they were true.
    """

    def __init__(self, lab: Lab, disk: SimulatedDisk, oracle: Oracle, *, marking: bool = False) -> None:
        self.lab, self.disk, self.oracle = lab, disk, oracle
        self.marks: list[tuple[int, Oracle]] = []
        self.clock = ManualClock()
        self.corrupt: list[Mapping[str, Any]] = []
        self._marking = marking
        self._mark()
        with capture_logs() as logs:
            self.queue: WalQueue = lab.run(
                open_queue(lab.files_type(ROOT, disk), lab.settings, clock=self.clock, metrics=lab.metrics)
            )
        self.corrupt += [line for line in logs if line["event"] == Event.LOG_CORRUPT]

    # -- operations

    def add_consumer(self, name: str, tenant: str) -> None:
        book = self.oracle.books.setdefault(name, Book(tenant))
        self._mark()
        self._do(self.queue.add_consumer(name, tenant))
        if book.state == "adding":
            book.state = "there"
        self._mark()

    def append(self, *parcels: tuple[str, int, int], kind: SubjectKind = SubjectKind.TENANT) -> None:
        """Parcels are (subject's name, events, bytes of padding), all in one append."""
        entries, ids = self.entries(parcels, kind)
        self.handed_over(ids)
        self._do(self.queue.append(entries))
        self.acknowledged(ids)

    def append_together(self, *parcels: tuple[str, int, int]) -> None:
        """Each parcel an append of its own, all at once: the first is a commit, the rest share the next one."""
        made = [self.entries([parcel], SubjectKind.TENANT) for parcel in parcels]
        for _, ids in made:
            self.handed_over(ids)

        async def one(entries: Sequence[Entry], ids: Mapping[str, list[Book]]) -> None:
            await self.queue.append(entries)
            self.acknowledged(ids)

        async def all_of_them() -> None:
            await asyncio.gather(*(one(*item) for item in made))

        self._do(all_of_them())

    def entries(
        self, parcels: Sequence[tuple[str, int, int]], kind: SubjectKind
    ) -> tuple[list[Entry], dict[str, list[Book]]]:
        entries, ids = [], {}
        for name, count, padding in parcels:
            lines = []
            for _ in range(count):
                event_id = f"{name}-{len(self.oracle.lines)}"
                lines.append(b'{"id":"%s","p":"%s"}' % (event_id.encode(), _padding(event_id, padding)))
                self.oracle.lines[event_id] = lines[-1]
                readers = self.oracle.readers_of(name) if kind is SubjectKind.TENANT else [self.oracle.books[name]]
                ids[event_id] = readers
            entries.append(Entry(Subject(kind, name), b"\n".join(lines), count))
        return entries, ids

    def handed_over(self, ids: Mapping[str, list[Book]]) -> None:
        for event_id, readers in ids.items():
            for book in readers:
                book.maybe.add(event_id)
        self._mark()

    def acknowledged(self, ids: Mapping[str, list[Book]]) -> None:
        for event_id, readers in ids.items():
            for book in readers:
                book.accepted[event_id] = None
                book.may_be_filtered()
        self._mark()

    def set_filter(self, name: str, is_on: bool) -> None:
        async def change() -> None:
            self.consumer(name).set_filter(passing if is_on else None)

        book = self.oracle.books[name]
        book.filters = is_on
        book.may_be_filtered()
        self._mark()
        self._do(change())

    def take(self, name: str, events_max: int = 1000) -> Records | None:
        records = self._do(self.consumer(name).take(events_max=events_max, bytes_max=1 << 20))
        book = self.oracle.books[name]
        for event_id in map(id_of, records.lines if records is not None else ()):
            self._seen(event_id)
            assert not (book.filters and is_dull(event_id)), "the filter was passed by"
            if book.ending.get(event_id) == "filtered" and event_id not in book.ended:
                del book.ending[event_id]
        return records

    def settle(self, name: str, records: Records, outcome: str, indexes: Sequence[int] | None = None) -> None:
        """End events of a batch as delivered or dead-lettered; the rest is given back."""
        book, consumer = self.oracle.books[name], self.consumer(name)
        chosen = range(len(records.positions)) if indexes is None else indexes
        ids = [id_of(records.lines[at]) for at in chosen]
        positions = [records.positions[at] for at in chosen]
        if outcome == "dead_lettered":
            book.ending |= dict.fromkeys(ids, outcome)
            self._mark()
            refused = [Refused(records.positions[at], records.lines[at], "400", "no") for at in chosen]
            try:
                self._do(consumer.settle_refused(refused))
            except Faulty:
                book.letters_failed |= set(ids)
                consumer.release(records.positions)
                raise
            book.durable |= dict.fromkeys(ids, outcome)
            book.letters_deleted -= set(ids)
        else:
            consumer.settle_delivered(positions)
        for event_id in ids:
            book.ending.pop(event_id, None)
            book.ended[event_id] = outcome
        consumer.release([position for position in records.positions if position not in set(positions)])
        book.may_be_filtered()
        self._mark()

    def deliver(self, name: str, events_max: int = 1000) -> None:
        while (records := self.take(name, events_max)) is not None:
            self.settle(name, records, "delivered")

    def settle_refused_of(self, name: str, count: int) -> None:
        """Dead-letter the next ones."""
        records = self.take(name, count)
        if records is not None:
            self.settle(name, records, "dead_lettered")

    def drop(self, name: str) -> None:
        book = self.oracle.books[name]
        waiting = book.waiting()
        perhaps = [event_id for event_id in waiting if book.ending.get(event_id) == "filtered"]
        book.ending = dict.fromkeys([*waiting, *book.replaying], "dropped") | book.ending
        self._mark()
        dropped = self._do(self.consumer(name).drop_pending(GapReason.DISABLED))
        assert len(waiting) - len(perhaps) <= dropped <= len(waiting) + len(book.replaying)
        self._ended(book, waiting, "dropped")

    def checkpoint(self) -> None:
        ended = {name: dict(book.ended) for name, book in self.oracle.books.items()}
        self._do(self.queue.checkpoint())
        for name, book in self.oracle.books.items():
            book.durable |= ended[name]
        self._mark()

    def retain(self, failing: Sequence[str] = ()) -> None:
        """A round of removal, eviction and compaction. Which events were evicted is told by the ledger."""
        books = [(self.consumer(name), self.oracle.books[name]) for name in failing]
        for consumer, book in books:
            consumer.set_failing(True)
            book.ending |= dict.fromkeys(book.waiting(), "dropped")
        before = [consumer.ledger().dropped for consumer, _ in books]
        self._mark()
        self._do(self.queue.space.retain())
        for (consumer, book), dropped in zip(books, before, strict=True):
            gone = book.waiting()[: consumer.ledger().dropped - dropped]
            consumer.set_failing(False)
            self._ended(book, gone, "dropped")

    def remove_consumer(self, name: str) -> None:
        self.oracle.books[name].state = "removing"
        self._mark()
        self._do(self.queue.remove_consumer(name))
        self.oracle.books[name].state = "gone"
        self._mark()

    def replay(self, name: str, event_ids: Sequence[str]) -> None:
        book, consumer = self.oracle.books[name], self.consumer(name)
        letters = self._do(consumer.dead_letters(limit=10_000))
        numbers = [letter.number for letter in letters if letter.event_id in event_ids]
        book.replaying |= set(event_ids)
        book.may_be_filtered()
        self._mark()
        assert self._do(consumer.replay_dead_letters(numbers)) == len(event_ids)
        book.replaying -= set(event_ids)
        book.replayed |= set(event_ids)
        for event_id in event_ids:
            book.ended.pop(event_id)
            book.durable.pop(event_id)
        book.may_be_filtered()
        self._mark()

    def delete_letters(self, name: str, event_ids: Sequence[str]) -> None:
        book, consumer = self.oracle.books[name], self.consumer(name)
        letters = self._do(consumer.dead_letters(limit=10_000))
        numbers = [letter.number for letter in letters if letter.event_id in event_ids]
        book.letters_deleting |= set(event_ids)
        self._mark()
        self._do(consumer.delete_dead_letters(numbers))
        book.letters_deleting -= set(event_ids)
        book.letters_deleted |= set(event_ids)
        self._mark()

    def set_memo(self, name: str, size: int) -> None:
        """Something to checkpoint, of so many bytes."""
        self.consumer(name).set_memo(b"%d" % len(self.disk.trace) + bytes(size))

    def close(self) -> None:
        """A clean end: everything that ended is durable after it, unless it was said that the checkpoint failed."""
        with capture_logs() as logs:
            self.lab.run(self.queue.close())
        if Event.CHECKPOINT_FAILED not in [line["event"] for line in logs]:
            for book in self.oracle.books.values():
                book.durable |= book.ended
        self._mark()

    # -- what it shows

    def findings(self) -> dict[str, Found]:
        """Everything that each consumer says and has to hand out. What was taken is given back."""
        return {name: self._do(self._findings(self.consumer(name))) for name in self.queue.consumer_ids()}

    async def _findings(self, consumer: WalConsumer) -> Found:
        ledger = consumer.ledger()
        letters = await consumer.dead_letters(limit=10_000)
        lines: list[bytes] = []
        positions: list[int] = []
        while (records := await consumer.take(events_max=1000, bytes_max=1 << 20)) is not None:
            lines += records.lines
            positions += records.positions
        consumer.release(positions)
        return Found(consumer.tenant_id, ledger, await consumer.gaps(), letters, lines)

    def consumer(self, name: str) -> WalConsumer:
        consumer: Consumer | None = self.queue.consumer(name)
        assert isinstance(consumer, WalConsumer)
        return consumer

    # -- inside

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with capture_logs() as logs:
            try:
                return self.lab.run(coroutine)
            except (OSError, Overloaded) as error:
                raise Faulty(str(error)) from error
            finally:
                self.corrupt += [line for line in logs if line["event"] == Event.LOG_CORRUPT]

    def _seen(self, event_id: str) -> None:
        """What is handed out is durable, also where its producer has no answer: nothing may take it back."""
        for book in self.oracle.books.values():
            if event_id in book.maybe:
                book.accepted[event_id] = None

    def _ended(self, book: Book, ids: Sequence[str], outcome: str) -> None:
        book.ended |= dict.fromkeys(ids, outcome)
        book.ending = {name: how for name, how in book.ending.items() if how != outcome or name in book.replaying}
        self._mark()

    def _mark(self) -> None:
        if self._marking:
            self.marks.append((len(self.disk.trace), self.oracle.copy()))


def _padding(event_id: str, size: int) -> bytes:
    """Bytes that differ from event to event, so that one taken for another is seen."""
    return (event_id.encode() * (size // len(event_id) + 1))[:size]
