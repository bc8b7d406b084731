"""Synthetic audit events of about 560 bytes, in requests that are made in advance.

An event's id is its request's number and its place in it, so that a receiver can say which events came, which did not
and which came twice. Making a request ready to be sent is one join of large pieces.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from datetime import UTC, datetime, timedelta

POOL_EVENTS = 20_000
EVENTS_A_SECOND = 50_000  # of the events' own clock: busy batches share their milliseconds
SENT_NS_BASE = 10**18  # keeps the moment of sending at 19 digits

_NUMBER, _SENT = b"########", b"@@@@@@@@@@@@@@@@@@@"
_BEGAN = datetime(2026, 6, 30, 12, 34, 56, tzinfo=UTC)
_TEMPLATE = (
    b'{"id":"evt_' + _NUMBER + b'%04d","timestamp":"%b","tenant_id":"%b","actor_type":"USER",'
    b'"actor_id":"user-%b","action":"attestation.mint","resource_type":"attestation",'
    b'"resource_id":"attestation-%b","service":"trust-registry","outcome":"SUCCESS","metadata":{"sent_ns":'
    + _SENT
    + b',"issuer_id":"issuer-%b","subject":"user:%d","ip":"203.0.113.%d",'
    b'"request_id":"%b"},"integrity_hash":"sha256:%b"}'
)


class Form(enum.StrEnum):
    """How events travel to what is measured."""

    NDJSON = "ndjson"  # HTTP, one event a line
    ARRAY = "array"  # HTTP, a JSON array
    LINES = "lines"  # bare lines over TCP, nothing is answered


class Pool:
    """Requests that repeat after POOL_EVENTS events, but for their ids. ``head`` has ``{length}`` of the body in it."""

    def __init__(self, per_request: int, tenants: int, form: Form, head: str, *, timed: bool) -> None:
        count = max(1, POOL_EVENTS // per_request // tenants) * tenants
        self._requests = [
            _request(range(slot * per_request, (slot + 1) * per_request), slot % tenants, form, head, timed=timed)
            for slot in range(count)
        ]

    def request(self, number: int, due_ns: int = 0) -> bytes:
        """The bytes of a request. ``due_ns`` is when it was due, where the pool is timed."""
        raw = (b"%08d" % number).join(self._requests[number % len(self._requests)])
        return raw.replace(_SENT, b"%d" % (SENT_NS_BASE + due_ns)) if due_ns else raw


def tenant(number: int) -> str:
    return f"tenant-{1000 + number}"


def _request(numbers: range, tenant_number: int, form: Form, head: str, *, timed: bool) -> list[bytes]:
    """Cut where the request's number goes."""
    lines = [_event(number, index, tenant_number) for index, number in enumerate(numbers)]
    body = b"[" + b",".join(lines) + b"]" if form is Form.ARRAY else b"\n".join(lines) + b"\n"
    if not timed:
        body = body.replace(_SENT, b"%d" % SENT_NS_BASE)
    return (head.format(length=len(body)).encode() + body).split(_NUMBER)


def _event(number: int, index: int, tenant_number: int) -> bytes:
    mixed = number * 0x9E3779B97F4A7C15 % (1 << 64)
    ids = base64.b32encode(hashlib.sha512(b"%d" % mixed).digest())  # as random as those that people give out
    digest = hashlib.sha256(ids).hexdigest().encode()
    moment = (_BEGAN + timedelta(seconds=number / EVENTS_A_SECOND)).isoformat(timespec="milliseconds")
    return _TEMPLATE % (
        index,
        moment.replace("+00:00", "Z").encode(),
        tenant(tenant_number).encode(),
        ids[:20],
        ids[20:46],
        ids[46:58],
        mixed % 77_777,
        mixed % 255,
        ids[58:84],
        digest,
    )
