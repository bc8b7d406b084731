"""Synthetic audit events of about 550 bytes. Each carries its number and the moment at which it was to be sent."""

from __future__ import annotations

_TEMPLATE = (
    b'{"id":"evt_%012d","timestamp":"2026-06-30T12:34:56.789Z","tenant_id":"tenant-bench","actor_type":"USER",'
    b'"actor_id":"user-%06d","action":"attestation.mint","resource_type":"attestation",'
    b'"resource_id":"attestation-%08d","service":"trust-registry","outcome":"SUCCESS","metadata":{"sent_ns":%d,'
    b'"issuer_id":"issuer-%05d","subject":"user:%d","claim":"email_verified","ip":"203.0.113.%d",'
    b'"user_agent":"Mozilla/5.0 (X11; Linux x86_64)","request_id":"req-%016x","region":"eu-central-1"},'
    b'"integrity_hash":"sha256:%064x"}'
)


def event(number: int, sent_ns: int) -> bytes:
    mixed = number * 0x9E3779B97F4A7C15 % (1 << 64)
    return _TEMPLATE % (
        number,
        mixed % 1_000_000,
        mixed % 100_000_000,
        sent_ns,
        mixed % 99_999,
        mixed % 77_777,
        mixed % 255,
        mixed,
        mixed * 0xD6E8FEB86659FD93,
    )


def batch(first: int, count: int) -> bytes:
    return b"\n".join(event(number, 0) for number in range(first, first + count))
