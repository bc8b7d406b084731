"""Events to send: made ones with spellings that a parse and dump would change, and real ones where they are at hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

from gateway.demo.receivers.stored import event_id
from tests.events import MORE_SAMPLES, REAL_EVENTS

_NUMBERS = itertools.count(1)


def event(
    *, tenant_id: str = "tenant-a", name: str | None = None, action: str = "attestation.mint", text: str = "café €"
) -> bytes:
    """Of the present time, with an id that no other has unless ``name`` is given."""
    return (
        f'{{"id":"{name or f"evt_{next(_NUMBERS):06d}"}","timestamp":"{_now()}","tenant_id":"{tenant_id}",'
        f'"actor_type":"USER","actor_id":"user-1","action":"{action}","resource_type":"attestation",'
        '"resource_id":"r\\u002d1","service":"trust-registry","outcome":"SUCCESS","amount":1.50e+2,'
        f'"metadata":{{"b":1,"a":12345678901234567890,"text":"{text} \\/"}},"integrity_hash":"sha256:00"}}'
    ).encode()


def events(count: int, *, tenant_id: str = "tenant-a", action: str = "attestation.mint") -> list[bytes]:
    return [event(tenant_id=tenant_id, action=action) for _ in range(count)]


def by_id(lines: Iterable[bytes]) -> dict[str, bytes]:
    """As receivers keep them."""
    return {event_id(line): line for line in lines}


def real_events() -> list[bytes]:
    """What real products wrote: all samples where they are at hand, else those of the project."""
    samples = MORE_SAMPLES / "audit-events.ndjson"
    return (samples if samples.exists() else REAL_EVENTS).read_bytes().splitlines()


def bad_lines() -> list[bytes]:
    """Each of them is to be rejected; none where that file is not at hand."""
    samples = MORE_SAMPLES / "bad-lines.ndjson"
    return samples.read_bytes().split(b"\n")[:-1] if samples.exists() else []


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.123Z", time.gmtime())
