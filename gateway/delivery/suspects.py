"""Refused events that may be innocent: it can be the destination that refuses everything. Plain bookkeeping, no I/O.

An event that is refused alone is a *suspect* until another event was taken: only then is it the event's own fault.
While it waits it is parked, so that the events behind it are tried.
"""

from __future__ import annotations

from collections import deque

_RECENT_RESULTS = 16
_TRIES_KEPT = 1024
_PARKED_MAX = 100


class Suspects:
    """One worker's. Events are named by their positions, requests by the position of their first event."""

    def __init__(self) -> None:
        self._parked: list[int] = []
        self._tries: dict[int, int] = {}
        self._refused_at_s: dict[int, float] = {}  # when it was refused first
        self._taken_from_s = float("-inf")  # when the latest request that was taken had been sent
        self._recent: deque[tuple[int, bool]] = deque(maxlen=_RECENT_RESULTS)

    @property
    def parked(self) -> list[int]:
        return self._parked

    def taken(self, first: int, sent_at_s: float) -> None:
        self._recent.append((first, True))
        self._taken_from_s = max(self._taken_from_s, sent_at_s)

    def refused(self, first: int) -> None:
        self._recent.append((first, False))

    def count_try(self, first: int, now_s: float) -> int:
        """How often these events were refused by now, this time included."""
        self._refused_at_s.setdefault(first, now_s)
        self._tries[first] = self._tries.get(first, 0) + 1
        return self._tries[first]

    def others_are_taken(self, position: int) -> bool:
        """Whether another event was sent after this one was refused and was taken, or the last answer to any other was
        a good one.
        """
        last = next((taken for other, taken in reversed(self._recent) if other != position), False)
        return last or self._taken_from_s > self._refused_at_s[position]

    def park(self, position: int) -> list[int]:
        """Hold a suspect back. Returns what to release: all, when there are so many that it is not the events."""
        self._parked.append(position)
        return self.unpark() if len(self._parked) > _PARKED_MAX else []

    def unpark(self) -> list[int]:
        """The parked positions, ascending, which are parked no more."""
        parked, self._parked = sorted(self._parked), []
        return parked

    def forget_many(self) -> None:
        """Start counting anew when there is much to remember; a success is the moment for it."""
        if len(self._tries) > _TRIES_KEPT:
            self._tries.clear()
            self._refused_at_s.clear()
