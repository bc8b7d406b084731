"""Reading a tree of settings: a struct of structs says what there is, file, environment and arguments give values.

This module knows nothing of the gateway's own settings; ``gateway.config`` has them. What it reads is keyed by the
dotted name of the file (``queue.disk_budget``). Every function is pure but ``read_file``, and raises ConfigError with
one line that names the place, the setting, what is wrong and what would be right.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from gateway.errors import ConfigError
from gateway.quantity import Bytes, Seconds, format_bytes, format_seconds, parse_bytes, parse_seconds

ENVIRONMENT_PREFIX = "GATEWAY_"

# Variables that Kubernetes and Docker links put beside every container when a service is called "gateway".
_SERVICE_LINK = re.compile(r"GATEWAY_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Tree = TypeVar("Tree", bound=msgspec.Struct)


class Between(msgspec.Struct, frozen=True):
    """Both ends are allowed. Stands in the ``Annotated`` of a number, duration or size."""

    low: float
    high: float


class Setting(msgspec.Struct, frozen=True):
    """One leaf of the tree: ``section`` and ``attribute`` are its names there, ``name`` is the one in the file."""

    section: str
    attribute: str
    name: str
    type: Any
    default: Any
    range: Between | None

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

    @property
    def expectation(self) -> str:
        """What a value must be, for people: ``a size such as "64MiB", between 1MiB and 1GiB``."""
        text = _kind(self.type)
        if self.range is None:
            return text
        low, high = (format_value(self.type, self.type(end)) for end in (self.range.low, self.range.high))
        return f"{text}, between {low} and {high}"


def describe(tree: type[msgspec.Struct]) -> tuple[Setting, ...]:
    """Every leaf of a tree that is at most two deep, in the order of its declaration."""
    leaves: list[Setting] = []
    for field in msgspec.structs.fields(tree):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            leaves += (_leaf(field.name, inner) for inner in msgspec.structs.fields(field.type))
        else:
            leaves.append(_leaf("", field))
    return tuple(leaves)


def build(tree: type[Tree], values: Mapping[str, object]) -> Tree:
    """The tree with these values (decoded, by name) and its defaults elsewhere."""
    top: dict[str, Any] = {}
    sections: dict[str, dict[str, object]] = {}
    for setting in describe(tree):
        if setting.name in values:
            place = sections.setdefault(setting.section, {}) if setting.section else top
            place[setting.attribute] = values[setting.name]
    types = {field.name: field.type for field in msgspec.structs.fields(tree)}
    return tree(**top, **{name: types[name](**members) for name, members in sections.items()})


def read_file(path: Path, settings: Iterable[Setting]) -> dict[str, object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    known = {setting.name: setting for setting in settings}
    values: dict[str, object] = {}
    for name, value in _flatten(content):
        if name not in known:
            raise ConfigError(f"{path}: unknown setting {name}; the nearest known one is {_nearest(name, known)}")
        values[name] = decode(known[name], value, str(path))
    return values


def read_environment(
    environment: Mapping[str, str],
    settings: Iterable[Setting],
    *,
    short_names: Mapping[str, str],
    foreign: Iterable[str],
) -> dict[str, object]:
    """``short_names`` maps further variables to settings; ``foreign`` are variables that belong to other programs.

    An empty variable is a value for text and lists, and counts as not given for everything else.
    """
    known = {setting.variable: setting for setting in settings}
    by_name = {setting.name: setting for setting in known.values()}
    known |= {variable: by_name[name] for variable, name in short_names.items()}
    values: dict[str, object] = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in foreign or _SERVICE_LINK.fullmatch(variable):
            continue
        if variable not in known:
            continue  # ``unknown_variables`` names them: what else runs here may use the prefix too
        setting = known[variable]
        if not _is_unicode(text):
            raise ConfigError(f"environment, {variable}: {setting.name} must be UTF-8")
        if not text and setting.type is not str and get_origin(setting.type) is not tuple:
            continue
        value = decode(setting, _from_text(setting, text), f"environment, {variable}")
        if values.setdefault(setting.name, value) != value:
            raise ConfigError(f"environment: {variable} and its other name give {setting.name} two values; keep one")
    return values


def unknown_variables(
    environment: Mapping[str, str], settings: Iterable[Setting], *, short_names: Iterable[str], foreign: Iterable[str]
) -> list[str]:
    """A line for each variable that has our prefix and is no setting: perhaps a misspelt one."""
    known = {setting.variable for setting in settings} | set(short_names)
    strangers = [
        variable
        for variable in environment
        if variable.startswith(ENVIRONMENT_PREFIX)
        and variable not in known
        and variable not in foreign
        and not _SERVICE_LINK.fullmatch(variable)
    ]
    return [f"{name} is no setting and has no effect; the nearest one is {_nearest(name, known)}" for name in strangers]


def read_arguments(arguments: Mapping[str, object], settings: Iterable[Setting]) -> dict[str, object]:
    """Arguments are keyed by the name of their setting; None stands for one that was not given."""
    known = {setting.name: setting for setting in settings}
    return {name: decode(known[name], value, "command line") for name, value in arguments.items() if value is not None}


def decode(setting: Setting, value: object, place: str) -> object:
    """The typed value. ``place`` says where it was found."""
    try:
        decoded = msgspec.convert(value, setting.type, dec_hook=_decode_quantity)
    except msgspec.ValidationError:
        decoded = None
    bounds = setting.range
    if decoded is None or (bounds is not None and not bounds.low <= decoded <= bounds.high):
        # The value itself is left out: it may be a secret that was given to the wrong setting.
        raise ConfigError(f"{place}: {setting.name} must be {setting.expectation}")
    return decoded


def format_value(kind: Any, value: Any) -> str:  # noqa: ANN401 - any type that a setting has
    """As it would stand in the file, without quotes."""
    if kind is Seconds:
        return format_seconds(value)
    if kind is Bytes:
        return format_bytes(value)
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _leaf(section: str, field: msgspec.structs.FieldInfo) -> Setting:
    kind, bounds = field.type, None
    if get_origin(kind) is Annotated:
        kind, bounds = get_args(kind)
    name = f"{section}.{field.encode_name}" if section else field.encode_name
    return Setting(section, field.name, name, kind, field.default, bounds)


def _kind(kind: Any) -> str:  # noqa: ANN401 - any type that a setting has
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    names = {
        Seconds: 'a duration such as "500ms", "10s" or "24h"',
        Bytes: 'a size such as "64MiB" or "10GB"',
        bool: "true or false",
        int: "a whole number",
        str: "text",
    }
    return names.get(kind, "a list of text")


def _flatten(content: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _nearest(name: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0)[0]


def _is_unicode(text: str) -> bool:
    """What of the environment is not UTF-8 stands in it as surrogates, which nothing can be done with."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_text(setting: Setting, text: str) -> object:
    if setting.type is bool:
        return _BOOLEANS.get(text.strip().lower(), text)
    if setting.type is int:
        return int(text) if re.fullmatch(r"\s*\d{1,18}\s*", text, re.ASCII) else text
    if get_origin(setting.type) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _decode_quantity(kind: type, value: object) -> object:
    return parse_seconds(value) if kind is Seconds else parse_bytes(value)
