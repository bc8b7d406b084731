"""The demo on a terminal, as a table that changes in place below what has happened, and elsewhere, as lines."""

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
    """``show`` tells each new phase and each change of a status as a line.

    The numbers are drawn in place on a terminal, and are a line from time to time elsewhere.
    """

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._phase: Phase | None = None
        self._statuses: dict[str, str] = {}
        self._next_line_s = 0.0

    def show(self, elapsed_s: float, phase: Phase, sent: int, rows: Sequence[Row]) -> None:
        if phase is not self._phase:
            self._tell(elapsed_s, phase.value, "bold")
            self._phase = phase
        for row in rows:
            if self._statuses.setdefault(row.provider, row.status) != row.status:
                self._statuses[row.provider] = row.status
                waiting = f"{row.ledger.pending:,} events wait for it" if row.ledger.pending else "nothing waits for it"
                self._tell(elapsed_s, f"{row.provider} is {row.status}; {waiting}", _COLORS.get(row.status, ""))
        if self._live is not None:
            self._live.update(board(elapsed_s, sent, rows), refresh=True)
        elif elapsed_s >= self._next_line_s:
            self._tell(elapsed_s, line(sent, rows), "")
            self._next_line_s = elapsed_s + LINE_EVERY_S

    def _tell(self, elapsed_s: float, words: str, style: str) -> None:
        """A line that stays; on a terminal it scrolls away above the table."""
        self._console.print(Text.assemble(f"{elapsed_s:5.1f} s  ", (words, style)), soft_wrap=self._live is None)


@contextmanager
def opened_view(console: Console) -> Iterator[View]:
    if not console.is_terminal:
        yield View(console, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield View(console, live)


def board(elapsed_s: float, sent: int, rows: Sequence[Row]) -> Group:
    """No wider than 80 columns."""
    table = _narrow_table()
    table.add_column("Destination")
    table.add_column("Status", min_width=8)
    table.add_column("Breaker", min_width=9)
    for title in ("Accepted", "Delivered", "Pending", "Lag", "Arrived", "Again"):
        table.add_column(title, justify="right", min_width=7 if title == "Lag" else len(title))
    for row in rows:
        table.add_row(*_cells(row))
    heading = Text(f"{elapsed_s:4.0f} s   {sent:,} events sent and acknowledged", style="bold")
    newest = Text(f"Newest at {rows[-1].provider}: {rows[-1].newest}" if rows else "", style="dim")
    newest.no_wrap, newest.overflow = True, "ellipsis"
    return Group(Text(""), heading, Text(""), table, Text(""), newest)


def _narrow_table() -> Table:
    return Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)


def _cells(row: Row) -> list[Text]:
    pending = row.ledger.pending
    return [
        Text(row.provider),
        _colored(row.status),
        _colored(row.breaker),
        Text(f"{row.ledger.accepted:,}"),
        Text(f"{row.ledger.delivered:,}"),
        Text(f"{pending:,}", style="yellow" if row.status != "active" else ""),
        Text(f"{row.lag_s:.1f} s"),
        Text(f"{row.arrived:,}"),
        Text(f"{row.repeated:,}"),
    ]


def _colored(word: str) -> Text:
    return Text(word, style=_COLORS.get(word, ""))


def line(sent: int, rows: Sequence[Row]) -> str:
    parts = (f"{row.provider} {row.ledger.delivered:,}+{row.ledger.pending:,}" for row in rows)
    return f"{sent:,} sent; delivered+pending: " + ", ".join(parts)


def print_summary(console: Console, sent: int, endings: Sequence[Ending]) -> None:
    """The books of each destination, how many events arrived as they were sent, and whether all that is as promised."""
    console.print(f"\n{sent:,} events were sent and acknowledged. The books at the end:\n", highlight=False)
    table = _narrow_table()
    table.add_column("Destination")
    for title in ("Accepted", "= Delivered", "+ Dead", "+ Dropped", "+ Filtered", "+ Pending", "Intact"):
        table.add_column(title, justify="right")
    for ending in endings:
        books = ending.row.ledger
        numbers = (books.accepted, books.delivered, books.dead_lettered, books.dropped, books.filtered, books.pending)
        table.add_row(ending.row.provider, *(f"{number:,}" for number in (*numbers, ending.identical)))
    console.print(table)
    console.print()
    faults = [f"{ending.row.provider}: {fault}" for ending in endings for fault in ending.faults]
    for fault in faults:
        console.print(Text(f"FAILED  {fault}", style="red"), soft_wrap=True)
    if not faults:
        repeated = sum(ending.row.repeated for ending in endings)
        again = f"{repeated:,} arrived again" if repeated else "none arrived twice"
        console.print(Text("Every destination's books balance.", style="green"), soft_wrap=True)
        console.print(Text(f"Every event arrived everywhere, byte for byte; {again}."), soft_wrap=True)
