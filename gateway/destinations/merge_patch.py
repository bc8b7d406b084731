"""A JSON merge patch (RFC 7396) of a destination, as the changes that a PUT would make. Plain functions."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import asdict

from gateway.destinations.store import Destination
from gateway.errors import RequestRejected

_DEFAULTS: Mapping[str, object] = {"enabled": True, "ordered": False}
_FIXED = {
    "endpoint": "an address is required",
    "provider": "cannot be changed; create another destination instead",
    "tenant_id": "cannot be changed; create another destination instead",
}


def changes_of(known: Destination, patch: Mapping[str, object]) -> dict[str, object]:
    """Null takes a member away, or brings its default back; objects are merged with what is stored, lists replaced.

    Raises RequestRejected for null where there has to be something.
    """
    errors = tuple((name, message) for name, message in _FIXED.items() if name in patch and patch[name] is None)
    if errors:
        shown = "; ".join(f"{name}: {message}" for name, message in errors)
        raise RequestRejected(f"the change is not valid: {shown}", errors=errors)
    changes = dict(patch)
    for name, default in _DEFAULTS.items():
        if name in changes and changes[name] is None:
            changes[name] = default
    if "options" in changes:
        changes["options"] = _options(known, changes["options"])
    if isinstance(changes.get("filter"), Mapping):
        changes["filter"] = merged(asdict(known.filter), changes["filter"])
    if "credentials" in changes and changes["credentials"] is None:
        changes["credentials"] = dict.fromkeys(known.credentials_set)
    return changes


def merged(target: object, patch: object) -> object:
    """The algorithm of RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _options(known: Destination, patch: object) -> object:
    """A PUT takes an option away where it is null, so null stays; within an option it is merged."""
    if patch is None:
        return dict.fromkeys(known.options)
    if not isinstance(patch, Mapping):
        return patch
    return {name: None if value is None else merged(known.options.get(name), value) for name, value in patch.items()}
