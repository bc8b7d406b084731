"""The demo on a terminal, as a table that changes in place, and elsewhere, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.demo.story import Ending, Phase, Row

LINE_EVERY_S = 2.0

_COLORS = {
    "active": "green",
    "degraded": "yellow",
    "failed": "red",
    "closed": "green",
    "half_open": "yellow",
    "open": "red",
}


class View:
    """``show`` draws on a terminal each time, and prints a line from time to time and at each new phase elsewhere."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._phase: Phase | None = None
        self._next_line_s = 0.0

    def show(self, elapsed_s: float, phase: Phase, sent: int, rows: Sequence[Row]) -> None:
        if self._live is not None:
            self._live.update(board(elapsed_s, phase, sent, rows), refresh=True)
            return
        if phase is not self._phase:
            self._console.print(f"{elapsed_s:5.1f} s  {phase.value}", highlight=False)
            self._phase = phase
        if elapsed_s >= self._next_line_s:
            self._console.print(f"{elapsed_s:5.1f} s  {line(sent, rows)}", highlight=False)
            self._next_line_s = elapsed_s + LINE_EVERY_S


@contextmanager
def opened_view(console: Console) -> Iterator[View]:
    if not console.is_terminal:
        yield View(console, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield View(console, live)


def board(elapsed_s: float, phase: Phase, sent: int, rows: Sequence[Row]) -> Group:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Destination", min_width=11)
    table.add_column("Status", min_width=8)
    table.add_column("Breaker", min_width=9)
    for title in ("Accepted", "Delivered", "Pending", "Lag", "Arrived", "Repeated"):
        table.add_column(title, justify="right", min_width=8)
    for row in rows:
        table.add_row(*_cells(row))
    heading = Text(f"{elapsed_s:4.0f} s   {sent:,} events sent   {phase.value}", style="bold")
    return Group(heading, Text(""), table)


def _cells(row: Row) -> list[Text]:
    pending = row.ledger.pending
    return [
        Text(row.provider),
        _colored(row.status),
        _colored(row.breaker),
        Text(f"{row.ledger.accepted:,}"),
        Text(f"{row.ledger.delivered:,}"),
        Text(f"{pending:,}", style="yellow" if pending > 1_000 else ""),
        Text(f"{row.lag_s:.1f} s"),
        Text(f"{row.arrived:,}"),
        Text(f"{row.repeated:,}"),
    ]


def _colored(word: str) -> Text:
    return Text(word, style=_COLORS.get(word, ""))


def line(sent: int, rows: Sequence[Row]) -> str:
    parts = (f"{row.provider} {row.status} {row.ledger.delivered}+{row.ledger.pending}" for row in rows)
    return f"{sent} sent; delivered+pending: " + ", ".join(parts)


def print_summary(console: Console, sent: int, endings: Sequence[Ending]) -> None:
    """For each destination whether its books balance and every event arrived as it was sent."""
    console.print()
    console.print(f"{sent:,} events were sent and acknowledged.", highlight=False)
    for ending in endings:
        verdict = ("  FAIL  ", "red") if ending.faults else ("  ok    ", "green")
        console.print(Text.assemble(verdict, f"{ending.row.provider:<11}{_books(ending.row)}"), soft_wrap=True)
        told = f"all {ending.identical:,} arrived byte for byte, {ending.row.repeated:,} of them again"
        console.print(Text(f"{'':<19}{'; '.join(ending.faults) or told}"), soft_wrap=True)


def _books(row: Row) -> str:
    ledger = row.ledger
    return (
        f"accepted {ledger.accepted:,} = delivered {ledger.delivered:,} + dead-lettered {ledger.dead_lettered:,} + "
        f"dropped {ledger.dropped:,} + filtered {ledger.filtered:,} + pending {ledger.pending:,}"
    )
