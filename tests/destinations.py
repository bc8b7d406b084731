"""A stored destination, of which a test says only what it is about."""

from __future__ import annotations

from typing import Any

from gateway.destinations.store import Destination, Filter


def destination(**members: Any) -> Destination:
    """A webhook of tenant ``t``, enabled, that lets everything through."""
    defaults: dict[str, Any] = {
        "id": "siem_1",
        "tenant_id": "t",
        "provider": "webhook",
        "endpoint": "http://siem",
        "enabled": True,
        "name": "",
        "options": {},
        "filter": Filter(),
        "sealed_credentials": b"",
        "credentials_set": (),
        "created_at_s": 0.0,
        "updated_at_s": 0.0,
    }
    return Destination(**defaults | members)
