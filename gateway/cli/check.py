"""``config check``: what the gateway would run with, and where it would stop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failure import fail, one_line
from gateway.cli.output import JsonOption, print_json, print_table
from gateway.config import SECRET_SETTINGS, Config, load, strange_variables
from gateway.errors import ConfigError
from gateway.settings import Setting, describe, format_value

commands = typer.Typer(no_args_is_help=True, help="The gateway's own configuration.")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", envvar="GATEWAY_CONFIG", metavar="FILE", help="Settings, as TOML.")
]


def loaded(arguments: dict[str, object], file: Path | None) -> Config:
    """The configuration, or one line on standard error and exit code 2."""
    for line in strange_variables(os.environ):
        print("gateway: " + one_line(line), file=sys.stderr)
    try:
        return load(arguments, os.environ, file)
    except ConfigError as error:
        fail(str(error), code=2)


@commands.command()
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Read file and environment as `serve` would, and print what results. Secrets are shown as ***."""
    tree = loaded({}, config)
    _try_files_and_keys(tree)
    shown = [(setting, _text(setting, tree)) for setting in describe(Config)]
    if json:
        print_json({setting.name: text for setting, text in shown})
        return
    rows = [(s.name, text, "default" if text == format_value(s.type, s.default) else "set") for s, text in shown]
    print_table(("setting", "value", "is"), rows, empty="")
    print("The configuration is valid.")


def _try_files_and_keys(tree: Config) -> None:
    """What `serve` finds out only when it uses them."""
    from gateway.destinations.secrets import SecretBox  # noqa: PLC0415 - only this command needs them
    from gateway.providers.tls import tls_context  # noqa: PLC0415 - as above
    from gateway.server.tls import server_context  # noqa: PLC0415 - as above

    try:
        tls_context(tree.delivery.ca_file)
        if tree.server.tls_certificate:
            server_context(tree.server)
        if tree.secret_key:
            SecretBox(tree.secret_key)
    except ConfigError as error:
        fail(str(error), code=2)


def _text(setting: Setting, tree: Config) -> str:
    section = getattr(tree, setting.section) if setting.section else tree
    value = getattr(section, setting.attribute)
    if value and setting.name in SECRET_SETTINGS:
        return "***"
    return format_value(setting.type, value)
