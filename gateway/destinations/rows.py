"""Structs ↔ rows, the same for every SQL store. Lists, objects and the filter are JSON text."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from gateway.destinations.claims import Claim
from gateway.destinations.history import Action, Activity, Change, Figures
from gateway.destinations.store import ApiKey, Destination, Filter, Scope
from gateway.errors import StoreError


class Row(Protocol):
    def __getitem__(self, column: str, /) -> Any: ...  # noqa: ANN401 - what a column holds is the schema's business


def destination_row(destination: Destination) -> tuple[object, ...]:
    """In the order in which the stores' statements list the columns."""
    return (
        destination.id,
        destination.tenant_id,
        destination.provider,
        destination.endpoint,
        destination.enabled,
        destination.name,
        _json(destination.options),
        _json(destination.filter),
        destination.sealed_credentials,
        _json(destination.credentials_set),
        destination.created_at_s,
        destination.updated_at_s,
        destination.revision,
        destination.ordered,
        destination.deleting,
        destination.resumed_at_s,
        _json(destination.credentials_updated_at_s),
    )


def key_row(key: ApiKey) -> tuple[object, ...]:
    return (
        key.id,
        key.tenant_id,
        key.name,
        _json(key.scopes),
        key.digest,
        key.prefix,
        key.created_at_s,
        key.expires_at_s,
    )


def read_destination(row: Row) -> Destination:
    """Raises StoreError."""
    try:
        return Destination(
            id=row["id"],
            tenant_id=row["tenant_id"],
            provider=row["provider"],
            endpoint=row["endpoint"],
            enabled=bool(row["enabled"]),
            name=row["name"],
            options=msgspec.json.decode(row["options"], type=dict[str, object]),
            filter=msgspec.json.decode(row["filter"], type=Filter),
            sealed_credentials=bytes(row["sealed_credentials"]),
            credentials_set=msgspec.json.decode(row["credentials_set"], type=tuple[str, ...]),
            created_at_s=row["created_at_s"],
            updated_at_s=row["updated_at_s"],
            revision=row["revision"],
            ordered=bool(row["ordered"]),
            deleting=bool(row["deleting"]),
            resumed_at_s=row["resumed_at_s"],
            credentials_updated_at_s=msgspec.json.decode(row["credentials_updated_at"], type=dict[str, float]),
        )
    except msgspec.DecodeError as error:
        raise StoreError(f"destination {row['id']} cannot be read from the store: {error}") from error


def read_key(row: Row) -> ApiKey:
    """Raises StoreError."""
    try:
        return ApiKey(
            id=row["id"],
            tenant_id=row["tenant_id"],
            name=row["name"],
            scopes=msgspec.json.decode(row["scopes"], type=tuple[Scope, ...]),
            digest=row["digest"],
            prefix=row["prefix"],
            created_at_s=row["created_at_s"],
            expires_at_s=row["expires_at_s"],
        )
    except msgspec.DecodeError as error:
        raise StoreError(f"API key {row['id']} cannot be read from the store: {error}") from error


def figures_row(figures: Figures) -> tuple[object, ...]:
    """In the order of the struct, which is that of the stores' statements."""
    return msgspec.structs.astuple(figures)


def read_figures(row: Row) -> Figures:
    return Figures(*(row[name] for name in Figures.__struct_fields__))


def activity_row(activity: Activity) -> tuple[object, ...]:
    """In the order in which the stores' statements list the columns."""
    return (
        activity.id,
        activity.at_s,
        activity.action.value,
        activity.tenant_id,
        activity.destination_id,
        activity.destination_name,
        activity.key_id,
        activity.key_name,
        _json(activity.changes),
    )


def read_activity(row: Row) -> Activity:
    """Raises StoreError."""
    try:
        return Activity(
            id=row["id"],
            at_s=row["at_s"],
            action=Action(row["action"]),
            tenant_id=row["tenant_id"],
            destination_id=row["destination_id"],
            destination_name=row["destination_name"],
            key_id=row["key_id"],
            key_name=row["key_name"],
            changes=msgspec.json.decode(row["changes"], type=tuple[Change, ...]),
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise StoreError(f"activity {row['id']} cannot be read from the store: {error}") from error


def claim_row(claim: Claim) -> tuple[str, str, str, float]:
    """What tells this claim from any other, in the order in which the stores' statements list the columns."""
    return claim.api_key_id, claim.name, claim.fingerprint, claim.at_s


def read_claim(row: Row) -> Claim:
    return Claim(*(row[name] for name in Claim.__struct_fields__))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
