"""What a destination's delivery looks like from outside, and how its state follows from facts. No I/O, no clock."""

from __future__ import annotations

import enum
from typing import Literal

import msgspec


class Status(enum.StrEnum):
    ACTIVE = "active"
    DEGRADED = "degraded"
    FAILED = "failed"


class BreakerState(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class LastError(msgspec.Struct, frozen=True):
    code: str
    message: str


class Health(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch; None where nothing of the kind has happened.

    ``active_since_s`` is None for one that has been so since its creation. ``dropped_since_failure`` counts what was
    dropped when the retries ran out and since then. ``last_response_code`` is of the newest attempt of this process.
    """

    status: Status
    last_success_at_s: float | None
    last_error_at_s: float | None
    last_error: LastError | None
    consecutive_failures: int
    retrying_since_s: float | None
    next_attempt_at_s: float | None
    breaker: BreakerState
    pending_events: int
    pending_bytes: int
    lag_s: float
    delivered_events: int
    dropped_events: int
    dead_lettered_events: int
    events_at_risk_at_s: float | None = None
    active_since_s: float | None = None
    failed_at_s: float | None = None
    disabled_since_s: float | None = None
    dropped_since_failure: int = 0
    last_response_code: int | None = None


class Attempt(msgspec.Struct, frozen=True):
    """One request that was sent, or tried. ``decision`` names what was made of the answer, ``code`` why."""

    at_s: float
    events: int
    bytes: int
    duration_ms: float
    response_code: int | None
    decision: str
    message: str  # the provider's own words, at most 500 characters
    code: str = ""


class TestStep(msgspec.Struct, frozen=True):
    """One step of a test. ``ok`` is None where it was not reached or does not apply, ``ms`` where it is not known."""

    __test__ = False  # not a test class, whatever its name begins with

    name: Literal["dns", "connect", "tls", "authentication", "write", "acknowledged"]
    ok: bool | None
    detail: str
    ms: float | None = None


class TestResult(msgspec.Struct, frozen=True):
    """What came back from one marked test event, what each step on the way came to, and what to do about it."""

    __test__ = False  # not a test class, whatever its name begins with

    ok: bool
    status_code: int | None
    latency_ms: float
    message: str
    steps: tuple[TestStep, ...] = ()
    advice: str | None = None
