"""What the oracle says to a destination's books: plain functions from what it knows to complaints, none when all is
well.

The rules: every acknowledged event has arrived, is a dead letter, was filtered, or lies in a gap; what arrived was
sent, in these bytes, and not refused; the counts say exactly that. Events whose request was cut off by the kill may
have been accepted or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from tests.acceptance.oracle.knowledge import Knowledge, Wanted

_SHOWN = 5
_OUTCOMES = ("delivered", "dead_lettered", "dropped", "filtered", "pending")


class Seen(msgspec.Struct, frozen=True):
    """What can be seen of one destination from outside, when nothing waits for it any more."""

    arrived: Mapping[str, bytes]
    dead: list[str]
    gaps: Sequence[Mapping[str, Any]]
    ledger: Mapping[str, Any]


def of_books(knowledge: Knowledge, wanted: Wanted, ledger: Mapping[str, Any], arrived: int) -> list[str]:
    """What must hold at every moment, whatever still waits. ``arrived`` counts the distinct events at the receiver."""
    total = sum(ledger[name] for name in _OUTCOMES)
    found = []
    if not ledger["balanced"] or ledger["accepted"] != total:
        found.append(f"the books do not balance: {ledger}")
    if ledger["accepted"] < (least := knowledge.least_for(wanted)):
        found.append(f"{least} events are acknowledged and {ledger['accepted']} accepted")
    if ledger["accepted"] > (most := knowledge.most_for(wanted)):
        found.append(f"at most {most} events can have been accepted, not {ledger['accepted']}")
    if ledger["delivered"] > arrived:
        found.append(f"{ledger['delivered']} events are delivered and {arrived} have arrived")
    return found


def of_all(knowledge: Knowledge, wanted: Wanted, seen: Seen) -> list[str]:
    """What must hold once nothing waits."""
    known = seen.arrived.keys() | set(seen.dead)
    missing = {
        name for name in knowledge.acknowledged_for(wanted) if name not in known and wanted.passes(knowledge.sent[name])
    }
    dropped = sum(gap["count"] for gap in seen.gaps)
    return [
        *of_books(knowledge, wanted, seen.ledger, len(seen.arrived)),
        *(_missing(missing) if len(missing) > dropped else []),
        *_strange(knowledge, wanted, seen.arrived),
        *_counts(seen, len(known), dropped),
    ]


def of_repetition(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Arrivals of each id when the gateway had stopped politely, and now: what was settled then never comes again."""
    again = {name for name, count in before.items() if now[name] > count}
    return [f"{len(again)} events came again after a polite stop: {_some(again)}"] if again else []


def _missing(names: Set[str]) -> list[str]:
    return [f"{len(names)} acknowledged events are nowhere, nor in a gap: {_some(names)}"]


def _strange(knowledge: Knowledge, wanted: Wanted, arrived: Mapping[str, bytes]) -> list[str]:
    found = []
    sent = knowledge.sent
    invented = arrived.keys() - sent.keys()
    changed = {name for name, line in arrived.items() if name in sent and sent[name].line != line}
    misled = {name for name in arrived.keys() & sent.keys() if not _is_due(wanted, knowledge, name)}
    for names, what in (
        (invented, "were never sent"),
        (changed, "have other bytes than were sent"),
        (misled, "are another tenant's or filtered out"),
        (arrived.keys() & knowledge.refused, "were refused and came all the same"),
    ):
        if names:
            found.append(f"{len(names)} events {what}: {_some(names)}")
    return found


def _is_due(wanted: Wanted, knowledge: Knowledge, name: str) -> bool:
    event = knowledge.sent[name]
    return wanted.is_for(event.tenant_id) and wanted.passes(event)


def _counts(seen: Seen, known: int, dropped: int) -> list[str]:
    ledger, found = seen.ledger, []
    if ledger["pending"]:
        found.append(f"{ledger['pending']} events still wait")
    if reasons := {gap["reason"] for gap in seen.gaps} - {"disk_budget"}:
        found.append(f"gaps for a reason that nothing gave: {reasons}")
    if ledger["dropped"] != dropped:
        found.append(f"{ledger['dropped']} events are dropped and the gaps hold {dropped}")
    if ledger["dead_lettered"] != len(seen.dead) or len(set(seen.dead)) != len(seen.dead):
        found.append(f"{ledger['dead_lettered']} dead letters are counted, {len(set(seen.dead))} kept")
    settled = ledger["accepted"] - ledger["filtered"]
    if not dropped and settled != known:
        found.append(f"{settled} events are accounted for and {known} can be seen")
    if dropped and not settled - dropped <= known <= settled:  # what arrived may have been dropped all the same
        found.append(f"{settled} events are accounted for, {dropped} of them dropped, and {known} can be seen")
    return found


def _some(names: Set[str]) -> list[str]:
    return sorted(names)[:_SHOWN]
