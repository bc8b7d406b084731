"""The JSON that callers send, as types for the OpenAPI document. What may stand in them is decided by
``gateway.destinations``: it knows each provider's fields and says everything that is wrong at once.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.destinations.store import Scope
from gateway.providers import PROVIDERS

Text = Annotated[str, msgspec.Meta(min_length=1)]
ProviderName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(PROVIDERS)})]


class FilterDraft(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Null is as good as an empty list."""

    actions: list[Text] | None = None
    exclude_actions: list[Text] | None = None
    services: list[Text] | None = None
    outcomes: list[Text] | None = None
    actor_types: list[Text] | None = None


class DestinationDraft(msgspec.Struct, frozen=True, omit_defaults=True):
    """Credentials stand at the top level (``token``, ``secret`` …) or in ``credentials``. A member that is null counts
    as not given.
    """

    endpoint: str | None = None
    name: str | None = None
    enabled: bool | None = None
    ordered: bool | None = None
    token: Text | None = None
    secret: Text | None = None
    access_key_id: Text | None = None
    secret_access_key: Text | None = None
    previous_secret: Text | None = None
    client_certificate: Text | None = None
    client_key: Text | None = None
    credentials: dict[str, str | None] | None = None
    options: dict[str, object] | None = None
    filter: FilterDraft | None = None


class DestinationChanges(DestinationDraft, frozen=True, omit_defaults=True):
    """Members that are not given stay as they are; an option or credential given as null goes."""


class DestinationPatch(DestinationDraft, frozen=True, omit_defaults=True):
    """A merge patch: null takes away what there is, or brings the default back."""


class NewDestination(DestinationDraft, frozen=True, omit_defaults=True, kw_only=True):
    """``tenant_id`` is for operators alone; without it their destination receives the events of all tenants."""

    provider: ProviderName
    endpoint: str
    tenant_id: Text | None = None


class KeyDraft(msgspec.Struct, frozen=True, omit_defaults=True):
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)]
    name: str | None = None
    tenant_id: Text | None = None
    expires_at: str | None = None


class PreviewRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``tenant_id`` is for operators alone; without it they look at the events of all tenants."""

    filter: FilterDraft | None = None
    tenant_id: Text | None = None
