"""What a caller gave for a destination, checked member by member against the provider's fields.

Pure: nothing here knows what is stored. A member that is null counts as not given. Exceptions: for credentials and the
members of ``options`` null takes away what is stored, for ``name`` and ``filter`` it brings the default back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from gateway.destinations.filter import SEARCHES_MAX, searches
from gateway.destinations.problems import (
    Problems,
    has_control_characters,
    read_name,
    read_tenant_id,
    shown_member,
)
from gateway.destinations.store import Filter
from gateway.providers.choices import whole_bounds
from gateway.providers.codec import Field, Provider, Secret

MEMBERS = ("provider", "endpoint", "enabled", "name", "tenant_id", "filter", "options", "ordered", "credentials")

CREDENTIAL_BYTES_MAX = 8 << 10
OPTION_CHARS_MAX = 4_096
MULTILINE_CHARS_MAX = 64 << 10
OPTION_ITEMS_MAX = 100
PATTERNS_MAX = 200
PATTERN_CHARS_MAX = 256


class Form(msgspec.Struct):
    """UNSET where nothing was given; None where something is to be taken away."""

    endpoint: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    ordered: bool | UnsetType = UNSET
    name: str | UnsetType = UNSET
    tenant_id: str | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET
    options: dict[str, object | None] = {}
    credentials: dict[str, Secret | None] = {}


def read_form(given: Mapping[str, object], provider: Provider, problems: Problems) -> Form:
    """The members but ``provider``. What is wrong is added to ``problems`` and left out of the form."""
    form = Form(options={}, credentials=_read_credentials(given, provider, problems))
    _check_members(given, provider, problems)
    _read_plain_members(given, form, problems)
    if given.get("options") is not None:
        form.options = _read_options(given["options"], provider, problems)
    if "filter" in given:
        form.filter = read_filter(given["filter"], problems)
    return form


def _read_plain_members(given: Mapping[str, object], form: Form, problems: Problems) -> None:
    endpoint, tenant_id = given.get("endpoint"), given.get("tenant_id")
    if isinstance(endpoint, str):
        form.endpoint = endpoint.strip()
    elif endpoint is not None:
        problems.add("endpoint", "must be a web address such as https://host/path")
    if tenant_id is not None:
        form.tenant_id = read_tenant_id(tenant_id, problems) or UNSET
    if "name" in given:
        form.name = read_name("" if given["name"] is None else given["name"], problems) or ""
    form.enabled = _read_flag(given, "enabled", problems)
    form.ordered = _read_flag(given, "ordered", problems)


def _check_members(given: Mapping[str, object], provider: Provider, problems: Problems) -> None:
    known = (*MEMBERS, *_names(provider, "credential"))
    options = _names(provider, "option")
    for name in given:
        if name in known:
            continue
        if name in options:
            problems.add(name, "stands in options: give it as a member of that object")
        else:
            problems.add_unknown(name, known)


def _read_flag(given: Mapping[str, object], name: str, problems: Problems) -> bool | UnsetType:
    value = given.get(name)
    if value is None:
        return UNSET
    if isinstance(value, bool):
        return value
    problems.add(name, "must be true or false")
    return UNSET


def _names(provider: Provider, where: str) -> tuple[str, ...]:
    return tuple(field.name for field in provider.fields if field.where == where)


# -- credentials


def _read_credentials(given: Mapping[str, object], provider: Provider, problems: Problems) -> dict[str, Secret | None]:
    fields = {field.name: field for field in provider.fields if field.where == "credential"}
    names = tuple(fields)
    inner = given.get("credentials")
    if inner is not None and not isinstance(inner, Mapping):
        problems.add("credentials", f"must be an object with {', '.join(names)}")
        inner = None
    nested: Mapping[str, object] = inner or {}
    for name in nested:
        if name not in names:
            problems.add_unknown(name, names, within="credentials.")
    found: dict[str, Secret | None] = {}
    for name in names:
        if name in given and name in nested and given[name] != nested[name]:
            problems.add(name, "is given twice, here and in credentials; keep one")
        elif name in given or name in nested:
            value = given[name] if name in given else nested[name]
            found[name] = None if value is None else _read_credential(fields[name], value, problems)
    return found


def _read_credential(field: Field, value: object, problems: Problems) -> Secret | None:
    """The value itself is in no message."""
    name, text = field.name, value.strip() if isinstance(value, str) else ""
    bytes_max = MULTILINE_CHARS_MAX if field.multiline else CREDENTIAL_BYTES_MAX
    if not isinstance(value, str):
        problems.add(name, "must be text")
    elif not text:
        problems.add(name, "a value is required")
    elif has_control_characters(_one_line(text) if field.multiline else text):
        problems.add(name, "control characters are not allowed")
    elif len(text.encode()) > bytes_max:
        problems.add(name, f"must not be longer than {bytes_max} bytes")
    else:
        return Secret(text)
    return None


def _one_line(text: str) -> str:
    return text.replace("\r\n", " ").replace("\n", " ")


# -- options


def _read_options(value: object, provider: Provider, problems: Problems) -> dict[str, object | None]:
    fields = {field.name: field for field in provider.fields if field.where == "option"}
    if not isinstance(value, Mapping):
        problems.add("options", "must be an object")
        return {}
    chosen: dict[str, object | None] = {}
    for name, given in value.items():
        if name in fields:
            chosen[name] = None if given is None else _read_option(fields[name], given, problems)
        elif fields:
            problems.add_unknown(name, fields, within="options.")
        else:
            problems.add(f"options.{shown_member(name)}", f"{provider.label} has no options")
    return chosen


def _read_option(field: Field, value: object, problems: Problems) -> object | None:
    """The value as it is stored. None also for empty text, which is what an empty field of a web form sends."""
    read = _READERS[field.type]
    chosen = read(value)
    place = f"options.{field.name}"
    if chosen is None:
        problems.add(place, _EXPECTED[field.type])
        return None
    if chosen == "":
        return None
    message = _misfit(field, chosen)
    if message is not None:
        problems.add(place, message)
        return None
    return chosen


def _misfit(field: Field, value: object) -> str | None:
    if field.type == "integer" and isinstance(value, int):
        low, high = whole_bounds(field)
        return None if low <= value <= high else f"must be a whole number from {low} to {high}"
    texts = [_one_line(text) for text in _texts(value)] if field.multiline else _texts(value)
    chars_max = MULTILINE_CHARS_MAX if field.multiline else OPTION_CHARS_MAX
    if field.choices and any(text not in field.choices for text in texts):
        return f"must be one of {', '.join(field.choices)}"
    if len(texts) > OPTION_ITEMS_MAX or any(len(text) > chars_max for text in texts):
        return f"is too long: {OPTION_ITEMS_MAX} items of {chars_max} characters at most"
    if any(has_control_characters(text) for text in texts):
        return "control characters are not allowed"
    if field.pattern is not None and any(re.fullmatch(field.pattern, text) is None for text in texts):
        return f"does not have the right form: {field.help or field.pattern}"
    return None


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for text in pair]
    return list(value) if isinstance(value, list) else []


def _read_text(value: object) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _read_integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _read_array(value: object) -> list[str] | None:
    """A list of text, or text with commas between."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        return None
    return [item.strip() for item in items if item.strip()]


def _read_object(value: object) -> dict[str, str] | None:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        return None
    return dict(value)


_READERS = {
    "string": _read_text,
    "enum": _read_text,
    "integer": _read_integer,
    "boolean": _read_boolean,
    "array": _read_array,
    "object": _read_object,
}
_EXPECTED = {
    "string": "must be text",
    "enum": "must be text",
    "integer": "must be a whole number",
    "boolean": "must be true or false",
    "array": "must be a list of text",
    "object": "must be an object with text in it",
}


# -- filter


def read_filter(value: object, problems: Problems) -> Filter:
    """All events where nothing is chosen."""
    if value is None:
        return Filter()
    if not isinstance(value, Mapping):
        problems.add("filter", "must be an object")
        return Filter()
    known = Filter.__struct_fields__
    chosen: dict[str, tuple[str, ...]] = {}
    for name, patterns in value.items():
        if name not in known:
            problems.add_unknown(name, known, within="filter.")
        elif patterns is not None:
            chosen[name] = _read_patterns(f"filter.{name}", patterns, problems)
    read = Filter(**chosen)
    if searches(read) > SEARCHES_MAX:
        problems.add("filter", f"has too many *: {SEARCHES_MAX} at most, those at the end of a pattern not counted")
        return Filter()
    return read


def _read_patterns(place: str, value: object, problems: Problems) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(pattern, str) for pattern in value):
        problems.add(place, "must be a list of text, such as attestation.*")
    elif len(value) > PATTERNS_MAX or any(len(pattern) > PATTERN_CHARS_MAX for pattern in value):
        problems.add(place, f"is too long: {PATTERNS_MAX} patterns of {PATTERN_CHARS_MAX} characters at most")
    elif not all(pattern.strip() for pattern in value) or any(map(has_control_characters, value)):
        problems.add(place, "patterns must not be empty and must not hold control characters")
    else:
        return tuple(pattern.strip() for pattern in value)
    return ()
