"""All commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import check, dead_letters, demo, destinations, keys, log, secrets
from gateway.cli.send import backfill, send
from gateway.cli.serve import serve
from gateway.cli.status import status

program = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Streams audit events to SIEMs. Client commands read GATEWAY_URL and GATEWAY_API_KEY.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@program.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


program.command()(serve)
program.command()(send)
program.add_typer(destinations.commands, name="destinations")
program.command()(backfill)
program.add_typer(dead_letters.commands, name="dead-letters")
program.add_typer(keys.commands, name="keys")
program.command()(status)
program.add_typer(log.commands, name="log")
program.add_typer(check.commands, name="config")
program.add_typer(secrets.commands, name="secrets")
program.command("demo")(demo.demo)
