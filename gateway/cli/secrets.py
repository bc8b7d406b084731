"""``secrets``: the key that encrypts stored credentials."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.cli.check import ConfigOption, loaded
from gateway.cli.failure import fail
from gateway.cli.output import JsonOption, print_json
from gateway.errors import ConfigError, DataDirectoryInUse, GatewayError

commands = typer.Typer(no_args_is_help=True, help="The key that encrypts stored credentials.")


@commands.command()
def rotate(
    config: ConfigOption = None,
    data_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Where the queue and the secrets live.")] = None,
    json: JsonOption = False,
) -> None:
    """Encrypt every stored credential with a new key, or with the first of GATEWAY_SECRET_KEY."""
    settings = loaded({"data_dir": data_dir}, config)
    from gateway.app import rotate_secrets  # noqa: PLC0415 - the other commands start without the server

    try:
        done = asyncio.run(rotate_secrets(settings))
    except (GatewayError, OSError) as error:
        fail(str(error), code=2 if isinstance(error, ConfigError | DataDirectoryInUse) else 1)
    if json:
        print_json(done)
    else:
        print(f"{done.resealed} destinations were encrypted anew.")
    if done.unreadable:
        fail(
            f"No key opens the credentials of {', '.join(done.unreadable)}: give them again with "
            "`gateway destinations update`, or add the key that they were stored with, then rotate again"
        )
    if settings.secret_key and not json:
        print("Nothing needs the keys behind the first of GATEWAY_SECRET_KEY any more: take them out.")
