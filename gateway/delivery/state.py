"""What is known of one destination's delivery. One owner: its stream; its workers report, the API reads."""

from __future__ import annotations

from collections import deque
from itertools import count, islice

from gateway.clock import Clock
from gateway.delivery.health import Attempt, BreakerState, Health, LastError, Status
from gateway.delivery.outage import Memory, OutageClock, recall, remember
from gateway.delivery.risk import events_at_risk_at_s
from gateway.delivery.tally import Tally
from gateway.delivery.transitions import Told
from gateway.destinations.history import Action, Figures
from gateway.queue import Consumer, Ledger

_PROVIDER_WORDS_MAX = 500
_SAVE_INTERVAL_S = 30.0


class DeliveryState:
    """Survives restarts of the worker; the part that must survive the process lies in the consumer's memo."""

    def __init__(
        self,
        consumer: Consumer,
        clock: Clock,
        *,
        attempts_kept: int,
        retry_window_s: float,
        provider_window_s: float | None = None,
    ) -> None:
        self._consumer = consumer
        self._clock = clock
        self._retry_window_s, self._provider_window_s = retry_window_s, provider_window_s
        self._tally = Tally(consumer.ledger())
        memory = recall(consumer.memo)
        self._outage = OutageClock(memory, now_s=clock.monotonic_s(), wall_s=clock.time_s(), boot_id=clock.boot_id)
        self.failed_at_s = memory.failed_at_s
        self.last_success_at_s = memory.last_success_at_s
        self.last_error_at_s = memory.last_error_at_s
        self.last_error = memory.last_error
        self.consecutive_failures = memory.consecutive_failures
        self.active_since_s = memory.active_since_s
        self.disabled_since_s = memory.disabled_since_s
        self._dropped_before = memory.dropped_before
        self.told = Told(memory.told, clock.monotonic_s())
        self.attempts: deque[Attempt] = deque(maxlen=attempts_kept)
        self._attempted = 0  # in all; the number of the newest
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
        self._attempted += 1
        self._tally.attempted(attempt)

    def attempts_before(self, number: int, limit: int) -> list[tuple[int, Attempt]]:
        """The newest of those with a lower number, newest first, each with its number: they are counted from 1."""
        numbered = zip(count(self._attempted, -1), reversed(self.attempts), strict=False)
        return list(islice(((at, attempt) for at, attempt in numbered if at < number), limit))

    def take_figures(self, destination_id: str, at_s: int) -> list[Figures]:
        """What happened since they were last taken, as figures of the period that begins at ``at_s``."""
        return self._tally.take(self._consumer.ledger(), destination_id, at_s)

    def succeeded(self) -> bool:
        """Returns whether an outage ended by it."""
        self.last_success_at_s = self._clock.time_s()
        self.consecutive_failures = 0
        recovered = self._outage.end()
        if recovered:
            self.active_since_s = self.last_success_at_s
            self._consumer.set_failing(False)
        self._save(now=recovered)
        return recovered

    def show(self, breaker: BreakerState, next_attempt_at_s: float | None) -> None:
        self.breaker, self.next_attempt_at_s = breaker, next_attempt_at_s

    def progressed(self) -> None:
        """Something arrived though not all: the outage, if one is on, is counted anew."""
        self.last_success_at_s = self._clock.time_s()
        self._outage.end()

    def failed(self, code: str, message: str, *, events: int = 0) -> bool:
        """So many events have to be sent again. Returns whether an outage began with it: none does while disabled."""
        self._tally.failed(events)
        self.last_error_at_s = self._clock.time_s()
        self.last_error = LastError(code, message[:_PROVIDER_WORDS_MAX])
        self.consecutive_failures += 1
        if self.disabled_since_s is not None:
            return False
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
        self._dropped_before = self._consumer.ledger().dropped
        self._outage.end()
        self._consumer.set_failing(False)
        self.show(self.breaker, None)
        self._save(now=True)

    def resume(self) -> None:
        """An operator changed the destination: start afresh, with the error kept to look at."""
        self.failed_at_s = None
        self.disabled_since_s = None
        self.active_since_s = self._clock.time_s()
        self._outage.end()
        self.consecutive_failures = 0
        self.show(BreakerState.CLOSED, None)
        self._consumer.set_failing(False)
        self._save(now=True)

    def disabled(self, at_s: float) -> None:
        """An operator switched the destination off, until ``resume``."""
        self.disabled_since_s = at_s
        self._save(now=True)

    def tell(self) -> Action | None:
        """What of the status is to be told to people now. It counts as told; a crash right after tells it twice."""
        known = self.told.status
        has_succeeded = (self.last_success_at_s or 0.0) >= (self.active_since_s or 0.0) > 0.0
        found = self.told.look(self.status, self._clock.monotonic_s(), has_succeeded=has_succeeded)
        if self.told.status is not known:
            self._save(now=True)
        return found

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
            next_attempt_at_s=self.next_attempt_at_s if self.disabled_since_s is None else None,
            breaker=self.breaker,
            pending_events=backlog.pending_events,
            pending_bytes=backlog.pending_bytes,
            lag_s=max(0.0, self._clock.time_s() - oldest_s) if oldest_s is not None else 0.0,
            delivered_events=ledger.delivered,
            dropped_events=ledger.dropped,
            dead_lettered_events=ledger.dead_lettered,
            events_at_risk_at_s=events_at_risk_at_s(
                retrying_since_s=self._outage.since_wall_s,
                retry_window_s=self._retry_window_s,
                oldest_pending_s=oldest_s,
                provider_window_s=self._provider_window_s,
            ),
            active_since_s=self.active_since_s,
            failed_at_s=self.failed_at_s,
            disabled_since_s=self.disabled_since_s,
            dropped_since_failure=max(0, ledger.dropped - self._dropped_before) if self.failed_at_s is not None else 0,
            last_response_code=self.attempts[-1].response_code if self.attempts else None,
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
            active_since_s=self.active_since_s,
            disabled_since_s=self.disabled_since_s,
            dropped_before=self._dropped_before,
            told=self.told.status,
        )
        self._consumer.set_memo(remember(memory))
