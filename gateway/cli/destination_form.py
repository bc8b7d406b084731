"""From the options of a command line to the body of a request, with the help of the provider's own fields."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import typer

from gateway.cli.client import DESTINATIONS, Client, Json
from gateway.cli.failure import CommandError, WrongUse


class Given(msgspec.Struct, frozen=True):
    """What stood on the command line; ``options`` holds ``NAME=VALUE`` each."""

    endpoint: str | None
    name: str | None
    enabled: bool | None
    ordered: bool | None
    credentials: Mapping[str, str]
    options: Sequence[str]
    filters: Mapping[str, list[str]]

    def __repr__(self) -> str:  # credentials are secrets
        return "Given(…)"


async def provider_row(client: Client, provider: str) -> Json:
    """What the gateway says of a provider. Raises CommandError when it has none of this name."""
    rows: list[Json] = (await client.get(f"{DESTINATIONS}/providers")).get("data", [])
    for row in rows:
        if row["name"] == provider:
            return row
    names = ", ".join(row["name"] for row in rows)
    raise CommandError(f"There is no provider {provider!r}. This gateway has {names}.")


def request_body(given: Given, row: Json, *, ask: bool) -> Json:
    """The members to send. With ``ask``, required fields that are missing are asked for on the terminal."""
    fields = {field["name"]: field for field in row["fields"]}
    members = {"endpoint": given.endpoint, "name": given.name, "enabled": given.enabled, "ordered": given.ordered}
    body: Json = {name: value for name, value in members.items() if value is not None}
    body |= given.credentials
    if ask:
        body |= _asked(row, [name for name, field in fields.items() if field.get("required") and name not in body])
    if given.options:
        pairs = [_pair(text, "--option") for text in given.options]
        body["options"] = {name: _typed(name, text, fields.get(name, {}).get("type", "string")) for name, text in pairs}
    if given.filters:
        body["filter"] = dict(given.filters)
    return body


def read_credentials(
    pairs: Sequence[str], files: Sequence[str], variables: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """From ``NAME=VALUE``, ``NAME=PATH`` and ``NAME=VARIABLE``. Raises WrongUse."""
    found = dict(_pair(text, "--credential") for text in pairs)
    for text in files:
        name, path = _pair(text, "--credential-file")
        found[name] = _read(path)
    for text in variables:
        name, variable = _pair(text, "--credential-env")
        if variable not in environment:
            raise WrongUse(f"--credential-env: the variable {variable} is not set")
        found[name] = environment[variable]
    return found


def _read(path: str) -> str:
    try:
        text = sys.stdin.readline() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise WrongUse(f"--credential-file: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WrongUse(f"--credential-file: {path} is not text") from error
    return text.strip()


def _asked(row: Json, missing: Sequence[str]) -> Json:
    """On a terminal only: elsewhere the gateway's own answer names what is missing."""
    if not missing or not is_terminal():
        return {}
    fields = {field["name"]: field for field in row["fields"]}
    return {
        name: typer.prompt(fields[name].get("label") or name, hide_input=bool(fields[name].get("secret")), err=True)
        for name in missing
    }


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        # Only the name is shown: what was given may be a secret without its name.
        raise WrongUse(f"{option} must be NAME=VALUE")
    return name, value


def _typed(name: str, text: str, kind: str) -> object:
    """The value as the provider's field wants it; the gateway checks the rest."""
    if kind == "boolean" and text.lower() in {"true", "yes", "1", "false", "no", "0"}:
        return text.lower() in {"true", "yes", "1"}
    if kind == "integer" and text.lstrip("-").isdecimal():
        return int(text)
    if kind == "array" and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind in {"object", "array"}:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise WrongUse(f"--option {name} must be JSON, an {kind}") from error
    return text


def is_terminal() -> bool:
    return sys.stdin.isatty()
