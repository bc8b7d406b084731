"""What happens in the demo and when, and whether it ended well. Plain functions."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import msgspec

from gateway.demo.client import Destination, Ledger
from gateway.demo.receivers import Fault, Respond

BROKEN_PROVIDER = "splunk"
OUTAGE: Fault = Respond(503, b'{"text":"Server is busy","code":9}', {"Content-Type": "application/json"})


class Phase(enum.Enum):
    """Values are what to tell the watcher."""

    FLOWING = "every destination gets every event"
    FAILING = f"{BROKEN_PROVIDER} answers 503: its events wait on disk, the others flow on"
    RECOVERING = f"{BROKEN_PROVIDER} answers again: what waited is delivered while new events come"
    DRAINING = "no new events: the last ones are delivered"


_STARTS = ((0.0, Phase.FLOWING), (0.25, Phase.FAILING), (0.6, Phase.RECOVERING), (0.85, Phase.DRAINING))


def phase_at(elapsed_s: float, seconds: float, *, stopped: bool) -> Phase:
    """The phase in a demo of ``seconds``; one that was stopped drains."""
    if stopped:
        return Phase.DRAINING
    return [phase for share, phase in _STARTS if elapsed_s >= share * seconds][-1]


class Row(msgspec.Struct, frozen=True):
    """One destination at one moment: what the gateway says, and how many events its receiver has.

    ``repeated`` counts arrivals beyond the first; ``newest`` is the event that came last, or empty.
    """

    provider: str
    status: str
    breaker: str
    lag_s: float
    ledger: Ledger
    arrived: int
    repeated: int
    newest: str = ""


class Ending(msgspec.Struct, frozen=True):
    """What became of a destination. ``faults`` is empty when the promises were kept."""

    row: Row
    identical: int
    faults: tuple[str, ...]


def make_row(destination: Destination, ledger: Ledger, *, arrived: int, repeated: int, newest: bytes = b"") -> Row:
    health = destination.health
    return Row(
        provider=destination.provider,
        status=destination.status,
        breaker=health.breaker if health is not None else "closed",
        lag_s=(health.lag_seconds if health is not None else None) or 0.0,
        ledger=ledger,
        arrived=arrived,
        repeated=repeated,
        newest=newest.decode(errors="replace"),
    )


def is_drained(rows: Sequence[Row], sent: int) -> bool:
    """Whether all that was sent has been delivered and entered into the books."""
    return all(row.ledger.pending == 0 and row.ledger.delivered >= sent and row.arrived >= sent for row in rows)


def judge(row: Row, sent: Mapping[str, bytes], stored: Mapping[str, bytes]) -> Ending:
    """Compare the books and the receiver's events with what the gateway has acknowledged."""
    ledger = row.ledger
    total = ledger.delivered + ledger.dead_lettered + ledger.dropped + ledger.filtered + ledger.pending
    identical = sum(stored.get(name) == event for name, event in sent.items())
    faults = []
    if not ledger.balanced or ledger.accepted != total:
        faults.append("the ledger does not balance")
    if ledger.accepted != len(sent):
        faults.append(f"{ledger.accepted:,} events accepted, {len(sent):,} sent")
    if identical != len(sent):
        faults.append(f"{identical:,} of {len(sent):,} events arrived byte for byte")
    if ledger.pending:
        faults.append(f"{ledger.pending:,} events are still waiting")
    return Ending(row, identical, tuple(faults))
