"""What the demo shows."""

import io

import msgspec
from rich.console import Console

from gateway.demo.client import Ledger
from gateway.demo.story import Ending, Phase, Row
from gateway.demo.view import opened_view, print_summary

BOOKS = Ledger(accepted=2500, delivered=2000, dead_lettered=0, dropped=0, filtered=0, pending=500, balanced=True)
ROWS = [
    Row("splunk", "degraded", "open", 4.25, BOOKS, arrived=2000, repeated=3),
    Row("elastic", "active", "closed", 0.0, BOOKS, arrived=2000, repeated=0),
]


def test_a_terminal_gets_a_table_that_stays_in_place() -> None:
    """Names, states and numbers of every destination stand in the last frame."""
    out = io.StringIO()
    with opened_view(Console(file=out, force_terminal=True, width=140)) as view:
        view.show(1.0, Phase.FLOWING, 2500, ROWS)
        view.show(2.0, Phase.FAILING, 2500, ROWS)
    text = out.getvalue()
    assert "splunk answers 503" in text
    for word in ("degraded", "open", "2,500", "2,000", "4.2 s", "elastic", "Repeated"):
        assert word in text
    assert "\x1b[" in text


def test_elsewhere_there_are_lines_from_time_to_time() -> None:
    """A new phase is told at once, the numbers every two seconds, and nothing is drawn over."""
    out = io.StringIO()
    with opened_view(Console(file=out, width=200)) as view:
        for elapsed_s, phase in (
            (0.0, Phase.FLOWING),
            (0.5, Phase.FLOWING),
            (1.0, Phase.FAILING),
            (2.1, Phase.FAILING),
        ):
            view.show(elapsed_s, phase, 100, ROWS)
    lines = out.getvalue().splitlines()
    assert [line.split("s  ", 1)[0].strip() for line in lines] == ["0.0", "0.0", "1.0", "2.1"]
    assert lines[1].endswith("splunk degraded 2000+500, elastic active 2000+500")
    assert "\x1b" not in out.getvalue()


def test_the_summary_tells_kept_and_broken_promises() -> None:
    """Each destination has its books in full and either what arrived or what is wrong."""
    out = io.StringIO()
    kept = Ending(msgspec.structs.replace(ROWS[1], repeated=7), 2500, ())
    print_summary(Console(file=out, width=80), 2500, [Ending(ROWS[0], 2000, ("500 events are still waiting",)), kept])
    lines = out.getvalue().splitlines()
    assert lines[1] == "2,500 events were sent and acknowledged."
    assert lines[2].startswith("  FAIL  splunk     accepted 2,500 = delivered 2,000 + dead-lettered 0 +")
    assert lines[3].strip() == "500 events are still waiting"
    assert lines[4].startswith("  ok    elastic")
    assert lines[5].strip() == "all 2,500 arrived byte for byte, 7 of them again"
