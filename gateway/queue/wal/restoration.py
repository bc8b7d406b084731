"""Where a consumer begins that is older than this process and that no checkpoint knows.

Its checkpoints were lost, or the process ended between making the destination and making its consumer. It begins at
the oldest event of its own that the log still has: what was delivered before comes again, and nothing is passed over.
Where no damage says that checkpoints were lost, events from before the destination was made are left out.

Its books begin there, too. Replays and backfills that lie in the log count as accepted; the dead letters that were
replayed belong to books that are gone.
"""

from __future__ import annotations

from gateway.queue import ALL_TENANTS, Counters, Gap, GapReason
from gateway.queue.wal.cursor import CursorState, Lane, Place
from gateway.queue.wal.feed import FrameStore
from gateway.queue.wal.reader import Bookmark, Wanted

_CHUNK_BYTES = 1 << 20


async def begin_again(
    store: FrameStore, consumer_id: str, tenant_id: str, end: Place, since_s: float, now_s: float, *, is_loss: bool
) -> CursorState:
    """The first state of such a consumer. ``end`` is the present end of each of its lanes."""
    start = await _oldest(store, consumer_id, tenant_id, end, 0 if is_loss else int(since_s * 1e6))
    state = CursorState(consumer_id, tenant_id, start, start, [], Counters())
    state.accepted_replays = end.replay - start.replay
    if is_loss:
        detail = (
            f"the checkpoints of this destination were damaged and its books began anew at event {start.tenant} of its "
            "tenant, the oldest that the log had: what was delivered before came again"
        )
        state.gap_count = 1
        state.changed_gaps = [(0, Gap(GapReason.CORRUPT, 0, now_s, now_s, None, None, now_s, detail))]
    return state


async def _oldest(store: FrameStore, consumer_id: str, tenant_id: str, end: Place, since_us: int) -> Place:
    found: dict[Lane, tuple[int, int]] = {}  # sequence and offset of the first frame of each lane
    wanted = Wanted(tenant_id, consumer_id)
    bookmark = Bookmark(0, 0, 0)
    while bookmark.offset < end.offset and any(lane not in found and end.sequence(lane) for lane in Lane):
        chunk = await store.read(wanted, bookmark, _CHUNK_BYTES)
        for frame in chunk.frames:
            if frame.time_us >= since_us:
                of_all = frame.subject.kind is Lane.TENANT and tenant_id == ALL_TENANTS
                sequence = frame.stream_sequence if of_all else frame.sequence
                found.setdefault(frame.subject.kind, (sequence, frame.first_offset))
        if Lane.TENANT in found:
            wanted = Wanted("", consumer_id)  # the rest is looked for among what is addressed to it
        bookmark = chunk.bookmark
    first = {lane: min(found[lane][0], end.sequence(lane)) if lane in found else end.sequence(lane) for lane in Lane}
    offset = min((offset for _, offset in found.values()), default=end.offset)
    return Place(offset, first[Lane.TENANT], first[Lane.BACKFILL], first[Lane.REPLAY])
