"""Which segments may go, and who gives up data when disk space runs out. Plain decisions over what is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal.cursor import Lane, Place
from gateway.queue.wal.index import Segment

_EVERYTHING = Subject(SubjectKind.TENANT, ALL_TENANTS)


class Claim(msgspec.Struct, frozen=True):
    """What one consumer still needs: everything in its lanes that is not below its *journaled* floor."""

    consumer_id: str
    lanes: Mapping[Lane, Subject]
    floor: Place

    def needs(self, item: Segment) -> bool:
        shares = item.shares or {}
        for lane, subject in self.lanes.items():
            if lane is Lane.TENANT and subject.name == ALL_TENANTS:
                held = item.end_stream_sequence if any(s.kind is SubjectKind.TENANT for s in shares) else 0
            else:
                share = shares.get(subject)
                held = share.end_sequence if share is not None else 0
            if held > self.floor.sequence(lane):
                return True
        return False


class Need(msgspec.Struct, frozen=True):
    """What some consumers together still need: from which sequence on of each subject, and of the stream of all
    tenants (None: nobody takes all). Made once for a look at all segments, whose number times that of the consumers
    would be too much.
    """

    from_sequence: dict[Subject, int]
    from_stream: int | None

    def covers(self, subject: Subject, end_sequence: int, end_stream_sequence: int) -> bool:
        """Whether anything is needed of events of a subject that end there."""
        start = self.from_sequence.get(subject)
        if start is not None and end_sequence > start:
            return True
        of_all = self.from_stream
        return of_all is not None and subject.kind is SubjectKind.TENANT and end_stream_sequence > of_all

    def is_in(self, item: Segment) -> bool:
        end = item.end_stream_sequence
        return any(self.covers(subject, share.end_sequence, end) for subject, share in (item.shares or {}).items())

    def bytes_in(self, item: Segment) -> int:
        """How much of a segment's frames somebody needs; a little more where a subject is passed in part."""
        end, shares = item.end_stream_sequence, item.shares or {}
        return sum(s.stored_bytes for subject, s in shares.items() if self.covers(subject, s.end_sequence, end))


def need_of(claims: Iterable[Claim]) -> Need:
    needed: dict[Subject, int] = {}
    for claim in claims:
        for lane, subject in claim.lanes.items():
            floor = claim.floor.sequence(lane)
            needed[subject] = min(needed.get(subject, floor), floor)
    return Need(needed, needed.pop(_EVERYTHING, None))


class Budget(msgspec.Struct, frozen=True):
    """From ``evict_bytes`` on failing consumers give up data; from ``refuse_bytes`` on ingest is refused."""

    refuse_bytes: int
    evict_bytes: int


def budget_of(disk_budget_bytes: int, segment_bytes: int) -> Budget:
    """Room is left for what is filled ahead of use: the rest of the active segment and its spare."""
    return Budget(
        refuse_bytes=max(disk_budget_bytes - 2 * segment_bytes, segment_bytes),
        evict_bytes=max(disk_budget_bytes - 3 * segment_bytes, segment_bytes),
    )


def segment_bytes_of(disk_budget_bytes: int, segment_bytes: int) -> int:
    """Segments small enough that a small budget can be kept: at most an eighth of it, at least 256 KiB."""
    return max(min(segment_bytes, disk_budget_bytes // 8), 256 << 10)


def used_bytes(sealed: Iterable[Segment], active: Segment) -> int:
    return sum(item.file_bytes for item in sealed) + active.durable_end


def unneeded(sealed: Sequence[Segment], claims: Sequence[Claim]) -> list[Segment]:
    """Segments in which no consumer has anything left."""
    need = need_of(claims)
    return [item for item in sealed if not need.is_in(item)]


def evictable(
    sealed: Sequence[Segment], claims: Sequence[Claim], failing: frozenset[str]
) -> tuple[Segment, list[Claim]] | None:
    """The oldest segment that failing consumers alone hold, else the oldest in which they alone hold anything, and
    their claims there. Nobody is to give up what then stays on disk for another's sake.
    """
    claiming = [claim for claim in claims if claim.consumer_id in failing]
    of_all = need_of(claims)
    of_others = need_of(claim for claim in claims if claim.consumer_id not in failing)
    held = [item for item in sealed if of_all.bytes_in(item) > of_others.bytes_in(item)]
    if not held:
        return None
    item = next((item for item in held if not of_others.is_in(item)), held[0])
    return item, [claim for claim in claiming if _frees(claim, item, of_others)]


def _frees(claim: Claim, item: Segment, of_others: Need) -> bool:
    """Whether something of a segment is needed for this claim and for none of the others."""
    own, end = need_of([claim]), item.end_stream_sequence
    return any(
        own.covers(subject, share.end_sequence, end) and not of_others.covers(subject, share.end_sequence, end)
        for subject, share in (item.shares or {}).items()
    )


def place_behind(sealed: Iterable[Segment], item: Segment, claim: Claim) -> Place:
    """The place of a consumer that needs nothing of this segment and what lies before it any more.

    A place is a prefix of the log in every lane: what the segment itself does not have of one ends in those before it.
    """
    before = [known.shares or {} for known in sealed if known.end_offset <= item.end_offset]
    place = claim.floor.passed(Lane.TENANT, claim.floor.tenant, max(claim.floor.offset, item.end_offset))
    for lane, subject in claim.lanes.items():
        if lane is Lane.TENANT and subject.name == ALL_TENANTS:
            end = item.end_stream_sequence
        else:
            end = max((shares[subject].end_sequence for shares in before if subject in shares), default=0)
        place = place.passed(lane, max(end, place.sequence(lane)), place.offset)
    return place
