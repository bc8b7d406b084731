"""Who calls, and whether they may."""

from __future__ import annotations

from gateway.destinations.keys import KeyService
from gateway.destinations.store import ApiKey, Scope
from gateway.queue import ALL_TENANTS
from gateway.server.answers import Answer
from gateway.server.problems import problem_answer

NOBODY = ApiKey("", "", "", (), "", "", 0.0)


def presented_key(x_api_key: str | None, authorization: str | None) -> str | None:
    """The key of ``X-API-Key``, else that of ``Authorization: Bearer``."""
    if x_api_key is not None:
        return x_api_key.strip()
    scheme, _, credentials = (authorization or "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" and credentials.strip() else None


def admitted(digest: str | None, keys: KeyService, scope: Scope | None) -> ApiKey | Answer:
    """The caller whose key has this digest (None: none was presented), or the 401 or 403."""
    if digest is None:
        return _unauthorised("an API key is required: send it as X-API-Key or as Authorization: Bearer")
    key = keys.find(digest)
    if key is None:
        return _unauthorised("this API key is not known, was revoked or has expired")
    return key if scope is None or scope in key.scopes else _refusal(key, scope)


def _refusal(caller: ApiKey, scope: Scope) -> Answer:
    detail = f"this key does not have the scope {scope.value}"
    if scope in (Scope.SIEM_READ, Scope.SIEM_WRITE) and caller.tenant_id != ALL_TENANTS:
        detail += (
            "; SIEM streaming is an entitlement of the Enterprise tier, which the scopes siem:read and siem:write "
            "stand for: upgrade the tier, or ask an operator for a key with them"
        )
    return problem_answer(403, detail)


def _unauthorised(detail: str) -> Answer:
    return problem_answer(401, detail, headers={"WWW-Authenticate": 'Bearer realm="audit"'})
