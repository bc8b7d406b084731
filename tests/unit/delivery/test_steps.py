"""A test of a destination, step by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from gateway.delivery.steps import Exchange, steps_of
from gateway.providers.trace import Certificate, Trace

NOW_S = 1_782_822_900.0
TAKEN = Exchange(
    is_https=True,
    is_literal=False,
    taken=True,
    status=200,
    code="",
    words="",
    latency_ms=20.0,
    confirmed=None,
)
PEER = {
    "issuer": ((("countryName", "XX"),), (("organizationName", "Test CA"),), (("commonName", "R1"),)),
    "notAfter": "Jul 31 12:00:00 2026 GMT",
}


def unreached(trace: Trace) -> None:
    """Nothing was even begun."""


def unresolved(trace: Trace) -> None:
    trace.resolving_failed = True


def resolved(trace: Trace) -> None:
    trace.resolved_ms = 1.5


def connected(trace: Trace) -> None:
    resolved(trace)
    trace.connected_ms = 7.0
    trace.certificate = Certificate(PEER)


FAILED = replace(TAKEN, taken=False, status=None, words="why not")


@pytest.mark.parametrize(
    ("exchange", "fill", "expected"),
    [
        (TAKEN, connected, [True, True, True, True, True, None]),
        (replace(TAKEN, confirmed=True), connected, [True, True, True, True, True, True]),
        (replace(TAKEN, confirmed=False), connected, [True, True, True, True, True, None]),
        (replace(TAKEN, is_https=False, is_literal=True), unreached, [None, True, None, True, True, None]),
        (replace(FAILED, code="connection"), unresolved, [False, None, None, None, None, None]),
        (replace(FAILED, code="egress_blocked"), unresolved, [False, None, None, None, None, None]),
        (replace(FAILED, code="egress_blocked"), unreached, [None, False, None, None, None, None]),
        (replace(FAILED, code="connection"), resolved, [True, False, None, None, None, None]),
        (replace(FAILED, code="timeout"), resolved, [True, False, None, None, None, None]),
        (replace(FAILED, code="tls"), resolved, [True, True, False, None, None, None]),
        (replace(FAILED, code="timeout"), connected, [True, True, True, None, False, None]),
        (replace(FAILED, code="http_401", status=401), connected, [True, True, True, False, None, None]),
        (replace(FAILED, code="hec_4", status=403), connected, [True, True, True, False, None, None]),
        (
            replace(FAILED, code="UnrecognizedClientException", status=400),
            connected,
            [True, True, True, False, None, None],
        ),
        (
            replace(FAILED, code="MissingAuthenticationTokenException", status=400),
            connected,
            [True, True, True, False, None, None],
        ),
        (replace(FAILED, code="http_503", status=503), connected, [True, True, True, None, False, None]),
    ],
)
def test_what_failed_is_told_from_what_was_not_reached(
    exchange: Exchange, fill: Callable[[Trace], None], expected: list[bool | None]
) -> None:
    """Everything before the fault worked, the fault has the words, everything behind it is neither."""
    trace = Trace()
    fill(trace)
    steps = steps_of(exchange, trace, NOW_S)
    assert [step.name for step in steps] == ["dns", "connect", "tls", "authentication", "write", "acknowledged"]
    assert [step.ok for step in steps] == expected
    assert all(step.detail for step in steps)
    assert [step.detail for step in steps if step.ok is False] == ["why not"] * expected.count(False)


def test_the_times_are_those_that_were_measured() -> None:
    """Over TLS connecting and its handshake are one time, which stands at the latter."""
    trace = Trace()
    connected(trace)
    assert [step.ms for step in steps_of(TAKEN, trace, NOW_S)] == [1.5, None, 7.0, None, 20.0, None]
    plain = steps_of(replace(TAKEN, is_https=False), trace, NOW_S)
    assert [step.ms for step in plain] == [1.5, 7.0, None, None, 20.0, None]


def test_the_certificate_is_named_with_its_days() -> None:
    """Who issued it, and how long it holds; an issuer without an organization by its common name."""
    trace = Trace()
    connected(trace)
    assert steps_of(TAKEN, trace, NOW_S)[2].detail == "Certificate of Test CA, valid for 30 more days."
    trace.certificate = Certificate({"issuer": ((("commonName", "R1"),),), "notAfter": "Jul  2 00:00:00 2026 GMT"})
    assert steps_of(TAKEN, trace, NOW_S)[2].detail == "Certificate of R1, valid for 1 more day."
