"""What is known of one destination's delivery. One owner: its stream; its workers report, the API reads."""

from __future__ import annotations

from collections import deque

from gateway.clock import Clock
from gateway.delivery.health import Attempt, BreakerState, Health, LastError, Status
from gateway.delivery.outage import Memory, OutageClock, recall, remember
from gateway.queue import Consumer, Ledger

_PROVIDER_WORDS_MAX = 500
_SAVE_INTERVAL_S = 30.0


class DeliveryState:
    """Survives restarts of the worker; the part that must survive the process lies in the consumer's memo."""

    def __init__(self, consumer: Consumer, clock: Clock, *, attempts_kept: int) -> None:
        self._consumer = consumer
        self._clock = clock
        memory = recall(consumer.memo)
        self._outage = OutageClock(memory, now_s=clock.monotonic_s(), wall_s=clock.time_s(), boot_id=clock.boot_id)
        self.failed_at_s = memory.failed_at_s
        self.last_success_at_s = memory.last_success_at_s
        self.last_error_at_s = memory.last_error_at_s
        self.last_error = memory.last_error
        self.consecutive_failures = memory.consecutive_failures
        self.attempts: deque[Attempt] = deque(maxlen=attempts_kept)
        self.breaker = BreakerState.CLOSED
        self.next_attempt_at_s: float | None = None
        self._saved_at_s = float("-inf")
        consumer.set_failing(self._outage.since_wall_s is not None)

    @property
    def status(self) -> Status:
        if self.failed_at_s is not None:
            return Status.FAILED
        return Status.ACTIVE if self._outage.since_wall_s is None else Status.DEGRADED

    @property
    def retrying_since_s(self) -> float | None:
        return self._outage.since_wall_s

    def outage_s(self) -> float:
        """How long the present outage has lasted; 0 without one."""
        return self._outage.elapsed_s(self._clock.monotonic_s())

    def record(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def succeeded(self) -> bool:
        """Returns whether an outage ended by it."""
        self.last_success_at_s = self._clock.time_s()
        self.consecutive_failures = 0
        self.next_attempt_at_s = None
        self.breaker = BreakerState.CLOSED
        recovered = self._outage.end()
        if recovered:
            self._consumer.set_failing(False)
        self._save(now=recovered)
        return recovered

    def progressed(self) -> None:
        """Something arrived though not all: the outage, if one is on, is counted anew."""
        self.last_success_at_s = self._clock.time_s()
        self._outage.end()

    def failed(self, code: str, message: str) -> bool:
        """Returns whether an outage began with it."""
        self.last_error_at_s = self._clock.time_s()
        self.last_error = LastError(code, message[:_PROVIDER_WORDS_MAX])
        self.consecutive_failures += 1
        began = self._outage.begin(now_s=self._clock.monotonic_s(), wall_s=self._clock.time_s())
        self._consumer.set_failing(True)
        self._save(now=began)
        return began

    def refused(self, code: str, message: str) -> None:
        """The provider refused events for good: worth showing, though delivery as such works."""
        self.last_error_at_s = self._clock.time_s()
        self.last_error = LastError(code, message[:_PROVIDER_WORDS_MAX])

    def give_up(self) -> None:
        """The window ran out: failed until ``resume``."""
        self.failed_at_s = self._clock.time_s()
        self._outage.end()
        self._consumer.set_failing(False)
        self.next_attempt_at_s = None
        self._save(now=True)

    def resume(self) -> None:
        """An operator changed the destination: start afresh, with the error kept to look at."""
        self.failed_at_s = None
        self._outage.end()
        self.consecutive_failures = 0
        self.next_attempt_at_s = None
        self.breaker = BreakerState.CLOSED
        self._consumer.set_failing(False)
        self._save(now=True)

    def save(self) -> None:
        """Put what must outlive the process into the memo."""
        self._save(now=True)

    def health(self, ledger: Ledger) -> Health:
        backlog = self._consumer.backlog()
        oldest_s = backlog.oldest_time_s
        return Health(
            status=self.status,
            last_success_at_s=self.last_success_at_s,
            last_error_at_s=self.last_error_at_s,
            last_error=self.last_error,
            consecutive_failures=self.consecutive_failures,
            retrying_since_s=self._outage.since_wall_s,
            next_attempt_at_s=self.next_attempt_at_s,
            breaker=self.breaker,
            pending_events=backlog.pending_events,
            pending_bytes=backlog.pending_bytes,
            lag_s=max(0.0, self._clock.time_s() - oldest_s) if oldest_s is not None else 0.0,
            delivered_events=ledger.delivered,
            dropped_events=ledger.dropped,
            dead_lettered_events=ledger.dead_lettered,
        )

    def _save(self, *, now: bool) -> None:
        """Every change of state at once; the running counts now and then."""
        monotonic_s = self._clock.monotonic_s()
        if not now and monotonic_s - self._saved_at_s < _SAVE_INTERVAL_S:
            return
        self._saved_at_s = monotonic_s
        since_s = self._outage.since_wall_s
        memory = Memory(
            retrying_since_s=since_s,
            elapsed_s=self._outage.elapsed_s(monotonic_s),
            saved_at_s=self._clock.time_s() if since_s is not None else 0.0,
            saved_at_monotonic_s=monotonic_s if since_s is not None else 0.0,
            boot_id=self._clock.boot_id if since_s is not None else "",
            failed_at_s=self.failed_at_s,
            last_success_at_s=self.last_success_at_s,
            last_error_at_s=self.last_error_at_s,
            last_error=self.last_error,
            consecutive_failures=self.consecutive_failures,
        )
        self._consumer.set_memo(remember(memory))
