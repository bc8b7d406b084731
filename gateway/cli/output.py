"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.failure import one_line

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

NO_DESTINATION = "No destination yet. `gateway destinations create --help` shows how to make one."
_PIPE_COLUMNS = 240  # wide enough that nothing is cut where a program or a file reads


def console() -> Console:
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_PIPE_COLUMNS)


def print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, no_wrap=index == 0, overflow="fold")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """``empty`` is what to say when there are no rows."""
    if rows:
        console().print(table(columns, rows))
    else:
        print(empty)


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Names and values, one below another."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, cell(value))
    console().print(made)


def cell(value: object) -> Text:
    """Plain text: no markup is read from what a server sent."""
    if value is None or value in ("", [], {}):
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, dict | list):
        value = msgspec.json.encode(value).decode()
    return Text(one_line(str(value)), style=_STYLES.get(value, "") if isinstance(value, str) else "")


_STYLES = {"active": "green", "degraded": "yellow", "failed": "red"}
