"""The durable stream between ingest and delivery: one log, one durable consumer for each destination.

What a user of this package may rely on, whichever engine runs below:

- ``EventQueue.append`` returns only once its events are on stable storage; one sync is shared by all that wait.
- A consumer sees an event only after that, in the order of the log, and sees it again until it is *settled*:
  delivered, dead-lettered, dropped into a gap, or filtered. There is no other way for an event to leave.
- Settlements take effect in memory at once and on disk within one checkpoint tick, with the counters that they change
  in the same atomic record. After a crash the newest tick of settlements may be gone: those events are handed out
  again (duplicates), and the counters fall back with them, so that the books always balance. A dead letter is durable
  at once, and so is its settlement.
- Consumers do not share anything but the log: no consumer waits for another.

A *subject* addresses a frame of events: the stream of a tenant, or (for backfill and replay) one consumer alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

ALL_TENANTS = "*"

# Of events, one line of JSON each: which of them a filter lets through.
Matcher = Callable[[Sequence[bytes]], list[bool]]


class SubjectKind(enum.IntEnum):
    TENANT = 0  # every consumer of the tenant
    BACKFILL = 1  # one consumer: an audit export posted for it
    REPLAY = 2  # one consumer: dead letters sent again


class Subject(msgspec.Struct, frozen=True):
    """``name`` is a tenant id for TENANT, a consumer id for the other two."""

    kind: SubjectKind
    name: str


class Entry(msgspec.Struct, frozen=True):
    """Events of one subject: ``payload`` is NDJSON without a last newline, ``count`` its number of lines."""

    subject: Subject
    payload: bytes
    count: int


class GapReason(enum.StrEnum):
    DISABLED = "disabled"
    RETRIES_EXHAUSTED = "retries_exhausted"
    DISK_BUDGET = "disk_budget"
    CORRUPT = "corrupt"
    FORCED_DELETE = "forced_delete"


class Gap(msgspec.Struct, frozen=True):
    """A range of events that a consumer did not get. Times are those at which the gateway accepted the events.

    ``first_id`` and ``last_id`` are None where the events themselves could no longer be read.
    """

    reason: GapReason
    count: int
    first_time_s: float
    last_time_s: float
    first_id: str | None
    last_id: str | None
    recorded_at_s: float
    detail: str = ""


class Records(msgspec.Struct, frozen=True):
    """What ``Consumer.take`` handed out, in order. ``positions`` (the consumer's own dense numbering) and ``lines``
    run in parallel.
    """

    positions: list[int]
    lines: list[bytes]
    oldest_time_s: float  # when the oldest of them was accepted


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that a provider refused for good. ``number`` identifies it within its consumer and never changes."""

    number: int
    event_id: str
    time_s: float
    code: str
    reason: str
    line: bytes


class Counters(msgspec.Struct, frozen=True):
    delivered: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    filtered: int = 0


class Ledger(msgspec.Struct, frozen=True):
    """The books of one consumer in events, since it was created.

    ``accepted`` comes from what ingest wrote into the log, the other figures from what delivery settled; ``pending`` is
    counted from the cursor. ``balanced`` compares the two sides.
    """

    accepted: int
    delivered: int
    dead_lettered: int
    dropped: int
    filtered: int
    pending: int
    balanced: bool

    def imbalance(self) -> int:
        """Events that ingest wrote and nobody accounts for; below zero when more are accounted for than there were, or
        when a count is itself below zero, which hides as many in another.
        """
        settled = self.delivered + self.dead_lettered + self.dropped + self.filtered
        return self.accepted - settled - self.pending or min(0, self.dead_lettered, self.pending)


class Backlog(msgspec.Struct, frozen=True):
    """What waits. ``pending_bytes`` is an estimate from the log; ``oldest_time_s`` is None when nothing waits."""

    pending_events: int
    pending_bytes: int
    oldest_time_s: float | None


class Refused(msgspec.Struct, frozen=True):
    """One event to be dead-lettered: the provider's code and its words."""

    position: int
    line: bytes
    code: str
    reason: str


class Consumer(Protocol):
    """One durable cursor. All methods belong to the event loop; one worker at a time uses it."""

    @property
    def id(self) -> str: ...

    def set_filter(self, matcher: Matcher | None) -> None:
        """From now on book as filtered what ``matcher`` does not let through, instead of handing it out; None: nothing.

        New events are judged as they come, taken or not, also while nobody takes: from then on they are not pending.
        Others are judged when they are read to be taken: those that are not in memory, and those that lie so far ahead
        that too many separate runs of settled events would have to be kept. What is settled or handed out already is
        not judged. Not stored: whoever opens the queue says it again.
        """

    async def wait(self) -> None:
        """Return once there is something to take. May wake early; cancelling it loses nothing."""

    async def take(self, *, events_max: int, bytes_max: int) -> Records | None:
        """Hand out the next unsettled events, at least one however large, or None when there is none now.

        What is handed out is not handed out again until ``release``. Cancelling a take loses nothing.
        """

    def release(self, positions: Iterable[int]) -> None:
        """Give back what was taken and not settled: it will be handed out again, oldest first."""

    def settle_delivered(self, positions: Sequence[int]) -> None: ...

    async def settle_refused(self, refused: Sequence[Refused]) -> None:
        """Dead-letter events. They count only once they are on disk, which is before this returns."""

    async def drop_pending(self, reason: GapReason, detail: str = "") -> int:
        """Settle everything that waits and is not handed out as dropped, in one gap. Returns how many.

        What the filter leaves out is booked as filtered instead, as far as it has been judged or is in memory.
        """

    async def checkpoint(self) -> None:
        """Return once everything that was settled so far, and the memo, is durable."""

    async def end_intake(self) -> None:
        """Take no event that is appended from now on: the consumer is being deleted. Durable before it returns."""

    def set_failing(self, failing: bool) -> None:
        """Say whether delivery fails now: failing consumers lose their oldest data first when disk space runs out."""

    @property
    def memo(self) -> bytes:
        """Up to 4 KiB that the owner keeps here, stored with the next checkpoint (the outage clock lives in it)."""

    def set_memo(self, memo: bytes) -> None: ...

    def ledger(self) -> Ledger: ...

    def backlog(self) -> Backlog: ...

    def pending_events(self) -> int:
        """That of ``backlog`` alone, for those who ask at every turn."""

    def untaken_events(self) -> int:
        """How many of the pending ones are not handed out."""

    async def gaps(self) -> list[Gap]: ...

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Dead letters with a number above ``after``, ascending; fewer where they weigh more than 16 MiB, but one where
        there is one.
        """

    def dead_letter_count(self) -> int:
        """How many are kept now (the ledger counts what was replayed or not differently)."""

    async def delete_dead_letters(self, numbers: Sequence[int] | None = None) -> int:
        """Forget these, or all. They stay counted as dead-lettered. Returns how many went."""

    async def replay_dead_letters(self, numbers: Sequence[int] | None = None) -> int:
        """Put these, or all, into the queue again for this consumer alone, then forget them. Returns how many.

        They count as pending again and no more as dead-lettered. Cut off in the midst, by an error, a cancellation or a
        crash, it has replayed some and left the others as they were. Raises what ``EventQueue.append`` raises.
        """


class QueueStatus(msgspec.Struct, frozen=True):
    """``problem`` is empty when the queue takes events; else it says why not and what to do."""

    problem: str
    disk_bytes: int
    disk_budget_bytes: int
    segments: int
    events_total: int


class EventQueue(Protocol):
    """Safe to use from any task of the event loop."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Store the entries, in order, and return once they are on stable storage.

        All of the entries are stored or, when this raises, none is promised. A cancelled caller's entries may still be
        stored. Raises QueueFull or QueueUnavailable, both to be answered with Retry-After.
        """

    def submit(self, entries: Sequence[Entry], done: Callable[[BaseException | None], None]) -> bool:
        """``append`` for many small ones: ``done`` is called, in the loop, with None once the entries are on stable
        storage, or with what ``append`` would have raised.

        Raises what is known at once; ``done`` is then not called. False, and nothing done: too much waits to be
        stored already; ``append`` waits for its turn.
        """

    async def add_consumer(self, consumer_id: str, tenant_id: str, *, created_at_s: float | None = None) -> Consumer:
        """The consumer of this id, created at the present end of the log when it is not known yet.

        ``created_at_s`` says since when its owner has had it, None: just now. One that is older than this process
        should be known; if it is not, it begins with the oldest event since then that the log has, and when its
        checkpoints were damaged, with the oldest of all. ``tenant_id`` may be ALL_TENANTS. Durable before it returns.
        """

    def end_restoration(self) -> None:
        """All consumers that were there before this process have been added. Until then the queue removes nothing
        that one of them may need whose checkpoints were lost.
        """

    def consumer(self, consumer_id: str) -> Consumer | None: ...

    def consumer_ids(self) -> list[str]: ...

    async def remove_consumer(self, consumer_id: str) -> None:
        """Forget the consumer, its gaps and its dead letters. What it alone held on disk is freed."""

    async def newest(self, tenant_id: str, events_max: int) -> list[bytes]:
        """The newest events of a tenant (or of ALL_TENANTS) that are still in the queue, newest first, one line each.

        Fewer when they weigh more than 16 MiB. Events that were addressed to one consumer are not among them.
        """

    def status(self) -> QueueStatus: ...
