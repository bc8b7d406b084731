"""Events for tests: the reference event with changes, and real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

REQUIRED = (
    "id",
    "timestamp",
    "tenant_id",
    "actor_type",
    "actor_id",
    "action",
    "resource_type",
    "resource_id",
    "service",
    "outcome",
)

MEMBERS: dict[str, object] = {
    "id": "evt_1",
    "timestamp": "2026-06-30T12:34:56.789Z",
    "tenant_id": "acme",
    "actor_type": "USER",
    "actor_id": "user-uuid",
    "action": "attestation.mint",
    "resource_type": "attestation",
    "resource_id": "attestation-uuid",
    "service": "trust-registry",
    "outcome": "SUCCESS",
    "metadata": {"issuer_id": "issuer-uuid", "claim": "email_verified"},
    "integrity_hash": "sha256:abc123",
}

# Made from records of CloudTrail; data/NOTICE names the sources.
REAL_EVENTS = Path(__file__).parent / "data" / "cloudtrail.ndjson"

# More samples, which stand beside the project on some machines and are no part of it.
MORE_SAMPLES = Path(__file__).parents[2] / "shared" / "data"


def event(number: int = 1, changed: Mapping[str, object] | None = None, *, without: str = "", **more: object) -> bytes:
    """One line, with changes given either way. ``without`` leaves a member out."""
    members = {**MEMBERS, "id": f"evt_{number}", **(changed or {}), **more}
    return json.dumps({name: value for name, value in members.items() if name != without}).encode()


def events(count: int, first: int = 1, **changes: object) -> list[bytes]:
    return [event(number, changes) for number in range(first, first + count)]
