"""Which segments may go, and who gives up data when disk space runs out. Plain decisions over what is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal.cursor import Lane, Place
from gateway.queue.wal.writer import Segment


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
    return [item for item in sealed if not any(claim.needs(item) for claim in claims)]


def evictable(
    sealed: Sequence[Segment], claims: Sequence[Claim], failing: frozenset[str]
) -> tuple[Segment, list[Claim]] | None:
    """The oldest segment that failing consumers alone hold, with their claims."""
    for item in sealed:
        holding = [claim for claim in claims if claim.needs(item)]
        if holding and all(claim.consumer_id in failing for claim in holding):
            return item, holding
    return None


def place_behind(item: Segment, claim: Claim) -> Place:
    """The place of a consumer that needs nothing of this segment and what lies before it any more."""
    place = claim.floor
    for lane, subject in claim.lanes.items():
        if lane is Lane.TENANT and subject.name == ALL_TENANTS:
            end = item.end_stream_sequence
        else:
            share = (item.shares or {}).get(subject)
            end = share.end_sequence if share is not None else 0
        if end > place.sequence(lane):
            place = place.passed(lane, end, max(place.offset, item.end_offset))
    return place
