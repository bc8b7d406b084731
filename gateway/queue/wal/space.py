"""What the log has on disk, and the only code that frees any of it. Owns the list of segments.

A sealed segment goes when no consumer needs anything of it, by what is *journaled*: a crash must find everything that
the last checkpoint still counts on. Where much of what stays is needed by nobody, segments are rewritten to what is.
Over the budget all of that is done at once, and then failing consumers give up their oldest data, each with a gap.
Interrupted between a rewrite and the removal of the old segment both are there, and a start keeps the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import msgspec
import structlog

from gateway.errors import QueueFull
from gateway.queue.wal import compaction, retention
from gateway.queue.wal.commit import RETRY_AFTER_S
from gateway.queue.wal.cursor import Place
from gateway.queue.wal.files import Files
from gateway.queue.wal.index import Segment
from gateway.queue.wal.writer import Committed
from gateway.telemetry import Event

_FULL = (
    "the queue's disk budget is used up by events that destinations have not taken yet; "
    "mend the destinations that lag, or raise queue.disk_budget"
)

T = TypeVar("T")


class Holders(Protocol):
    """The consumers, for whose sake segments stay."""

    def claims(self) -> list[retention.Claim]: ...

    def failing(self) -> frozenset[str]:
        """The ids of those whose delivery fails now."""

    async def evict(self, consumer_id: str, until: Place) -> None:
        """Let one give up, in a gap, what it has not taken before ``until``."""

    async def save(self) -> None:
        """Checkpoint what has changed, if anything. A failure is told of and not raised."""

    async def in_thread(self, function: Callable[[], T]) -> T: ...

    def now_s(self) -> float: ...


class Space:
    """Belongs to the event loop. ``retain`` runs one at a time, and frees nothing while ``keeps_all``: when not all are
    known yet that may need something.
    """

    def __init__(
        self,
        holders: Holders,
        *,
        files: Files,
        log_id: bytes,
        sealed: Sequence[Segment],
        active: Segment,
        budget_bytes: int,
        segment_bytes: int,
        take_segment_id: Callable[[], int],
        keeps_all: bool,
    ) -> None:
        self._holders, self._files, self._log_id = holders, files, log_id
        self._segment_bytes = segment_bytes
        self._budget = retention.budget_of(budget_bytes, segment_bytes)
        self._take_segment_id = take_segment_id
        self._refused_bytes = 0
        self.sealed = list(sealed)
        self.active = active
        self.keeps_all = keeps_all

    def segments(self) -> list[Segment]:
        """In the order of the log; the active one is the last."""
        return [*self.sealed, self.active]

    def advance(self, committed: Committed) -> None:
        self.sealed += committed.sealed
        self.active = committed.active

    def disk_bytes(self) -> int:
        return sum(item.file_bytes for item in self.segments())

    @property
    def problem(self) -> str:
        """Why no events are taken, or nothing."""
        return _FULL if self._used_bytes() + self._refused_bytes >= self._budget.refuse_bytes else ""

    def refuse_if_full(self, size_bytes: int) -> None:
        """Raise QueueFull when there is no room in the budget for so many bytes more."""
        self._refused_bytes = 0
        if self._used_bytes() + size_bytes > self._budget.refuse_bytes:
            self._refused_bytes = size_bytes  # what is left is too little, and so there is a problem while it is
            raise QueueFull(_FULL, retry_after_s=RETRY_AFTER_S)

    async def retain(self) -> bool:
        """Free what nobody needs. Over budget, free all of it first, then let failing consumers give up their oldest
        data.

        Returns whether more is to be rewritten: one segment at a time, so that checkpoints come between.
        """
        if self.keeps_all or not self.sealed:  # what thousands of consumers need is then not worth asking
            return False
        await self._trim_sealed()
        await self._remove_unneeded()
        while self._used_bytes() > self._budget.evict_bytes and (await self.compact() or await self._evict_oldest()):
            await self._remove_unneeded()
            await self._holders.save()
        need = retention.need_of(self._holders.claims())
        too_much = compaction.too_much_is_held(self.sealed, need, slack_bytes=self._segment_bytes)
        return too_much and await self.compact()

    async def compact(self) -> bool:
        """Rewrite the emptiest segment to what is needed of it. Whether that freed anything."""
        need = retention.need_of(self._holders.claims())
        old = compaction.emptiest(self.sealed, need)
        if old is None:
            return False
        rewrite = partial(
            compaction.rewrite,
            self._files,
            old,
            need,
            log_id=self._log_id,
            segment_id=self._take_segment_id(),
            now_us=int(self._holders.now_s() * 1e6),
        )
        try:
            new = await self._holders.in_thread(rewrite)
            self.sealed = [new if item is old else item for item in self.sealed]
            await self._holders.in_thread(lambda: self._files.unlink([old.name, old.index_name]))
        except OSError as error:
            structlog.get_logger().error(Event.LOG_REMOVAL_FAILED, error=str(error), files=[old.name])
            return False
        structlog.get_logger().info(
            Event.LOG_SEGMENT_COMPACTED, segment=new.name, bytes_before=old.file_bytes, bytes_after=new.file_bytes
        )
        return True

    async def _trim_sealed(self) -> None:
        """Give back what was filled ahead of use and never used."""
        for item in [item for item in self.sealed if item.file_bytes > item.durable_end]:
            try:
                await self._holders.in_thread(partial(self._files.truncate, item.name, item.durable_end))
            except OSError as error:
                structlog.get_logger().error(Event.LOG_REMOVAL_FAILED, error=str(error), files=[item.name])
                return
            trimmed = msgspec.structs.replace(item, file_bytes=item.durable_end)
            self.sealed = [trimmed if known is item else known for known in self.sealed]

    async def _remove_unneeded(self) -> None:
        removable = retention.unneeded(self.sealed, self._holders.claims())
        if not removable:
            return
        gone = {item.segment_id for item in removable}
        self.sealed = [item for item in self.sealed if item.segment_id not in gone]
        names = [name for item in removable for name in (item.name, item.index_name)]
        try:
            await self._holders.in_thread(lambda: self._files.unlink(names))
        except OSError as error:  # they are looked for again at the next start
            structlog.get_logger().error(Event.LOG_REMOVAL_FAILED, error=str(error), files=names)
        structlog.get_logger().debug(Event.LOG_SEGMENT_REMOVED, segments=len(removable))

    async def _evict_oldest(self) -> bool:
        """Whether failing consumers gave up all that they had in a segment."""
        found = retention.evictable(self.sealed, self._holders.claims(), self._holders.failing())
        if found is None:
            return False
        item, claims = found
        for claim in claims:
            await self._holders.evict(claim.consumer_id, retention.place_behind(self.sealed, item, claim))
        await self._holders.save()
        evicted = {claim.consumer_id for claim in claims}
        return not any(claim.needs(item) for claim in self._holders.claims() if claim.consumer_id in evicted)

    def _used_bytes(self) -> int:
        return retention.used_bytes(self.sealed, self.active)
