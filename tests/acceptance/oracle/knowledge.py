"""What the oracle knows: what was sent, what the gateway answered, and for which destination each event is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from gateway.demo.receivers.stored import event_id


class Wanted(msgspec.Struct, frozen=True):
    """Which events a destination is to get: those of its tenant, without the actions that its filter excludes."""

    tenant_id: str = "*"
    excludes: str = ""

    def is_for(self, tenant_id: str) -> bool:
        return self.tenant_id in ("*", tenant_id)

    def passes(self, event: Sent) -> bool:
        return not self.excludes or event.action != self.excludes


class Sent(msgspec.Struct, frozen=True):
    line: bytes
    tenant_id: str
    action: str


class Knowledge:
    """An id is in ``acknowledged`` from the moment at which its 202 has come; in ``refused`` when the answer said that
    nothing was taken; in neither while nobody can know. Counted as they come: a night has millions of them.
    """

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.complaints: list[str] = []
        self._sent: Counter[str] = Counter()  # all three by tenant
        self._acknowledged: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def sending(self, events: Iterable[Sent]) -> set[str]:
        """Before they leave. Their ids."""
        batch = {event_id(event.line): event for event in events}
        self.sent.update(batch)
        self._sent.update(event.tenant_id for event in batch.values())
        return set(batch)

    def answered(self, names: set[str], status: int, body: bytes) -> None:
        if status == 202:
            self.acknowledged |= names
            self._acknowledged.update(self.sent[name].tenant_id for name in names)
        elif status in (429, 503):
            self.refused |= names
            self._refused.update(self.sent[name].tenant_id for name in names)
        else:
            self.complaints.append(f"an answer that fits no promise: {status} {body[:300]!r}")

    def acknowledged_for(self, wanted: Wanted) -> set[str]:
        return {name for name in self.acknowledged if wanted.is_for(self.sent[name].tenant_id)}

    def least_for(self, wanted: Wanted) -> int:
        """How many events must have been accepted for it."""
        return sum(count for tenant_id, count in self._acknowledged.items() if wanted.is_for(tenant_id))

    def most_for(self, wanted: Wanted) -> int:
        """How many events may have been accepted for it: all that were not refused."""
        possible = self._sent - self._refused
        return sum(count for tenant_id, count in possible.items() if wanted.is_for(tenant_id))
