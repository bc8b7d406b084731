"""Who calls, and whether they may."""

from __future__ import annotations

from aiohttp import web

from gateway.destinations.keys import KeyService
from gateway.destinations.store import ApiKey, Scope
from gateway.queue import ALL_TENANTS
from gateway.server.problems import problem

NOBODY = ApiKey("", "", "", (), "", "", 0.0)


def presented_key(request: web.Request) -> str | None:
    """The key of ``X-API-Key``, else that of ``Authorization: Bearer``."""
    key = request.headers.get("X-API-Key")
    if key is not None:
        return key.strip()
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" and credentials.strip() else None


def authenticate(request: web.Request, keys: KeyService) -> ApiKey | web.Response:
    """The caller, or the 401."""
    presented = presented_key(request)
    if presented is None:
        return _unauthorised("an API key is required: send it as X-API-Key or as Authorization: Bearer")
    key = keys.authenticate(presented)
    return key if key is not None else _unauthorised("this API key is not known, was revoked or has expired")


def refusal(caller: ApiKey, scope: Scope | None) -> web.Response | None:
    """The 403, or None when the caller may."""
    if scope is None or scope in caller.scopes:
        return None
    detail = f"this key does not have the scope {scope.value}"
    if scope in (Scope.SIEM_READ, Scope.SIEM_WRITE) and caller.tenant_id != ALL_TENANTS:
        detail += (
            "; SIEM streaming is an entitlement of the Enterprise tier, which the scopes siem:read and siem:write "
            "stand for: upgrade the tier, or ask an operator for a key with them"
        )
    return problem(403, detail)


def _unauthorised(detail: str) -> web.Response:
    return problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="audit"'})
