"""A destination's state in words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.delivery.health import BreakerState, Health, LastError, Status
from gateway.delivery.reason import advice, status_reason, status_since_s, why_closed
from gateway.destinations.store import Destination, Filter

DESTINATION = Destination("d", "t", "webhook", "", True, "", {}, Filter(), b"", (), 100.0, 200.0)
HEALTH = Health(Status.ACTIVE, None, None, None, 0, None, None, BreakerState.CLOSED, 0, 0, 0.0, 0, 0, 0)


SEALED = LastError("secret_key", "no key")


@pytest.mark.parametrize(
    ("destination", "health", "reason", "since_s"),
    [
        ({}, HEALTH, "Nothing to deliver yet.", 100.0),
        ({}, replace(HEALTH, last_success_at_s=300.0), "Delivering.", 100.0),
        ({}, replace(HEALTH, last_success_at_s=300.0, active_since_s=250.0), "Delivering.", 250.0),
        (
            {},
            replace(
                HEALTH, last_success_at_s=300.0, last_error=LastError("secret_key", "no key"), last_error_at_s=301.0
            ),
            "No key. Let the operator start the gateway with the secret_key of before, or give the credentials again.",
            100.0,
        ),
        (
            {},
            replace(
                HEALTH, last_success_at_s=300.0, last_error=LastError("secret_key", "no key"), last_error_at_s=299.0
            ),
            "Delivering.",
            100.0,
        ),
        ({}, None, "Starting.", 100.0),
        ({"deleting": True}, HEALTH, "Being deleted: what waits is delivered first.", 200.0),
        ({"enabled": False}, HEALTH, "Disabled: events of this time become a gap.", 200.0),
        (
            {"enabled": False},
            replace(HEALTH, status=Status.FAILED, disabled_since_s=150.0),
            "Disabled: events of this time become a gap.",
            150.0,
        ),
        (
            {},
            replace(HEALTH, status=Status.FAILED, failed_at_s=400.0, dropped_since_failure=1_204),
            "Retries ran out; 1,204 events were dropped. Mend the destination and enable it again.",
            400.0,
        ),
        (
            {},
            replace(HEALTH, status=Status.FAILED, failed_at_s=400.0, dropped_since_failure=1),
            "Retries ran out; 1 event was dropped. Mend the destination and enable it again.",
            400.0,
        ),
        (
            {},
            replace(
                HEALTH,
                status=Status.DEGRADED,
                retrying_since_s=350.0,
                last_error=LastError("hec_4", "the token was refused (HTTP 403): Invalid token"),
                last_response_code=403,
            ),
            "The token was refused (HTTP 403): Invalid token. Check the credentials and their permissions.",
            350.0,
        ),
        (
            {},
            replace(HEALTH, status=Status.DEGRADED, retrying_since_s=350.0, last_error=LastError("strange", "so.")),
            "So.",
            350.0,
        ),
    ],
)
def test_every_state_has_its_words_and_its_time(
    destination: dict[str, bool], health: Health | None, reason: str, since_s: float
) -> None:
    """What a person wants to know first: never empty, and the same as long as the state is the same."""
    configured = replace(DESTINATION, **destination)
    assert status_reason(configured, health) == reason
    assert status_since_s(configured, health) == since_s


def test_a_provider_that_talks_much_is_cut() -> None:
    """The remedy is still there behind its words."""
    error = LastError("http_401", "x" * 500)
    reason = status_reason(DESTINATION, replace(HEALTH, status=Status.DEGRADED, last_error=error))
    assert len(reason) < 400
    assert reason.endswith("Check the credentials, and enter new ones if they were revoked.")


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("timeout", None, "firewall"),
        ("tls", None, "certificate"),
        ("egress_blocked", None, "operator"),
        ("connection", None, "port"),
        ("http_401", None, "credentials"),
        ("hec_4", 403, "permissions"),
        ("http_302", 302, "redirects"),
        ("http_404", 404, "path"),
        ("http_501", 501, "endpoint"),
        ("http_503", 503, "kept and sent again"),
        ("ThrottlingException", 400, "slows down"),
        ("ServiceUnavailableException", 400, "kept and sent again"),
        ("InvalidClientTokenId", 400, "credentials"),
        ("AccessDeniedException", 400, "permissions"),
        ("ResourceNotFoundException", 400, "log group"),
        ("es_rejected_execution_exception", 200, "slows down"),
        ("unavailable_shards_exception", 200, "kept and sent again"),
    ],
)
def test_there_is_something_to_do_about_most_failures(code: str, status: int | None, words: str) -> None:
    """By the code where it says enough, else by the status."""
    assert words in (advice(code, status) or "")


def test_nothing_is_advised_where_nothing_is_known() -> None:
    """Rather nothing than a guess."""
    assert advice("", None) is None


@pytest.mark.parametrize(
    ("destination", "health", "words"),
    [
        ({}, None, ""),
        ({}, HEALTH, ""),
        ({}, replace(HEALTH, status=Status.DEGRADED), ""),
        ({}, replace(HEALTH, status=Status.FAILED), "has failed"),
        ({"enabled": False}, replace(HEALTH, status=Status.FAILED), "is disabled"),
        ({"enabled": False}, None, "is disabled"),
        ({"enabled": False, "deleting": True}, HEALTH, "is being deleted"),
    ],
)
def test_what_is_not_delivered_to_is_closed(destination: dict[str, bool], health: Health | None, words: str) -> None:
    """A disabled, failed or leaving destination is told of with what to do; one that only fails now is open."""
    closed = why_closed(replace(DESTINATION, **destination), health)
    assert (closed is not None) == bool(words)
    assert words in (closed or "")
