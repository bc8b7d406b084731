"""The JSON that callers send, as types for the OpenAPI document. What may stand in them is decided by
``gateway.destinations``: it knows each provider's fields and says everything that is wrong at once.
"""

from __future__ import annotations

import msgspec

from gateway.destinations.store import Filter, Scope


class DestinationDraft(msgspec.Struct, frozen=True, omit_defaults=True):
    """Credentials stand at the top level (``token``, ``secret`` …) or in ``credentials``."""

    endpoint: str = ""
    name: str = ""
    enabled: bool = True
    ordered: bool = False
    token: str = ""
    secret: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    credentials: dict[str, str] = {}
    options: dict[str, object] = {}
    filter: Filter | None = None


class DestinationChanges(DestinationDraft, frozen=True, omit_defaults=True):
    """Members that are not given stay as they are; an option or credential given as null goes."""


class NewDestination(msgspec.Struct, frozen=True, omit_defaults=True):
    """``tenant_id`` is for operators alone; without it their destination receives the events of all tenants."""

    provider: str
    endpoint: str
    name: str = ""
    tenant_id: str = ""
    enabled: bool = True
    ordered: bool = False
    token: str = ""
    secret: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    credentials: dict[str, str] = {}
    options: dict[str, object] = {}
    filter: Filter | None = None


class KeyDraft(msgspec.Struct, frozen=True, omit_defaults=True):
    scopes: list[Scope]
    name: str = ""
    tenant_id: str = ""
    expires_at: str | None = None


class PreviewRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``tenant_id`` is for operators alone; without it they look at the events of all tenants."""

    filter: Filter | None = None
    tenant_id: str = ""
