"""Whether a destination may be sent to now. Plain: ``now`` is handed in (monotonic seconds)."""

from __future__ import annotations

from gateway.delivery.health import BreakerState


class Breaker:
    """Closed until a failure; open for the delay that came of it; then one probe at a time until one succeeds.

    The delay is our own backoff or what the provider asked for, whichever is longer.
    """

    def __init__(self) -> None:
        self._open_until_s: float | None = None
        self._opened_at_s = float("-inf")
        self._wished_at_s = self._wished_until_s = float("-inf")
        self.failures = 0

    def state(self, now_s: float) -> BreakerState:
        if self._open_until_s is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_s < self._open_until_s else BreakerState.HALF_OPEN

    def counts(self, started_at_s: float) -> bool:
        """Whether a failure is news: requests that were under way together fail together, and count once."""
        return started_at_s >= self._opened_at_s

    def count(self) -> int:
        self.failures += 1
        return self.failures

    def open(self, now_s: float, until_s: float) -> None:
        self._opened_at_s = now_s
        self._postpone(until_s)

    def honour(self, now_s: float, until_s: float) -> None:
        """Stay open, or open again, at least until then: the provider asked for it with a failure, counted or not."""
        self._wished_at_s, self._wished_until_s = now_s, max(until_s, self._wished_until_s)
        self._postpone(self._wished_until_s)

    def close(self, now_s: float, sent_at_s: float) -> None:
        """A request of ``sent_at_s`` was taken: no failure is remembered. What was sent before the provider asked for
        time does not shorten it.
        """
        self.failures = 0
        is_asked = sent_at_s < self._wished_at_s and now_s < self._wished_until_s
        self._open_until_s = self._wished_until_s if is_asked else None

    def _postpone(self, until_s: float) -> None:
        self._open_until_s = max(until_s, self._open_until_s or until_s)

    def wait_s(self, now_s: float, in_flight: int) -> float | None:
        """0: send now. None: wait for what is in flight. Else so many seconds."""
        match self.state(now_s):
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                assert self._open_until_s is not None
                return self._open_until_s - now_s
            case BreakerState.HALF_OPEN:
                return 0.0 if in_flight == 0 else None

    def next_attempt_s(self) -> float | None:
        return self._open_until_s
