"""A destination's state in words: why it is so, since when, and what to do. Plain functions."""

from __future__ import annotations

import re
from typing import Protocol

from gateway.delivery.health import Health, LastError, Status
from gateway.providers.cloudwatch_reply import CREDENTIALS, RESOURCE_MISSING, RETRIED, THROTTLED

SEALED = "secret_key"
_WORDS_MAX = 300
_STATUS_CODE = re.compile(r"http_(\d{3})")

_SLOWED = "Nothing to do: the gateway slows down. Raise the provider's quota if it lasts."
_KEPT = "Nothing to do here: events are kept and sent again. Look at the provider if it lasts."
_REVOKED = "Check the credentials, and enter new ones if they were revoked."
_PERMISSIONS = "Check the credentials and their permissions."
_OF_CODE = {
    "egress_blocked": "Use an address that destinations may reach, or let the operator permit it (settings egress.*).",
    "tls": "Renew the endpoint's certificate, or add its authority with delivery.ca_file.",
    "timeout": "Check the firewall, and whether the endpoint is overloaded.",
    "connection": "Check the endpoint's address and port, and the firewall.",
    "ack_timeout": "Check that the indexers run, or switch acknowledgement off.",
    SEALED: "Let the operator start the gateway with the secret_key of before, or give the credentials again.",
    "clock": "Set the gateway's clock right.",
    "unreadable": "Check that the endpoint is the provider's own interface.",
    "hec_unreadable": "Check that the endpoint is Splunk's HTTP Event Collector.",
    # what CloudWatch says is all 400, and what Elasticsearch says of single events is all 200
    **dict.fromkeys(THROTTLED, _SLOWED),
    **dict.fromkeys(RETRIED, _KEPT),
    **dict.fromkeys(CREDENTIALS, _REVOKED),
    "AccessDeniedException": _PERMISSIONS,
    RESOURCE_MISSING: "Create the log group, or change options.log_group.",
    "es_rejected_execution_exception": _SLOWED,
    "circuit_breaking_exception": _SLOWED,
    "unavailable_shards_exception": _KEPT,
    "security_exception": _PERMISSIONS,
}
_OF_STATUS = {
    400: "Check the options: the provider does not take requests of this form.",
    401: _REVOKED,
    403: _PERMISSIONS,
    404: "Check the endpoint's path and what the options name.",
    405: "Check the endpoint's path.",
    413: "Nothing to do: the gateway sends smaller requests.",
    429: _SLOWED,
}


class Configured(Protocol):
    """What of a destination its reason depends on."""

    @property
    def enabled(self) -> bool: ...
    @property
    def deleting(self) -> bool: ...
    @property
    def created_at_s(self) -> float: ...
    @property
    def updated_at_s(self) -> float: ...


def advice(code: str, status: int | None) -> str | None:
    """What a person can do about a failure: by the code of the outcome, else by the status of the answer."""
    if code in _OF_CODE:
        return _OF_CODE[code]
    if status is None and (found := _STATUS_CODE.fullmatch(code)) is not None:
        status = int(found[1])
    if status is None:
        return None
    if 300 <= status < 400:
        return "Set the endpoint to the address that it redirects to."
    if status >= 500 and status != 501:
        return _KEPT
    return _OF_STATUS.get(status, "Check the endpoint and the options.")


def status_reason(destination: Configured, health: Health | None) -> str:
    """One or two short sentences that change only when the state does, never empty."""
    if destination.deleting:
        return "Being deleted: what waits is delivered first."
    if not destination.enabled:
        return "Disabled: events of this time become a gap."
    if health is None:
        return "Starting."
    match health.status:
        case Status.FAILED:
            dropped = health.dropped_since_failure
            events = "1 event was" if dropped == 1 else f"{dropped:,} events were"
            return f"Retries ran out; {events} dropped. Mend the destination and enable it again."
        case Status.DEGRADED:
            return _failing(health.last_error, health.last_response_code)
        case Status.ACTIVE if _is_sealed(health):
            return _failing(health.last_error, None)
        case Status.ACTIVE:
            return "Nothing to deliver yet." if health.last_success_at_s is None else "Delivering."


def why_closed(destination: Configured, health: Health | None) -> str | None:
    """Why what is sent to it alone would not be delivered, and what to do; None when nothing stands against it."""
    if destination.deleting:
        return "the destination is being deleted and takes nothing more: make another one"
    if not destination.enabled:
        return "the destination is disabled, and these events would become a gap: enable it first"
    if health is not None and health.status is Status.FAILED:
        return "the destination has failed, and these events would become a gap: mend it and enable it again first"
    return None


def status_since_s(destination: Configured, health: Health | None) -> float:
    """Since when the reason holds, in seconds since the epoch."""
    if destination.deleting:
        return destination.updated_at_s
    if health is None:
        return destination.created_at_s
    if not destination.enabled:
        return health.disabled_since_s if health.disabled_since_s is not None else destination.updated_at_s
    since_s = {
        Status.FAILED: health.failed_at_s,
        Status.DEGRADED: health.retrying_since_s,
        Status.ACTIVE: health.active_since_s,
    }[health.status]
    return destination.created_at_s if since_s is None else since_s


def _is_sealed(health: Health) -> bool:
    """Its credentials cannot be opened. Nothing goes out then, so any success is older."""
    error, at_s = health.last_error, health.last_error_at_s
    return error is not None and error.code == SEALED and (at_s or 0.0) > (health.last_success_at_s or 0.0)


def _failing(error: LastError | None, response_code: int | None) -> str:
    if error is None:
        return "Delivery fails and is tried again."
    words = error.message if len(error.message) <= _WORDS_MAX else error.message[: _WORDS_MAX - 1] + "…"
    words = words[:1].upper() + words[1:]
    remedy = advice(error.code, response_code)
    return f"{words.rstrip('.')}. {remedy}" if remedy else f"{words.rstrip('.')}."
