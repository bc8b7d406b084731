"""Loaded by Schemathesis: what a schema cannot say of a destination is an address and credentials that are taken."""

from __future__ import annotations

from typing import Any

import msgspec
import schemathesis

from gateway.providers import PROVIDERS
from gateway.server.requests import NewDestination

_TAKEN = {"provider": "splunk", "endpoint": "https://siem.example.com/services/collector", "token": "a-token"}
_KEPT = ("enabled", "ordered")


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """A body that fits its schema becomes one that makes a destination. One that does not stays as it is."""
    operation = context.operation
    if operation is None or operation.label != "POST /v1/audit/siem" or not _fits(body):
        return body
    return _TAKEN | {name: body[name] for name in _KEPT if name in body}


def _fits(body: Any) -> bool:
    try:
        msgspec.convert(body, NewDestination)
    except msgspec.ValidationError:
        return False
    return body["provider"] in PROVIDERS
