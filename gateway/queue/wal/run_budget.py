"""How much filters may leave out ahead of reading. Plain: no I/O, no clock, no waiting.

Each run of settled events ahead of a consumer's place is kept in memory and in its checkpoints. A bound for each
consumer alone would be none: whoever has many of them that fail, with filters that leave out every second event, would
make checkpoints of all that take longer than the time between them.
"""

from __future__ import annotations

RUNS_MAX = 4096  # of one consumer
RUNS_IN_ALL_MAX = 65_536  # about a megabyte of a checkpoint
RUNS_MIN = 16  # what the others keep is no reason for a consumer to keep none


class RunBudget:
    """Owned by the event loop; one for all consumers of a log. Whoever comes first may keep the most."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}
        self._in_all = 0

    def count(self, consumer_id: str, runs: int) -> None:
        """A consumer keeps so many now."""
        self._in_all += runs - self._kept.pop(consumer_id, 0)
        if runs:
            self._kept[consumer_id] = runs

    def room(self, consumer_id: str) -> int:
        """How many more a consumer may keep; below zero where it keeps too many."""
        kept = self._kept.get(consumer_id, 0)
        return max(min(RUNS_MAX - kept, RUNS_IN_ALL_MAX - self._in_all), RUNS_MIN - kept)
