"""``dead-letters``: events that a provider refused for good."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.client import Json, open_client
from gateway.cli.failure import run
from gateway.cli.output import JsonOption, print_json, print_table

commands = typer.Typer(no_args_is_help=True, help="Events that a provider refused for good.")

Reference = Annotated[str, typer.Argument(metavar="DESTINATION", help="Id or name of the destination.")]

_COLUMNS = ("id", "event_id", "time", "code", "reason")


@commands.command("list")
def list_dead_letters(
    destination: Reference,
    limit: Annotated[int, typer.Option(min=1, help="How many to show at most.")] = 100,
    json: JsonOption = False,
) -> None:
    """What was refused, and the provider's reason."""

    async def work() -> list[Json]:
        async with open_client() as client:
            path = await client.destination_path(destination) + "/dead-letters"
            return await client.pages(path, {}, limit=limit)

    found = run(work())
    if json:
        print_json({"data": found})
        return
    rows = [[letter.get(column) for column in _COLUMNS] for letter in found]
    print_table(_COLUMNS, rows, empty="No dead letters.")


@commands.command()
def replay(destination: Reference, json: JsonOption = False) -> None:
    """Send all of them again."""

    async def work() -> Json:
        async with open_client() as client:
            return await client.post(await client.destination_path(destination) + "/dead-letters/replay", {})

    answer = run(work())
    if json:
        print_json(answer)
    else:
        count = answer.get("replayed", 0)
        print("1 event is on its way again." if count == 1 else f"{count} events are on their way again.")
