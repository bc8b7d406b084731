"""A test of a destination, step by step: what of it worked, what failed and what was not reached. Plain functions."""

from __future__ import annotations

import msgspec

from gateway.delivery.health import TestStep
from gateway.providers.cloudwatch_reply import CREDENTIALS
from gateway.providers.trace import Certificate, Trace

_DAY_S = 86_400
_REFUSED_CREDENTIALS = CREDENTIALS | {"AccessDeniedException"}


class Exchange(msgspec.Struct, frozen=True):
    """What a test came to as a whole. ``status`` is None when no answer came, ``code`` says then what happened instead.

    ``confirmed`` is None where the provider confirms nothing beside its answer.
    """

    is_https: bool
    is_literal: bool  # the endpoint names an address, so that there is nothing to resolve
    taken: bool
    status: int | None
    code: str
    words: str
    latency_ms: float
    confirmed: bool | None


def steps_of(exchange: Exchange, trace: Trace, now_s: float) -> tuple[TestStep, ...]:
    """All six, in the order in which they are taken."""
    return (
        _dns(exchange, trace),
        _connect(exchange, trace),
        _tls(exchange, trace, now_s),
        _authentication(exchange),
        _write(exchange, trace),
        _acknowledged(exchange),
    )


def _dns(exchange: Exchange, trace: Trace) -> TestStep:
    if trace.resolving_failed:
        return TestStep("dns", False, exchange.words)
    if trace.resolved_ms is not None:
        return TestStep("dns", True, "The name has an address.", trace.resolved_ms)
    return TestStep("dns", None, "Not needed: the endpoint is an address." if exchange.is_literal else "Not reached.")


def _connect(exchange: Exchange, trace: Trace) -> TestStep:
    if _is_connected(exchange, trace) or exchange.code == "tls":
        # over TLS the time is that of both, and stands there
        return TestStep("connect", True, "Connected.", None if exchange.is_https else trace.connected_ms)
    if trace.resolving_failed:
        return TestStep("connect", None, "Not reached.")
    return TestStep("connect", False, exchange.words)


def _tls(exchange: Exchange, trace: Trace, now_s: float) -> TestStep:
    if not exchange.is_https:
        return TestStep("tls", None, "Not used: the endpoint begins with http://.")
    if exchange.status is None and exchange.code == "tls":
        return TestStep("tls", False, exchange.words)
    if _is_connected(exchange, trace):
        return TestStep("tls", True, _certificate_words(trace.certificate, now_s), trace.connected_ms)
    return TestStep("tls", None, "Not reached.")


def _certificate_words(certificate: Certificate | None, now_s: float) -> str:
    if certificate is None:
        return "The certificate is valid."
    words = f"Certificate of {certificate.issuer}"
    if certificate.ends_at_s is None:
        return f"{words}."
    days = int((certificate.ends_at_s - now_s) // _DAY_S)
    return f"{words}, valid for {days} more {'day' if days == 1 else 'days'}."


def _authentication(exchange: Exchange) -> TestStep:
    if exchange.status is None:
        return TestStep("authentication", None, "Not reached.")
    if _is_refused(exchange):
        return TestStep("authentication", False, exchange.words)
    if exchange.taken:
        return TestStep("authentication", True, "The credentials were accepted.")
    return TestStep("authentication", None, "The answer does not tell.")


def _write(exchange: Exchange, trace: Trace) -> TestStep:
    if exchange.taken:
        return TestStep("write", True, f"Answered with {exchange.status}.", exchange.latency_ms)
    if exchange.status is None and not trace.connected_ms:
        return TestStep("write", None, "Not reached.")
    if _is_refused(exchange):
        return TestStep("write", None, "Not tried: the credentials were refused.")
    return TestStep("write", False, exchange.words, exchange.latency_ms)


def _acknowledged(exchange: Exchange) -> TestStep:
    if not exchange.taken:
        return TestStep("acknowledged", None, "Not reached.")
    if exchange.confirmed is None:
        return TestStep("acknowledged", None, "Not used: the answer itself is the acknowledgement.")
    if exchange.confirmed:
        return TestStep("acknowledged", True, "The provider confirmed the event.")
    return TestStep("acknowledged", None, "Not confirmed yet; deliveries wait for it longer than a test.")


def _is_connected(exchange: Exchange, trace: Trace) -> bool:
    return exchange.status is not None or trace.connected_ms is not None


def _is_refused(exchange: Exchange) -> bool:
    return exchange.status in (401, 403) or (exchange.status is not None and exchange.code in _REFUSED_CREDENTIALS)
