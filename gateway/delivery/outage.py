"""The outage clock and what else of a destination's health outlives the process. Plain values; the consumer's memo
keeps them.

The 24 hours of an outage are counted in time that really passed: by the monotonic clock while the process runs, by
the wall clock only over the time that it did not. A clock that jumps by a day neither ends an outage nor prolongs it.
"""

from __future__ import annotations

import msgspec

from gateway.delivery.health import LastError, Status


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """Times are wall seconds. ``elapsed_s`` is how long the outage had lasted at ``saved_at_s``; ``dropped_before`` how
    many events had been dropped when the destination failed, ``told`` the status that people were told of last.
    """

    retrying_since_s: float | None = None
    elapsed_s: float = 0.0
    saved_at_s: float = 0.0
    failed_at_s: float | None = None
    last_success_at_s: float | None = None
    last_error_at_s: float | None = None
    last_error: LastError | None = None
    consecutive_failures: int = 0
    active_since_s: float | None = None
    disabled_since_s: float | None = None
    dropped_before: int = 0
    told: Status = Status.ACTIVE


def remember(memory: Memory) -> bytes:
    return msgspec.json.encode(memory)


def recall(memo: bytes) -> Memory:
    """A memo that cannot be read, or none, is a fresh start: it holds no event and no count."""
    try:
        return msgspec.json.decode(memo, type=Memory) if memo else Memory()
    except msgspec.MsgspecError:
        return Memory()


class OutageClock:
    """How long the present outage has lasted. ``now_s`` is monotonic, ``wall_s`` is not."""

    def __init__(self, memory: Memory, *, now_s: float, wall_s: float) -> None:
        self.since_wall_s = memory.retrying_since_s
        away_s = max(0.0, wall_s - memory.saved_at_s) if memory.saved_at_s else 0.0
        self._before_s = memory.elapsed_s + away_s if self.since_wall_s is not None else 0.0
        self._counted_from_s = now_s

    def begin(self, *, now_s: float, wall_s: float) -> bool:
        """Start counting unless an outage is on already. Returns whether it began now."""
        if self.since_wall_s is not None:
            return False
        self.since_wall_s, self._before_s, self._counted_from_s = wall_s, 0.0, now_s
        return True

    def end(self) -> bool:
        """Returns whether there was an outage."""
        was_on = self.since_wall_s is not None
        self.since_wall_s, self._before_s = None, 0.0
        return was_on

    def elapsed_s(self, now_s: float) -> float:
        return 0.0 if self.since_wall_s is None else self._before_s + now_s - self._counted_from_s
