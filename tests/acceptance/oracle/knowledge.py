"""What the oracle knows: what was sent, what the gateway answered, and for which destination each event is."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.demo.receivers.stored import event_id


class Wanted(msgspec.Struct, frozen=True):
    """Which events a destination is to get: those of its tenant, without the actions that its filter excludes."""

    tenant_id: str = "*"
    excludes: str = ""

    def is_for(self, event: Sent) -> bool:
        return self.tenant_id in ("*", event.tenant_id)

    def passes(self, event: Sent) -> bool:
        return not self.excludes or event.action != self.excludes


class Sent(msgspec.Struct, frozen=True):
    line: bytes
    tenant_id: str
    action: str


class Knowledge:
    """An id is in ``acknowledged`` from the moment at which its 202 has come; in ``refused`` when the answer said that
    nothing was taken; in neither while nobody can know.
    """

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.complaints: list[str] = []

    def sending(self, events: Iterable[Sent]) -> set[str]:
        """Before they leave. Their ids."""
        batch = {event_id(event.line): event for event in events}
        self.sent |= batch
        return set(batch)

    def answered(self, names: set[str], status: int, body: bytes) -> None:
        if status == 202:
            self.acknowledged |= names
        elif status in (429, 503):
            self.refused |= names
        else:
            self.complaints.append(f"an answer that fits no promise: {status} {body[:300]!r}")

    def acknowledged_for(self, wanted: Wanted) -> set[str]:
        return {name for name in self.acknowledged if wanted.is_for(self.sent[name])}

    def possible_for(self, wanted: Wanted) -> int:
        """How many events may have been accepted for it: all that were not refused."""
        return sum(wanted.is_for(event) for name, event in self.sent.items() if name not in self.refused)
