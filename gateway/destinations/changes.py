"""What a change of a destination or a key changed, field by field, fit to be kept and shown. Plain functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from gateway.destinations.history import Change
from gateway.destinations.store import ApiKey, Destination

HIDDEN = "***"
VALUE_BYTES_MAX = 1_024

_PLAIN = ("name", "endpoint", "enabled", "ordered")


def differences(before: Destination | None, after: Destination) -> tuple[Change, ...]:
    """In the order of the form. ``before`` is None for a new destination: then what was given counts.

    A credential that was given is a change, whether its value is another or not; the value is in neither side.
    """
    return tuple(_differences(before, after))


def key_members(key: ApiKey, *, made: bool) -> tuple[Change, ...]:
    """A key's members as they appear, or as they go. Neither the key nor its digest is among them."""
    members = {"key": key.id, "name": key.name, "scopes": list(key.scopes)}
    return tuple(Change(name, None, value) if made else Change(name, value, None) for name, value in members.items())


def _differences(before: Destination | None, after: Destination) -> Iterator[Change]:
    if before is None:
        yield Change("provider", None, after.provider)
    for name in _PLAIN:
        yield from _changed(name, getattr(before, name, None), getattr(after, name))
    times = before.credentials_updated_at_s if before is not None else {}
    for name in sorted({*times, *after.credentials_updated_at_s}):
        if times.get(name) != after.credentials_updated_at_s.get(name):
            yield Change(name, HIDDEN if name in times else None, HIDDEN if name in after.credentials_set else None)
    yield from _of_mapping("options", before.options if before is not None else {}, after.options)
    yield from _of_mapping("filter", _patterns(before), _patterns(after))


def _patterns(destination: Destination | None) -> dict[str, object]:
    """The lists of its filter that are not empty."""
    lists = msgspec.structs.asdict(destination.filter) if destination is not None else {}
    return {name: list(patterns) for name, patterns in lists.items() if patterns}


def _of_mapping(place: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        yield from _changed(f"{place}.{name}", before.get(name), after.get(name))


def _changed(field: str, before: object, after: object) -> Iterator[Change]:
    if before != after:
        yield Change(field, _short(before), _short(after))


def _short(value: object) -> object:
    size = len(msgspec.json.encode(value))
    return value if size <= VALUE_BYTES_MAX else f"({size:,} bytes)"
