"""What a destination's delivery looks like from outside, and how its state follows from facts. No I/O, no clock."""

from __future__ import annotations

import enum

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
    """Times are seconds since the epoch; None where nothing of the kind has happened."""

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


class Attempt(msgspec.Struct, frozen=True):
    """One request that was sent, or tried. ``decision`` names what was made of the answer."""

    at_s: float
    events: int
    bytes: int
    duration_ms: float
    response_code: int | None
    decision: str
    message: str  # the provider's own words, at most 500 characters


class TestResult(msgspec.Struct, frozen=True):
    """What came back from one marked test event."""

    __test__ = False  # not a test class, whatever its name begins with

    ok: bool
    status_code: int | None
    latency_ms: float
    message: str
