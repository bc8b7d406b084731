"""How a destination stands: what answers change in its breaker, limits and state, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from gateway.clock import Clock
from gateway.config import RetryPolicy
from gateway.delivery import backoff
from gateway.delivery.breaker import Breaker
from gateway.delivery.limiter import Limiter
from gateway.delivery.state import DeliveryState
from gateway.telemetry import Event, Metrics, plain_code


class Standing:
    """One worker's; the state that it reports to outlives it. Times are monotonic."""

    def __init__(
        self,
        destination_id: str,
        *,
        state: DeliveryState,
        retry: RetryPolicy,
        in_flight_max: int,
        clock: Clock,
        random: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._id, self._state, self._retry = destination_id, state, retry
        self._clock, self._random, self._metrics = clock, random, metrics
        self._limiter = Limiter(in_flight_max)
        self._breaker = Breaker()
        self._shown_limit = -1

    def wait_s(self, in_flight: int) -> float | None:
        """0: another request may go out now. None: wait for what is in flight. Else so many seconds."""
        wait_s = self._breaker.wait_s(self._clock.monotonic_s(), in_flight)
        self._show()
        return wait_s if in_flight < self._limiter.limit else None

    def answered(self, round_trip_s: float, *, in_flight: int, slow_down: bool) -> None:
        """Adapt the number of requests at once to an answer that was a good one."""
        if slow_down:
            self._limiter.throttled()
        else:
            self._limiter.succeeded(round_trip_s, in_flight=in_flight)
        if self._limiter.limit != self._shown_limit:
            self._shown_limit = self._limiter.limit
            self._metrics.in_flight_limit.labels(self._id).set(self._shown_limit)

    def received(self, since_s: float) -> None:
        """What was sent at ``since_s`` is there and not yet confirmed: more may be sent, but no outage ends by it."""
        self._breaker.close(self._clock.monotonic_s(), since_s)
        self._show()

    def succeeded(self, since_s: float) -> None:
        """Something that was sent at ``since_s`` was taken."""
        self.received(since_s)
        if self._state.succeeded():
            structlog.get_logger().info(Event.DESTINATION_RECOVERED, destination=self._id)

    def failed(
        self,
        code: str,
        reason: str,
        *,
        events: int = 0,
        since_s: float | None = None,
        wish_s: float = 0.0,
        throttled: bool = False,
        misconfigured: bool = False,
    ) -> None:
        """So many events come again. Requests that were under way together since before the breaker opened count as one
        failure, of which the longest wish is honoured.
        """
        now_s = self._clock.monotonic_s()
        self._metrics.retried_events.labels(self._id).inc(events)
        if throttled:
            self._limiter.throttled()
        if self._state.failed(code, reason, events=events):
            structlog.get_logger().warning(
                Event.DESTINATION_DEGRADED,
                destination=self._id,
                code=plain_code(code),
                waits_for="operator" if misconfigured else "provider",
            )  # the reason may quote events: it is shown to the tenant, not logged
        if since_s is None or self._breaker.counts(since_s):
            own_s = backoff.delay_s(
                self._retry, self._breaker.count(), misconfigured=misconfigured, random=self._random
            )
            self._breaker.open(now_s, now_s + own_s)
        if wish_s:
            self._breaker.honour(now_s, now_s + backoff.granted_s(self._retry, wish_s))
        self._show()

    def window_left_s(self) -> float:
        """How long the present outage may last yet."""
        return max(0.0, self._retry.window_s - self._state.outage_s())

    def window_is_over(self) -> bool:
        return self._state.retrying_since_s is not None and not self.window_left_s()

    def _show(self) -> None:
        now_s = self._clock.monotonic_s()
        next_s = self._breaker.next_attempt_s()
        at_s = self._clock.time_s() + next_s - now_s if next_s is not None else None
        self._state.show(self._breaker.state(now_s), at_s)
