"""One marked event through the same encode, transport and classify that delivery uses, and what came of it in words."""

from __future__ import annotations

import secrets

import msgspec

from gateway.clock import Clock, rfc3339
from gateway.delivery.attempt import Sender, describe
from gateway.delivery.health import TestResult
from gateway.providers.codec import AwaitAck, Batch, Codec, Delivered, Partial
from gateway.queue import ALL_TENANTS


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


async def probe(sender: Sender, codec: Codec, tenant_id: str, clock: Clock) -> TestResult:
    context = sender.context()
    encoded = codec.encode(Batch([marked_event(tenant_id, context.now_s)]), context)
    if not encoded.requests:
        return TestResult(ok=False, status_code=None, latency_ms=0.0, message=encoded.refused[0].reason)
    sent, attempt = await sender.send(encoded.requests[0], context)
    decision, words = describe(sent.outcome)
    ok = isinstance(sent.outcome, Delivered | AwaitAck)
    if isinstance(sent.outcome, Partial):
        ok = bool(sent.outcome.delivered)
    return TestResult(
        ok=ok,
        status_code=attempt.response_code,
        latency_ms=attempt.duration_ms,
        message=words or ("the test event was accepted" if ok else decision),
    )
