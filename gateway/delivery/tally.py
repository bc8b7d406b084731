"""What one destination's deliveries came to since it was last asked. A few sums; nothing is done for single events.

Delivered, dead-lettered and dropped events are not counted here: they are read off the books, as the difference to the
books of the last time.
"""

from __future__ import annotations

import msgspec

from gateway.delivery.health import Attempt
from gateway.destinations.history import Figures
from gateway.queue import Ledger

ANSWERS_MAX = 20  # kinds of answers told apart at a time; a hostile endpoint could answer with any status
OTHER = "other"


class _Answers(msgspec.Struct, gc=False):
    attempts: int = 0
    latency_ms_sum: float = 0.0
    latency_ms_max: float = 0.0


class Tally:
    """``ledger`` is that of the beginning."""

    def __init__(self, ledger: Ledger) -> None:
        self._known = ledger
        self._failed = 0
        self._answers: dict[str, _Answers] = {}

    def attempted(self, attempt: Attempt) -> None:
        answer = str(attempt.response_code) if attempt.response_code is not None else attempt.code or OTHER
        if answer not in self._answers and len(self._answers) >= ANSWERS_MAX:
            answer = OTHER
        sums = self._answers.setdefault(answer, _Answers())
        sums.attempts += 1
        sums.latency_ms_sum += attempt.duration_ms
        sums.latency_ms_max = max(sums.latency_ms_max, attempt.duration_ms)

    def failed(self, events: int) -> None:
        """Events of an attempt that has to be repeated."""
        self._failed += events

    def take(self, ledger: Ledger, destination_id: str, at_s: int) -> list[Figures]:
        """The figures since the last take, as those of the period that begins at ``at_s``; none when nothing happened.

        A replay takes dead letters out of the books again; that is no figure of its own.
        """
        known, self._known = self._known, ledger
        events = Figures(
            destination_id,
            at_s,
            delivered=max(0, ledger.delivered - known.delivered),
            failed=self._failed,
            dead_lettered=max(0, ledger.dead_lettered - known.dead_lettered),
            dropped=max(0, ledger.dropped - known.dropped),
        )
        answers, self._answers, self._failed = self._answers, {}, 0
        found = [
            Figures(
                destination_id,
                at_s,
                answer,
                attempts=sums.attempts,
                latency_ms_sum=round(sums.latency_ms_sum, 3),
                latency_ms_max=sums.latency_ms_max,
            )
            for answer, sums in answers.items()
        ]
        return [events, *found] if events != Figures(destination_id, at_s) else found
