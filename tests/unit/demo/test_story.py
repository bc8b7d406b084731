"""When the demo does what, and when it is content."""

import msgspec
import pytest

from gateway.demo.client import Destination, Health, Ledger
from gateway.demo.story import Phase, Row, is_drained, judge, make_row, phase_at

SENT = {"a": b'{"id":"a"}', "b": b'{"id":"b"}'}
BOOKS = Ledger(accepted=2, delivered=2, dead_lettered=0, dropped=0, filtered=0, pending=0, balanced=True)
ROW = Row("splunk", "active", "closed", 0.0, BOOKS, arrived=2, repeated=0)


def with_books(**changes: object) -> Row:
    return msgspec.structs.replace(ROW, ledger=msgspec.structs.replace(BOOKS, **changes))


@pytest.mark.parametrize(
    ("elapsed_s", "phase"),
    [
        (0, Phase.FLOWING),
        (7.4, Phase.FLOWING),
        (7.5, Phase.FAILING),
        (17.9, Phase.FAILING),
        (18, Phase.RECOVERING),
        (25.5, Phase.DRAINING),
        (99, Phase.DRAINING),
    ],
)
def test_the_phases_share_the_time(elapsed_s: float, phase: Phase) -> None:
    """An outage stands in the middle, and the last part is for draining; Ctrl-C goes straight there."""
    assert phase_at(elapsed_s, 30.0, stopped=False) is phase
    assert phase_at(elapsed_s, 30.0, stopped=True) is Phase.DRAINING


def test_a_row_takes_what_the_gateway_says() -> None:
    """A destination without health yet is shown at rest."""
    plain = Destination("siem_1", "splunk", "active")
    assert make_row(plain, BOOKS, arrived=2, repeated=0) == ROW
    failing = Destination("siem_1", "splunk", "degraded", Health("open", 3.5))
    row = make_row(failing, BOOKS, arrived=1, repeated=4, newest=SENT["a"])
    assert (row.status, row.breaker, row.lag_s, row.arrived, row.repeated) == ("degraded", "open", 3.5, 1, 4)
    assert row.newest == '{"id":"a"}'


def test_is_drained_when_all_has_arrived_everywhere() -> None:
    """One destination that waits, or whose receiver lacks events, is enough to go on."""
    assert is_drained([ROW, ROW], 2)
    assert not is_drained([ROW, with_books(pending=1)], 2)
    assert not is_drained([ROW, with_books(delivered=1)], 2)
    assert not is_drained([msgspec.structs.replace(ROW, arrived=1)], 2)


def test_a_kept_promise_has_no_fault() -> None:
    """Balanced books and the same bytes at the receiver."""
    ending = judge(ROW, SENT, dict(SENT))
    assert (ending.faults, ending.identical) == ((), 2)


@pytest.mark.parametrize(
    ("row", "stored", "words"),
    [
        (with_books(balanced=False), SENT, "does not balance"),
        (with_books(delivered=1), SENT, "does not balance"),
        (with_books(accepted=3, delivered=3), SENT, "3 events accepted, 2 sent"),
        (ROW, {"a": SENT["a"]}, "1 of 2 events arrived"),
        (ROW, {**SENT, "b": b'{"id": "b"}'}, "1 of 2 events arrived"),
        (with_books(delivered=1, pending=1), SENT, "1 events are still waiting"),
    ],
)
def test_every_broken_promise_is_a_fault(row: Row, stored: dict[str, bytes], words: str) -> None:
    """Books that do not balance, events that lack, differ or wait are each told."""
    assert words in "; ".join(judge(row, SENT, stored).faults)
