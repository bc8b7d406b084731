"""What the management API answers with: the JSON of the contract, as types. OpenAPI is generated from them."""

from __future__ import annotations

import msgspec

from gateway.clock import rfc3339
from gateway.delivery.health import Attempt, BreakerState, LastError, Status
from gateway.delivery.health import Health as DeliveryHealth
from gateway.delivery.reason import status_reason, status_since_s
from gateway.destinations.history import Action, Activity, Change
from gateway.destinations.store import ApiKey, Destination, Filter, Scope
from gateway.providers.codec import Field, Provider
from gateway.providers.tls import warnings
from gateway.queue import DeadLetter, Gap, GapReason


class HealthView(msgspec.Struct, frozen=True):
    last_success_at: str | None
    last_error_at: str | None
    last_error: LastError | None
    consecutive_failures: int
    retrying_since: str | None
    next_attempt_at: str | None
    breaker: BreakerState
    pending_events: int
    pending_bytes: int
    lag_seconds: float
    delivered_events: int
    dropped_events: int
    dead_lettered_events: int
    events_at_risk_at: str | None


class DestinationView(msgspec.Struct, frozen=True):
    """Credentials are write-only: ``credentials_set`` names those that are stored, ``credentials_updated_at`` says when
    they were given. ``status_reason`` is a sentence for people. ``health.events_at_risk_at`` is when the first pending
    event will be lost if an outage goes on. ``warnings``: of its connection.
    """

    id: str
    provider: str
    endpoint: str
    enabled: bool
    created_at: str
    status: Status
    status_reason: str
    status_since: str
    name: str
    tenant_id: str
    updated_at: str
    options: dict[str, object]
    filter: Filter
    credentials_set: tuple[str, ...]
    credentials_updated_at: dict[str, str]
    ordered: bool
    deleting: bool
    warnings: tuple[str, ...]
    health: HealthView


class DestinationPage(msgspec.Struct, frozen=True):
    data: list[DestinationView]
    next_cursor: str | None


class AttemptView(msgspec.Struct, frozen=True):
    time: str
    events: int
    bytes: int
    duration_ms: float
    response_code: int | None
    decision: str
    message: str


class AttemptPage(msgspec.Struct, frozen=True):
    """The newest first, since the gateway was started."""

    data: list[AttemptView]
    next_cursor: str | None = None


class GapView(msgspec.Struct, frozen=True):
    """Times are those at which the gateway accepted the events; ids are null where the events are not readable."""

    reason: GapReason
    count: int
    first_time: str
    last_time: str
    first_event_id: str | None
    last_event_id: str | None
    recorded_at: str
    detail: str


class GapPage(msgspec.Struct, frozen=True):
    """The oldest first."""

    data: list[GapView]
    next_cursor: str | None


class DeadLetterView(msgspec.Struct, frozen=True):
    """``event`` is the event itself, as it came in."""

    id: int
    event_id: str
    time: str
    code: str
    reason: str
    event: msgspec.Raw


class DeadLetterPage(msgspec.Struct, frozen=True):
    data: list[DeadLetterView]
    next_cursor: str | None


class StatsPoint(msgspec.Struct, frozen=True):
    """One step. ``failed`` are events of attempts that had to be repeated; ``answers`` counts attempts by status, or by
    what happened instead (``timeout``, ``connection``, ``tls`` …). Latencies are null without an attempt.
    """

    at: str
    delivered: int
    failed: int
    dead_lettered: int
    dropped: int
    attempts: int
    latency_ms_avg: float | None
    latency_ms_max: float | None
    answers: dict[str, int]


class Stats(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """``points`` cover the whole window, the step that has just begun included."""

    window: str
    since: str
    to: str
    step_seconds: int
    points: list[StatsPoint]


class Sparkline(msgspec.Struct, frozen=True):
    id: str
    delivered: list[int]
    failed: list[int]


class UnreachedAction(msgspec.Struct, frozen=True):
    tenant_id: str
    action: str


class StatsPage(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """One number for each step of the window, of every destination that the key may see.

    ``unreached_actions`` are those of events that came since the start and that no enabled destination of their tenant
    lets through, as far as they are remembered.
    """

    window: str
    step_seconds: int
    since: str
    data: list[Sparkline]
    unreached_actions: list[UnreachedAction]


class ActorView(msgspec.Struct, frozen=True):
    """Both are null where the gateway itself acted."""

    key_id: str | None
    key_name: str | None


class ActivityView(msgspec.Struct, frozen=True):
    """Of a credential that was given only the name is known, with ``***`` for its value."""

    id: str
    at: str
    action: Action
    destination_id: str | None
    destination_name: str | None
    tenant_id: str
    actor: ActorView
    changes: tuple[Change, ...]


class ActivityPage(msgspec.Struct, frozen=True):
    """The newest first."""

    data: list[ActivityView]
    next_cursor: str | None


class PreviewedEvent(msgspec.Struct, frozen=True):
    id: str
    timestamp: str
    action: str
    service: str
    outcome: str
    actor_type: str
    matched: bool


class Preview(msgspec.Struct, frozen=True):
    """Over the newest events that are still in the queue; ``sample`` has the newest of them."""

    matched: int
    of: int
    sample: list[PreviewedEvent]


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters; all of them when ``ids`` is not given."""

    ids: list[int] | None = None


class Replayed(msgspec.Struct, frozen=True):
    replayed: int


class Removed(msgspec.Struct, frozen=True):
    deleted: int


class WhoAmI(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    scopes: tuple[Scope, ...]
    name: str


class KeyView(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    name: str
    scopes: tuple[Scope, ...]
    prefix: str
    created_at: str
    expires_at: str | None


class KeyPage(msgspec.Struct, frozen=True):
    data: list[KeyView]
    next_cursor: str | None


class NewKey(msgspec.Struct, frozen=True):
    """``key`` is the key itself, shown here and never again."""

    id: str
    key: str
    tenant_id: str
    name: str
    scopes: tuple[Scope, ...]
    prefix: str
    created_at: str
    expires_at: str | None

    def __repr__(self) -> str:
        return f"NewKey({self.id})"


class ProviderView(msgspec.Struct, frozen=True):
    name: str
    label: str
    fields: tuple[Field, ...]
    example_endpoint: str
    endpoint_help: str
    credentials_help: str


class ProviderPage(msgspec.Struct, frozen=True):
    data: list[ProviderView]
    next_cursor: None = None


class HealthAnswer(msgspec.Struct, frozen=True):
    status: str


def _time(time_s: float | None) -> str | None:
    return None if time_s is None else rfc3339(time_s)


_UNKNOWN = DeliveryHealth(Status.ACTIVE, None, None, None, 0, None, None, BreakerState.CLOSED, 0, 0, 0.0, 0, 0, 0)


def destination_view(destination: Destination, health: DeliveryHealth | None) -> DestinationView:
    """``health`` is None in the moment before delivery has taken the destination up."""
    known = health or _UNKNOWN
    return DestinationView(
        id=destination.id,
        provider=destination.provider,
        endpoint=destination.endpoint,
        enabled=destination.enabled,
        created_at=rfc3339(destination.created_at_s),
        status=known.status,
        status_reason=status_reason(destination, health),
        status_since=rfc3339(status_since_s(destination, health)),
        name=destination.name,
        tenant_id=destination.tenant_id,
        updated_at=rfc3339(destination.updated_at_s),
        options=destination.options,
        filter=destination.filter,
        credentials_set=destination.credentials_set,
        credentials_updated_at={
            name: rfc3339(at_s) for name, at_s in sorted(destination.credentials_updated_at_s.items())
        },
        ordered=destination.ordered,
        deleting=destination.deleting,
        warnings=warnings(destination.endpoint, destination.options),
        health=HealthView(
            last_success_at=_time(known.last_success_at_s),
            last_error_at=_time(known.last_error_at_s),
            last_error=known.last_error,
            consecutive_failures=known.consecutive_failures,
            retrying_since=_time(known.retrying_since_s),
            next_attempt_at=_time(known.next_attempt_at_s),
            breaker=known.breaker,
            pending_events=known.pending_events,
            pending_bytes=known.pending_bytes,
            lag_seconds=round(known.lag_s, 3),
            delivered_events=known.delivered_events,
            dropped_events=known.dropped_events,
            dead_lettered_events=known.dead_lettered_events,
            events_at_risk_at=_time(known.events_at_risk_at_s),
        ),
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        time=rfc3339(attempt.at_s),
        events=attempt.events,
        bytes=attempt.bytes,
        duration_ms=attempt.duration_ms,
        response_code=attempt.response_code,
        decision=attempt.decision,
        message=attempt.message,
    )


def gap_view(gap: Gap) -> GapView:
    return GapView(
        reason=gap.reason,
        count=gap.count,
        first_time=rfc3339(gap.first_time_s),
        last_time=rfc3339(gap.last_time_s),
        first_event_id=gap.first_id,
        last_event_id=gap.last_id,
        recorded_at=rfc3339(gap.recorded_at_s),
        detail=gap.detail,
    )


def dead_letter_view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.number,
        event_id=letter.event_id,
        time=rfc3339(letter.time_s),
        code=letter.code,
        reason=letter.reason,
        event=msgspec.Raw(letter.line),
    )


def activity_view(activity: Activity) -> ActivityView:
    return ActivityView(
        id=activity.id,
        at=rfc3339(activity.at_s),
        action=activity.action,
        destination_id=activity.destination_id,
        destination_name=activity.destination_name,
        tenant_id=activity.tenant_id,
        actor=ActorView(activity.key_id, activity.key_name),
        changes=activity.changes,
    )


def key_view(key: ApiKey) -> KeyView:
    return KeyView(
        key.id, key.tenant_id, key.name, key.scopes, key.prefix, rfc3339(key.created_at_s), _time(key.expires_at_s)
    )


def new_key(key: ApiKey, value: str) -> NewKey:
    view = key_view(key)
    return NewKey(view.id, value, view.tenant_id, view.name, view.scopes, view.prefix, view.created_at, view.expires_at)


def provider_view(provider: Provider) -> ProviderView:
    return ProviderView(
        provider.name,
        provider.label,
        provider.fields,
        provider.example_endpoint,
        provider.endpoint_help,
        provider.credentials_help,
    )
