"""API keys: who a caller is, and who may make and take back keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from gateway.clock import Clock
from gateway.destinations.catalog import Catalog
from gateway.destinations.ids import (
    API_KEY_CHARS,
    API_KEY_PREFIX,
    api_key_digest,
    api_key_prefix,
    new_api_key,
    new_key_id,
)
from gateway.destinations.problems import Problems, read_name, read_tenant_id
from gateway.destinations.store import ApiKey, Scope
from gateway.errors import Conflict, NotFound, RequestRejected

ALL_TENANTS = "*"
BOOTSTRAP_KEY_ID = "key_bootstrap"
KEYS_MAX = 100_000

_MEMBERS = ("name", "scopes", "tenant_id", "expires_at")
_YEAR_10000_S = 253_402_300_800.0  # the first moment, in UTC, that RFC 3339 has no text for
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class CreatedKey(msgspec.Struct, frozen=True):
    """``value`` is the key itself. It exists here alone and is shown once."""

    key: ApiKey
    value: str

    def __repr__(self) -> str:
        return f"CreatedKey({self.key.id})"


def bootstrap_key(value: str, created_at_s: float) -> ApiKey:
    """The operator's key that exists from the start: all tenants, all scopes, not in the store.

    Its prefix is shown only when it has the form of a generated one: 4 characters of a short text would be too many.
    """
    is_generated = value.startswith(API_KEY_PREFIX) and len(value) >= API_KEY_CHARS
    return ApiKey(
        id=BOOTSTRAP_KEY_ID,
        tenant_id=ALL_TENANTS,
        name="Bootstrap key",
        scopes=tuple(Scope),
        digest=api_key_digest(value),
        prefix=api_key_prefix(value) if is_generated else "",
        created_at_s=created_at_s,
    )


class KeyService:
    def __init__(self, catalog: Catalog, *, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock

    def find(self, digest: str) -> ApiKey | None:
        """The key whose ``api_key_digest`` this is, None when there is none or it has expired. Waits for nothing."""
        key = self._catalog.key_for(digest)
        return None if key is None or self._has_expired(key) else key

    def list(self, caller: ApiKey) -> list[ApiKey]:
        """The keys of the caller's tenant, or all for an operator."""
        return [key for key in self._catalog.keys().values() if _may_see(caller, key)]

    async def create(self, given: Mapping[str, object], *, caller: ApiKey) -> CreatedKey:
        """A new key: of the caller's tenant unless an operator names another, with scopes that the caller has.

        Raises RequestRejected, with status 403 for what the caller may not give away.
        """
        problems = Problems("the key")
        for name in given:
            if name not in _MEMBERS:
                problems.add_unknown(name, _MEMBERS)
        scopes = _read_scopes(given.get("scopes"), problems)
        name = read_name("" if given.get("name") is None else given["name"], problems) or ""
        expires_at_s = self._read_expiry(given.get("expires_at"), problems)
        tenant_id = caller.tenant_id
        if given.get("tenant_id") is not None:
            tenant_id = read_tenant_id(given["tenant_id"], problems) or tenant_id
        problems.raise_any()
        _check_rights(caller, tenant_id, scopes)
        if len(self._catalog.keys()) >= KEYS_MAX:
            raise RequestRejected(f"there are {KEYS_MAX} keys already; revoke those that are not used", status=409)
        value = new_api_key()
        key = ApiKey(
            id=new_key_id(),
            tenant_id=tenant_id,
            name=name,
            scopes=scopes,
            digest=api_key_digest(value),
            prefix=api_key_prefix(value),
            created_at_s=self._clock.time_s(),
            expires_at_s=expires_at_s,
        )
        await self._catalog.create_key(key)
        return CreatedKey(key, value)

    def is_valid(self, key: ApiKey) -> bool:
        """Whether a key that was let in before may go on: it was neither revoked nor has it expired."""
        return self._catalog.key_for(key.digest) is not None and not self._has_expired(key)

    async def revoke(self, key_id: str, *, caller: ApiKey) -> ApiKey:
        """The key is refused from now on. Returns what it was.

        Raises NotFound, also for another tenant's key; Conflict for a fixed one.
        """
        key = self._catalog.keys().get(key_id)
        if key is None or not _may_see(caller, key):
            raise NotFound(f"there is no key {key_id}")
        if self._catalog.is_fixed(key_id):
            raise Conflict("the bootstrap key belongs to the gateway's settings: change it there and start anew")
        await self._catalog.delete_key(key_id)
        return key

    def _has_expired(self, key: ApiKey) -> bool:
        return key.expires_at_s is not None and key.expires_at_s <= self._clock.time_s()

    def _read_expiry(self, value: object, problems: Problems) -> float | None:
        if value is None:
            return None
        if not isinstance(value, str) or (moment := _parse_time(value)) is None:
            problems.add("expires_at", "must be a time such as 2027-01-31T12:00:00Z")
            return None
        if moment <= self._clock.time_s():
            problems.add("expires_at", "must lie in the future")
        return moment


def _may_see(caller: ApiKey, key: ApiKey) -> bool:
    return caller.tenant_id in {ALL_TENANTS, key.tenant_id}


def _check_rights(caller: ApiKey, tenant_id: str, scopes: Sequence[Scope]) -> None:
    """Nobody gives away more than they have."""
    if caller.tenant_id not in {ALL_TENANTS, tenant_id}:
        _refuse("tenant_id", "this key may only make keys of its own tenant")
    beyond = [scope for scope in scopes if scope not in caller.scopes]
    if beyond:
        _refuse("scopes", f"this key does not have {', '.join(beyond)} itself")


def _refuse(field: str, message: str) -> None:
    raise RequestRejected(f"{field}: {message}", status=403, errors=((field, message),))


def _read_scopes(value: object, problems: Problems) -> tuple[Scope, ...]:
    known = [scope.value for scope in Scope]
    if not isinstance(value, list | tuple) or not value:
        problems.add("scopes", f"must be a list with one or more of {', '.join(known)}")
        return ()
    unknown = [scope for scope in value if scope not in known]
    if unknown:
        problems.add("scopes", f"must be some of {', '.join(known)}")
        return ()
    return tuple(scope for scope in Scope if scope in value)


def _parse_time(text: str) -> float | None:
    if _RFC_3339.fullmatch(text) is None:
        return None
    try:
        moment_s = datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None
    return moment_s if moment_s < _YEAR_10000_S else None
