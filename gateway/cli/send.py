"""``send`` and ``backfill``: a file of events into a running gateway."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from gateway.cli.client import EVENTS, open_client
from gateway.cli.failure import fail, one_line, run
from gateway.cli.output import JsonOption, print_json
from gateway.cli.upload import Summary, read_pieces, upload

_SHOWN_MAX = 20

FileArgument = Annotated[str, typer.Argument(metavar="FILE|-", help="NDJSON, one event on each line; - is stdin.")]
FromLineOption = Annotated[int, typer.Option(min=1, help="Skip the lines before this one.")]
RetryForOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="How long to keep trying while the gateway answers 429 or 503.")
]


def send(
    file: FileArgument, from_line: FromLineOption = 1, retry_for: RetryForOption = 300, json: JsonOption = False
) -> None:
    """Post the events of a file to a running gateway."""
    _report(_transfer(file, None, from_line, retry_for), as_json=json)


def backfill(
    destination: Annotated[str, typer.Argument(help="Id or name of the destination.")],
    file: FileArgument,
    from_line: FromLineOption = 1,
    retry_for: RetryForOption = 300,
    json: JsonOption = False,
) -> None:
    """Send an audit export to one destination alone, through the same queue."""
    _report(_transfer(file, destination, from_line, retry_for), as_json=json)


def _transfer(file: str, destination: str | None, from_line: int, retry_for_s: float) -> Summary:
    """Post everything; ``destination`` None stands for the ordinary way in."""
    with _source(file) as (stream, size), _progress_bar() as bar:
        task = bar.add_task("sending", total=size)
        pieces = read_pieces(stream, from_line=from_line)

        async def work() -> Summary:
            async with open_client() as client:
                path = EVENTS if destination is None else await client.destination_path(destination) + "/backfill"
                return await upload(
                    client, path, pieces, retry_for_s=retry_for_s, on_progress=lambda read: bar.advance(task, read)
                )

        return run(work())


@contextmanager
def _source(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The bytes and, for a file, how many there are."""
    if file == "-":
        stdin = typer.get_binary_stream("stdin")
        # A reader of its own: Python does not end well while a thread still waits in the one of sys.stdin.
        yield io.BufferedReader(stdin.raw) if isinstance(stdin, io.BufferedReader) else stdin, None
        return
    path = Path(file)
    try:
        stream = path.open("rb")
        size = path.stat().st_size
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", code=2)
    with stream:
        yield stream, size


def _progress_bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def _report(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
    else:
        for error in summary.errors[:_SHOWN_MAX]:
            named = f" ({one_line(error.id)})" if error.id else ""
            print(f"line {error.line}{named}: {one_line(error.message)}", file=sys.stderr)
        shown = min(len(summary.errors), _SHOWN_MAX)
        if summary.rejected > shown:
            hint = "; --json lists them" if len(summary.errors) > shown else ""
            print(f"… and {summary.rejected - shown} more{hint}", file=sys.stderr)
        print(f"{summary.accepted} accepted, {summary.rejected} rejected")
    if summary.rejected:
        raise typer.Exit(1)
