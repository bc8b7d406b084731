"""What the demo shows."""

import io

import msgspec
import pytest
from rich.console import Console

from gateway.demo.client import Ledger
from gateway.demo.story import Ending, Phase, Row
from gateway.demo.view import board, opened_view, print_summary

BOOKS = Ledger(accepted=2500, delivered=2000, dead_lettered=0, dropped=0, filtered=0, pending=500, balanced=True)
ROWS = [
    Row("splunk", "degraded", "open", 4.25, BOOKS, arrived=2000, repeated=3),
    Row("cloudwatch", "active", "half_open", 0.0, BOOKS, arrived=2000, repeated=0, newest='{"id":"evt_[/]' + "x" * 200),
]


def test_a_terminal_gets_a_table_that_stays_in_place() -> None:
    """Names, states and numbers of every destination stand in the last frame."""
    out = io.StringIO()
    with opened_view(Console(file=out, force_terminal=True, width=80)) as view:
        view.show(1.0, Phase.FLOWING, 2500, ROWS)
        view.show(2.0, Phase.FAILING, 2500, ROWS)
    text = out.getvalue()
    assert "splunk answers 503" in text
    for word in (
        "degraded",
        "half_open",
        "2,500",
        "2,000",
        "4.2 s",
        "cloudwatch",
        "Again",
        'cloudwatch: {"id":"evt_[/]x',
    ):
        assert word in text
    assert "\x1b[" in text


def test_large_numbers_fit_into_80_columns() -> None:
    """No cell of the table in place and of the summary is cut."""
    books = Ledger(
        accepted=123_456, delivered=123_456, dead_lettered=0, dropped=0, filtered=0, pending=12_345, balanced=True
    )
    row = Row("cloudwatch", "degraded", "half_open", 59.9, books, arrived=123_456, repeated=123)
    out = io.StringIO()
    console = Console(file=out, width=80)
    console.print(board(1.0, 123_456, [row]))
    print_summary(console, 123_456, [Ending(row, 123_456, ())])
    text = out.getvalue()
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    shown = ["cloudwatch", "degraded", "half_open", "123,456", "123,456", "12,345", "59.9", "s", "123,456", "123"]
    assert shown in [line.split() for line in text.splitlines()]


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
    assert lines[1].endswith("splunk 2,000+500, cloudwatch 2,000+500")
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_change_of_status_is_told_once(is_terminal: bool) -> None:
    """Who fails and recovers, and how much waits then, stays to be read."""
    healthy = msgspec.structs.replace(
        ROWS[0], status="active", ledger=msgspec.structs.replace(BOOKS, delivered=2500, pending=0)
    )
    out = io.StringIO()
    with opened_view(Console(file=out, force_terminal=is_terminal, width=120)) as view:
        for elapsed_s, row in enumerate((healthy, ROWS[0], ROWS[0], healthy, healthy)):
            view.show(elapsed_s, Phase.FLOWING, 2500, [row])
    text = out.getvalue()
    assert text.count("splunk is degraded; 500 events wait for it") == 1
    assert text.count("splunk is active; nothing waits for it") == 1


def test_the_summary_of_a_demo_that_went_well() -> None:
    """The books of every destination in full, and one sentence on what they mean."""
    out = io.StringIO()
    books = msgspec.structs.replace(BOOKS, delivered=2500, pending=0)
    kept = Ending(msgspec.structs.replace(ROWS[1], ledger=books, repeated=7), 2500, ())
    print_summary(Console(file=out, width=80), 2500, [kept])
    text = out.getvalue()
    assert "2,500 events were sent and acknowledged" in text
    assert [line.split() for line in text.splitlines() if line.startswith("cloudwatch")] == [
        ["cloudwatch", "2,500", "2,500", "0", "0", "0", "0", "2,500"]
    ]
    assert "books balance" in text
    assert "7 arrived again" in text


def test_the_summary_names_each_broken_promise() -> None:
    """And does not say that all is well."""
    out = io.StringIO()
    kept = Ending(ROWS[1], 2500, ())
    print_summary(Console(file=out, width=80), 2500, [Ending(ROWS[0], 2000, ("500 events are still waiting",)), kept])
    assert "FAILED  splunk: 500 events are still waiting\n" in out.getvalue()
    assert "balance" not in out.getvalue()
