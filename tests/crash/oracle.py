"""What the queue was told and what it has promised, noted by the test at the moment of each answer.

The oracle never reads the queue's files. Where an operation is under way when the power goes, it allows both ends.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.queue import DeadLetter, Gap, GapReason, Ledger

OUTCOMES = ("delivered", "dead_lettered", "dropped", "filtered")


@dataclass
class Book:
    """One consumer. Events stand under their ids.

    ``accepted`` are acknowledged; ``maybe`` were handed over and not acknowledged. ``ended`` is how they ended in
    memory, ``durable`` those of them that no crash may take back, ``ending`` how an operation under way may end them.
    """

    tenant: str
    state: str = "adding"  # then there, removing, gone
    accepted: dict[str, None] = field(default_factory=dict)
    maybe: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    durable: dict[str, str] = field(default_factory=dict)
    ending: dict[str, str] = field(default_factory=dict)
    replayed: set[str] = field(default_factory=set)
    replaying: set[str] = field(default_factory=set)
    letters_failed: set[str] = field(default_factory=set)  # the disk failed while they were stored: they may be
    letters_deleted: set[str] = field(default_factory=set)
    letters_deleting: set[str] = field(default_factory=set)
    filters: bool = False  # dull events are left out, at a time that is the queue's affair

    def may_be_filtered(self) -> None:
        """Note that the dull ones that wait may end, or have ended, as filtered."""
        if self.filters:
            self.ending |= dict.fromkeys(filter(is_dull, [*self.waiting(), *self.replaying]), "filtered")

    def waiting(self) -> list[str]:
        return [name for name in self.accepted if name not in self.ended]


@dataclass
class Found:
    """What a consumer of a reopened queue says, and what it handed out."""

    tenant: str
    ledger: Ledger
    gaps: list[Gap]
    letters: list[DeadLetter]
    lines: list[bytes]


class Oracle:
    def __init__(self) -> None:
        self.lines: dict[str, bytes] = {}
        self.books: dict[str, Book] = {}

    def copy(self) -> Oracle:
        other = Oracle()
        other.lines = self.lines  # only grows
        other.books = copy.deepcopy(self.books)
        return other

    def readers_of(self, tenant: str) -> list[Book]:
        return [book for book in self.books.values() if book.tenant in (tenant, "*") and book.state == "there"]

    def go_on_from(self, found: Mapping[str, Found]) -> None:
        """After a crash in which nothing was wrong: what it left is the truth now, and durable."""
        for name, book in self.books.items():
            if book.state in ("adding", "removing"):
                book.state = "there" if name in found else "gone"
            if name not in found:
                continue
            out = [id_of(line) for line in found[name].lines]
            book.accepted |= dict.fromkeys(out)
            for event_id in out:
                book.ended.pop(event_id, None)
                book.durable.pop(event_id, None)
            for event_id in book.ending.keys() & book.accepted.keys() - set(out) - book.ended.keys():
                book.ended[event_id] = book.ending.pop(event_id)
            book.ending = {event_id: how for event_id, how in book.ending.items() if event_id in book.ended}
            book.replayed |= book.replaying & set(out)
            book.replaying.clear()
            book.durable = dict(book.ended)

    def differences(self, found: Mapping[str, Found]) -> list[str]:
        """What a reopened queue must not show, each with the name of the check first."""
        wrong = []
        for name, book in self.books.items():
            if name in found:
                if book.state == "gone":
                    wrong.append(f"consumer: {name} is back though its removal was confirmed")
                else:
                    wrong += [f"{text} ({name})" for text in self._of_consumer(book, found[name])]
            elif book.state == "there":
                wrong.append(f"consumer: {name} is gone")
        wrong += [f"consumer: {name} was never made" for name in found if name not in self.books]
        return wrong

    def _of_consumer(self, book: Book, found: Found) -> list[str]:
        wrong = []
        if found.tenant != book.tenant:
            wrong.append(f"consumer: has tenant {found.tenant}")
        handed_out = [id_of(line) for line in found.lines]
        wrong += self._of_lines(book, found.lines, handed_out)
        out = set(handed_out)
        settled = [name for name in book.accepted if name not in out]
        for name in settled:
            if name not in book.ended and name not in book.ending:
                wrong.append(f"missing: the acknowledged event {name} was not handed out")
        for name in out & book.durable.keys() - book.replaying:
            wrong.append(f"settled again: {name}, which is durably {book.durable[name]}, was handed out")
        wrong += _of_books(book, found, handed_out, settled)
        return wrong + _of_letters(book, found, settled, out)

    def _of_lines(self, book: Book, lines: Iterable[bytes], handed_out: list[str]) -> list[str]:
        wrong = []
        for name, line in zip(handed_out, lines, strict=True):
            if name not in book.accepted and name not in book.maybe:
                wrong.append(f"invented: {name} was never this consumer's")
            elif self.lines[name] != line:
                wrong.append(f"bytes: {name} has other bytes than were sent")
        for name, times in Counter(handed_out).items():
            if times > 1:
                wrong.append(f"twice: {name} was handed out {times} times")
        again = book.replayed | book.replaying
        first_time = [name for name in handed_out if name in self.lines and name not in again]
        for lane in {lane_of(name) for name in first_time}:
            numbers = [number_of(name) for name in first_time if lane_of(name) == lane]
            if numbers != sorted(numbers):
                wrong.append(f"order: the events of {lane} came out of order")
        return wrong


def _of_books(book: Book, found: Found, handed_out: list[str], settled: list[str]) -> list[str]:
    ledger, wrong = found.ledger, []
    if not ledger.balanced:
        wrong.append(f"books: not balanced: {ledger}")
    surprises = len({name for name in handed_out if name in book.maybe and name not in book.accepted})
    if ledger.accepted != len(book.accepted) + surprises:
        wrong.append(f"books: {ledger.accepted} accepted, not {len(book.accepted)} and {surprises} unacknowledged")
    if ledger.pending != len(handed_out):
        wrong.append(f"books: {ledger.pending} pending and {len(handed_out)} handed out")
    sure, open_ends = _ends(book, settled)
    for outcome in OUTCOMES:
        counted = getattr(ledger, outcome)
        if not sure[outcome] <= counted <= sure[outcome] + open_ends:
            wrong.append(f"books: {counted} {outcome}, not {sure[outcome]} (and up to {open_ends} more)")
    if sum(gap.count for gap in found.gaps) != ledger.dropped:
        wrong.append(f"gaps: they add up to {sum(gap.count for gap in found.gaps)} of {ledger.dropped} dropped")
    if any(gap.reason is GapReason.CORRUPT for gap in found.gaps):
        wrong.append("corrupt: a gap says that events are damaged, and nothing is")
    return wrong


def _ends(book: Book, settled: list[str]) -> tuple[Counter[str], int]:
    """How many events ended in each way for sure, and how many in one of several."""
    sure: Counter[str] = Counter()
    open_ends = 0
    for name in settled:
        ways = {outcome for outcome in (book.ended.get(name), book.ending.get(name)) if outcome is not None}
        if name in book.letters_failed:
            ways.add("dead_lettered")
        if len(ways) == 1:
            sure[ways.pop()] += 1
        else:
            open_ends += 1
    return sure, open_ends


def _of_letters(book: Book, found: Found, settled: list[str], out: set[str]) -> list[str]:
    kept = {letter.event_id for letter in found.letters}
    refused = {name for name in settled if "dead_lettered" in (book.ended.get(name), book.ending.get(name))}
    sure = {name for name in refused if {book.ended.get(name), book.ending.get(name)} <= {"dead_lettered", None}}
    loose = book.letters_deleting | book.replaying | book.letters_failed
    losable = book.letters_deleting | book.letters_deleted
    wrong = [f"letters: {name} is a dead letter and handed out" for name in kept & out]
    wrong += [f"letters: {name} is not kept" for name in sure - kept - losable]
    unasked = kept - refused - loose - {name for name, how in book.ending.items() if how == "dead_lettered"}
    wrong += [f"letters: {name} is kept" for name in unasked | (kept & book.letters_deleted)]
    if len(kept) != len(found.letters):
        wrong.append("letters: an event is kept twice")
    return wrong


def id_of(line: bytes) -> str:
    """The tests' events begin with their id."""
    return line[7 : line.index(b'"', 7)].decode()


def is_dull(name: str) -> bool:
    return number_of(name) % 3 == 0


def passing(lines: Sequence[bytes]) -> list[bool]:
    return [not is_dull(id_of(line)) for line in lines]


def lane_of(name: str) -> str:
    """Ids are a tenant's or a consumer's name and a number that counts all events."""
    return name.rpartition("-")[0]


def number_of(name: str) -> int:
    return int(name.rpartition("-")[2])
