"""Which changes of a destination's status are told to people: each once, and not without end.

Told is the status, not the single failure: an outage that ends within the second between two looks is not told. A
destination that flaps is told of a few times, then seldom, and then only where it stands: what an event about a
transition makes of its own destination can so never go round in a circle.
"""

from __future__ import annotations

from gateway.delivery.health import Status
from gateway.destinations.history import Action

BURST = 4
REFILL_S = 300.0


_OF_STATUS = {
    Status.DEGRADED: Action.DEGRADED,
    Status.FAILED: Action.FAILED,
    Status.ACTIVE: Action.RECOVERED,
}


class Told:
    """What was told last of one destination. ``now_s`` is monotonic."""

    def __init__(self, status: Status, now_s: float) -> None:
        self.status = status
        self._left = float(BURST)
        self._at_s = now_s

    def look(self, status: Status, now_s: float, *, has_succeeded: bool) -> Action | None:
        """What is to be told now. ``has_succeeded``: something was delivered since the trouble that was told last.

        ``active`` without that is a person's doing (a PUT starts afresh) and told by whoever did it.
        """
        if status is self.status:
            return None
        if status is Status.ACTIVE and not has_succeeded:
            self.status = status
            return None
        self._left = min(BURST, self._left + (now_s - self._at_s) / REFILL_S)
        self._at_s = now_s
        if self._left < 1:
            return None
        self._left -= 1
        self.status = status
        return _OF_STATUS[status]
