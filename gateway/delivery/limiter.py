"""How many requests to have in flight at once: additive increase, multiplicative decrease, by round trip and
throttling. And how many events a batch may have, where the requests of full ones are not answered in time.
"""

from __future__ import annotations

_SLOWER_THAN_USUAL = 2.0
_SHRINK = 0.7
_SMOOTHING = 0.1


class Limiter:
    """Grows by about one for each round of successes while answers come as fast as usual; plain arithmetic."""

    def __init__(self, in_flight_max: int) -> None:
        self._max = float(in_flight_max)
        self._limit = max(1.0, self._max / 2)
        self._usual_s: float | None = None

    @property
    def limit(self) -> int:
        return int(self._limit)

    def succeeded(self, round_trip_s: float, *, in_flight: int) -> None:
        """Growth counts only when the limit was what held us back."""
        if self._usual_s is None:
            self._usual_s = round_trip_s
        if round_trip_s > self._usual_s * _SLOWER_THAN_USUAL:
            self._limit = max(1.0, self._limit - 1.0 / self._limit)
        elif in_flight >= self.limit:
            self._limit = min(self._max, self._limit + 1.0 / self._limit)
        self._usual_s += _SMOOTHING * (round_trip_s - self._usual_s)

    def throttled(self) -> None:
        self._limit = max(1.0, self._limit * _SHRINK)


class BatchLimit:
    """How many events a batch may have. Halved when a request was not answered in time, for the next as large would not
    be either; doubled by a full batch that was answered, up to what the provider takes.

    A codec may cut a batch into several requests: those of one event get no smaller with the batch, and do not count.
    """

    def __init__(self, events_max: int) -> None:
        self._max = events_max
        self.events = events_max

    def timed_out(self, events: int, *, of_batch: int) -> None:
        """``events`` are those of the request."""
        if events > 1:
            self.events = max(1, min(self.events, of_batch // 2))

    def answered(self, batch: int) -> None:
        if batch >= self.events:
            self.events = min(self._max, self.events * 2)
