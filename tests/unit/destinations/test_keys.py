"""API keys: who they let in, and who may make and take back which."""

from __future__ import annotations

import pytest

from gateway.destinations.catalog import Catalog
from gateway.destinations.ids import api_key_digest
from gateway.destinations.keys import BOOTSTRAP_KEY_ID, KeyService, bootstrap_key
from gateway.destinations.store import ApiKey, Scope
from gateway.errors import Conflict, NotFound, RequestRejected
from tests.clock import ManualClock
from tests.stores import MemoryStore

OPERATOR_VALUE = "tl_live_" + "o" * 43
OPERATOR = bootstrap_key(OPERATOR_VALUE, 1.0)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.catalog = Catalog(self.store, fixed_keys=[OPERATOR])
        self.service = KeyService(self.catalog, clock=self.clock)

    async def key(self, tenant_id: str = "*", *scopes: str, caller: ApiKey = OPERATOR) -> ApiKey:
        created = await self.service.create({"tenant_id": tenant_id, "scopes": list(scopes)}, caller=caller)
        return created.key


@pytest.fixture
async def world() -> World:
    world = World()
    await world.catalog.start()
    return world


async def errors(world: World, caller: ApiKey = OPERATOR, status: int = 422, **given: object) -> dict[str, str]:
    with pytest.raises(RequestRejected) as caught:
        await world.service.create(given, caller=caller)
    assert caught.value.status == status
    assert dict(world.store.contents.keys) == {
        key.id: key for key in world.catalog.keys().values() if key.id != BOOTSTRAP_KEY_ID
    }
    return dict(caught.value.errors)


async def test_a_key_lets_in_from_the_start(world: World) -> None:
    """The new key is known at once; of its value only a digest and a prefix are stored."""
    created = await world.service.create({"name": "Producer", "scopes": ["events:write"]}, caller=OPERATOR)
    assert world.service.find(api_key_digest(created.value)) == created.key
    assert created.key == ApiKey(
        id=created.key.id,
        tenant_id="*",
        name="Producer",
        scopes=(Scope.EVENTS_WRITE,),
        digest=api_key_digest(created.value),
        prefix=created.value[:12],
        created_at_s=world.clock.time_s(),
        expires_at_s=None,
    )
    assert created.key.id.startswith("key_")
    assert created.value not in repr(world.store.contents.keys) + repr(created)


@pytest.mark.parametrize("presented", ["", "tl_live_", "tl_live_" + "x" * 43, "käse", "\udcff"])
async def test_other_keys_do_not(world: World, presented: str) -> None:
    """Whatever is presented, it is None and never an error."""
    assert world.service.find(api_key_digest(presented)) is None


async def test_a_key_expires(world: World) -> None:
    """From the moment named on it is refused; until then it works."""
    created = await world.service.create(
        {"scopes": ["siem:read"], "expires_at": "2026-07-01T00:00:00.500+02:00"}, caller=OPERATOR
    )
    assert created.key.expires_at_s == 1_782_856_800.5
    world.clock.advance(1_782_856_800.4 - world.clock.time_s())
    assert world.service.find(api_key_digest(created.value)) == created.key
    world.clock.advance(0.1)
    assert world.service.find(api_key_digest(created.value)) is None
    assert created.key in world.service.list(OPERATOR)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "tomorrow",
        "2027-01-01",
        "2027-01-01T00:00:00",
        "2027-13-01T00:00:00Z",
        1_900_000_000,
        "2020-01-01T00:00:00Z",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59.9999999Z",
    ],
)
async def test_expiry_is_a_moment_to_come(world: World, value: object) -> None:
    """RFC 3339 with its offset, not yet past, and one that can be said in UTC."""
    assert list(await errors(world, scopes=["siem:read"], expires_at=value)) == ["expires_at"]


async def test_scopes_are_known_and_told_apart(world: World) -> None:
    """They are stored once each, in one order; none, or an unknown one, is refused with the list of all."""
    key = await world.key("t", "siem:write", "siem:read", "siem:write")
    assert key.scopes == (Scope.SIEM_READ, Scope.SIEM_WRITE)
    for scopes in (None, [], "siem:read", ["siem:all"], [7], [["siem:read"]], ["siem:read", "*"]):
        found = await errors(world, scopes=scopes)
        assert "events:write, siem:read, siem:write, keys:write" in found["scopes"]


async def test_everything_wrong_is_said_at_once(world: World) -> None:
    """Unknown members, scopes, name, tenant and expiry in one answer."""
    found = await errors(world, scop=["siem:read"], name=7, tenant_id="", expires_at="x")
    assert sorted(found) == ["expires_at", "name", "scop", "scopes", "tenant_id"]
    assert found["scop"] == "unknown; the nearest known one is scopes"


async def test_a_tenants_key_stays_in_its_tenant(world: World) -> None:
    """It makes keys of its own tenant alone, by name or without; others are forbidden."""
    tenant = await world.key("t1", "keys:write", "siem:read")
    assert (await world.key("t1", "siem:read", caller=tenant)).tenant_id == "t1"
    created = await world.service.create({"scopes": ["siem:read"]}, caller=tenant)
    assert created.key.tenant_id == "t1"
    for foreign in ("t2", "*"):
        assert list(await errors(world, tenant, 403, scopes=["siem:read"], tenant_id=foreign)) == ["tenant_id"]


async def test_nobody_gives_away_more_than_they_have(world: World) -> None:
    """Scopes that the caller's own key lacks are forbidden, to tenants and to restricted operators."""
    for tenant_id in ("t1", "*"):
        caller = await world.key(tenant_id, "keys:write", "siem:read")
        found = await errors(world, caller, 403, scopes=["siem:read", "siem:write"])
        assert found == {"scopes": "this key does not have siem:write itself"}


async def test_lists_and_revocation_stay_in_the_tenant(world: World) -> None:
    """A tenant sees and revokes its own keys; another's is not found. An operator sees and revokes all."""
    mine = await world.key("t1", "keys:write")
    other = await world.key("t2", "keys:write")
    everyones = await world.key("*", "keys:write")
    assert world.service.list(mine) == [mine]
    assert world.service.list(OPERATOR) == [OPERATOR, mine, other, everyones]
    for hidden in (other.id, everyones.id, BOOTSTRAP_KEY_ID, "key_none"):
        with pytest.raises(NotFound):
            await world.service.revoke(hidden, caller=mine)
    await world.service.revoke(other.id, caller=OPERATOR)
    await world.service.revoke(mine.id, caller=mine)
    assert world.service.list(OPERATOR) == [OPERATOR, everyones]


async def test_a_revoked_key_is_refused_at_once(world: World) -> None:
    """The next request with it finds nobody."""
    created = await world.service.create({"scopes": ["siem:read"]}, caller=OPERATOR)
    await world.service.revoke(created.key.id, caller=OPERATOR)
    assert world.service.find(api_key_digest(created.value)) is None


async def test_the_bootstrap_key_belongs_to_the_settings(world: World) -> None:
    """It has every scope for every tenant, and cannot be revoked through the API."""
    assert world.service.find(api_key_digest(OPERATOR_VALUE)) == OPERATOR
    assert (OPERATOR.tenant_id, OPERATOR.scopes) == ("*", tuple(Scope))
    with pytest.raises(Conflict):
        await world.service.revoke(BOOTSTRAP_KEY_ID, caller=OPERATOR)
    assert world.service.find(api_key_digest(OPERATOR_VALUE)) == OPERATOR


def test_a_short_bootstrap_key_shows_nothing_of_itself() -> None:
    """Four characters of a generated key are harmless, twelve of a chosen one are not."""
    assert OPERATOR.prefix == "tl_live_oooo"
    assert bootstrap_key("secret-of-operator", 1.0).prefix == ""
    assert bootstrap_key("tl_live_abcd", 1.0).prefix == ""


async def test_there_is_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant's script cannot make keys without end."""
    monkeypatch.setattr("gateway.destinations.keys.KEYS_MAX", 1)
    assert await errors(world, scopes=["siem:read"], status=409) == {}
