"""``keys``: API keys of producers, tenants and operators."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from gateway.cli.client import KEYS, Json, open_client
from gateway.cli.failure import run
from gateway.cli.output import JsonOption, print_json, print_table

commands = typer.Typer(no_args_is_help=True, help="API keys of producers, tenants and operators.")

_COLUMNS = ("id", "name", "tenant_id", "scopes", "prefix", "created_at", "expires_at")


@commands.command()
def create(
    scope: Annotated[
        list[str],
        typer.Option(metavar="SCOPE", help="events:write, siem:read, siem:write or keys:write; may be repeated."),
    ],
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.")] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="ID", help="The tenant it belongs to; * is all of them.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends, such as 2027-01-31T12:00:00Z; never without it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a key. It is shown this once."""
    given = {"name": name, "tenant_id": tenant, "scopes": scope, "expires_at": expires_at}

    async def work() -> Json:
        async with open_client() as client:
            return await client.post(KEYS, {member: value for member, value in given.items() if value is not None})

    made = run(work())
    if json:
        print_json(made)
    else:
        print(made["key"])
        print(f"{made['id']}: keep the key above, it is not shown again.", file=sys.stderr)


@commands.command("list")
def list_keys(json: JsonOption = False) -> None:
    """All keys that the key in use may see, without the keys themselves."""

    async def work() -> list[Json]:
        async with open_client() as client:
            return await client.pages(KEYS, {})

    found = run(work())
    if json:
        print_json({"data": found})
        return
    columns = [column for column in _COLUMNS if any(column in key for key in found)]
    rows = [[" ".join(key[c]) if c == "scopes" else key.get(c) for c in columns] for key in found]
    print_table(columns, rows, empty="No keys.")


@commands.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="KEY_ID")], json: JsonOption = False) -> None:
    """Take a key back at once."""

    async def work() -> None:
        async with open_client() as client:
            await client.delete(f"{KEYS}/{quote(key_id, safe='')}")

    run(work())
    if json:
        print_json({"revoked": key_id})
    else:
        print(f"{key_id} revoked.")
