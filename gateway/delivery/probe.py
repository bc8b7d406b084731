"""One marked event through the same encode, transport and classify that delivery uses, and what came of it in words."""

from __future__ import annotations

import secrets

import msgspec
from yarl import URL

from gateway.clock import Clock, rfc3339
from gateway.delivery.attempt import WORDS_MAX, Sender, describe
from gateway.delivery.health import TestResult
from gateway.delivery.reason import advice
from gateway.delivery.steps import Exchange, steps_of
from gateway.errors import TransportError
from gateway.providers.codec import Acknowledging, AckReport, AwaitAck, Batch, Codec, Delivered, Outcome, Partial
from gateway.providers.egress import literal_address
from gateway.providers.trace import Trace
from gateway.queue import ALL_TENANTS

_CONFIRMATION_TRIES = 3
_CONFIRMATION_PAUSE_S = 1.0


def marked_event(tenant_id: str, now_s: float) -> bytes:
    """An event that whoever finds it can tell from a real one."""
    return msgspec.json.encode(
        {
            "id": f"evt_test_{secrets.token_hex(12)}",
            "timestamp": rfc3339(now_s),
            "tenant_id": "gateway" if tenant_id == ALL_TENANTS else tenant_id,
            "actor_type": "SYSTEM",
            "actor_id": "audit-siem-gateway",
            "action": "siem.destination.test",
            "resource_type": "siem_destination",
            "resource_id": "test",
            "service": "audit-siem-gateway",
            "outcome": "SUCCESS",
            "metadata": {"test": True},
        }
    )


async def probe(
    sender: Sender, codec: Codec, *, tenant_id: str, endpoint: str, trace: Trace, clock: Clock
) -> TestResult:
    """``endpoint`` is where the codec sends to; ``trace`` that of the sender's transport."""
    context = sender.context()
    encoded = codec.encode(Batch([marked_event(tenant_id, context.now_s)]), context)
    if not encoded.requests:
        refused = encoded.refused[0]
        words = advice(refused.code, None)
        return TestResult(ok=False, status_code=None, latency_ms=0.0, message=refused.reason, advice=words)
    sent, attempt = await sender.send(encoded.requests[0], context)
    decision, words = describe(sent.outcome)
    ok = isinstance(sent.outcome, Delivered | AwaitAck)
    if isinstance(sent.outcome, Partial):
        ok = bool(sent.outcome.delivered)
    url = URL(endpoint)
    exchange = Exchange(
        is_https=url.scheme == "https",
        is_literal=literal_address(url.raw_host or "") is not None,
        taken=ok,
        status=attempt.response_code,
        code=attempt.code,
        words=attempt.message or decision,
        latency_ms=attempt.duration_ms,
        confirmed=await _confirmed(sender, codec, sent.outcome, clock),
    )
    return TestResult(
        ok=ok,
        status_code=attempt.response_code,
        latency_ms=attempt.duration_ms,
        message=words[:WORDS_MAX] or ("the test event was accepted" if ok else decision),
        steps=steps_of(exchange, trace, clock.time_s()),
        advice=None if ok else advice(attempt.code, attempt.response_code),
    )


async def _confirmed(sender: Sender, codec: Codec, outcome: Outcome, clock: Clock) -> bool | None:
    """Whether the provider confirms within a few seconds; None where it does not confirm at all."""
    if not isinstance(outcome, AwaitAck) or not isinstance(codec, Acknowledging):
        return None
    for _ in range(_CONFIRMATION_TRIES):
        await clock.sleep(_CONFIRMATION_PAUSE_S)
        answer = await sender.exchange(codec.encode_ack_poll([outcome.ack_id], sender.context()))
        if isinstance(answer, TransportError):
            return False
        report = codec.classify_ack_poll(answer)
        if isinstance(report, AckReport) and report.disabled:
            return None
        if isinstance(report, AckReport) and outcome.ack_id in report.confirmed:
            return True
    return False
