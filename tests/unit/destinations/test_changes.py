"""What a change changed, field by field."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.destinations.changes import differences, key_members
from gateway.destinations.history import Change
from gateway.destinations.store import ApiKey, Destination, Filter, Scope

BEFORE = Destination(
    id="siem_1",
    tenant_id="acme",
    provider="webhook",
    endpoint="https://a.example.com",
    enabled=True,
    name="Main",
    options={"format": "array", "headers": {"X-A": "1"}},
    filter=Filter(actions=("a.*",)),
    sealed_credentials=b"sealed",
    credentials_set=("secret",),
    created_at_s=1.0,
    updated_at_s=1.0,
    credentials_updated_at_s={"secret": 1.0},
)


def test_only_what_changed_is_there() -> None:
    """Each member of options and filter for itself."""
    after = replace(
        BEFORE,
        endpoint="https://b.example.com",
        options={"format": "array", "headers": {"X-A": "2"}},
        filter=Filter(services=("s",)),
        updated_at_s=2.0,
        revision=2,
    )
    assert differences(BEFORE, after) == (
        Change("endpoint", "https://a.example.com", "https://b.example.com"),
        Change("options.headers", {"X-A": "1"}, {"X-A": "2"}),
        Change("filter.actions", ["a.*"], None),
        Change("filter.services", None, ["s"]),
    )
    assert differences(BEFORE, replace(BEFORE, updated_at_s=9.0, revision=9, resumed_at_s=9.0)) == ()


def test_a_credential_is_named_and_not_shown() -> None:
    """Given anew, given for the first time, taken away."""
    after = replace(
        BEFORE,
        sealed_credentials=b"other",
        credentials_set=("previous_secret", "secret"),
        credentials_updated_at_s={"secret": 2.0, "previous_secret": 2.0},
    )
    assert differences(BEFORE, after) == (Change("previous_secret", None, "***"), Change("secret", "***", "***"))
    assert differences(after, replace(BEFORE, credentials_updated_at_s={"secret": 2.0})) == (
        Change("previous_secret", "***", None),
    )


def test_a_new_destination_is_all_that_was_given() -> None:
    """From nothing to what it is."""
    assert differences(None, BEFORE) == (
        Change("provider", None, "webhook"),
        Change("name", None, "Main"),
        Change("endpoint", None, "https://a.example.com"),
        Change("enabled", None, True),
        Change("ordered", None, False),
        Change("secret", None, "***"),
        Change("options.format", None, "array"),
        Change("options.headers", None, {"X-A": "1"}),
        Change("filter.actions", None, ["a.*"]),
    )


def test_a_value_that_is_too_long_is_measured() -> None:
    """The list of activity stays small, whatever a filter holds."""
    long = Filter(actions=tuple(f"action.{number}" for number in range(200)))
    (change,) = differences(BEFORE, replace(BEFORE, filter=long))
    assert change.before == ["a.*"]
    assert change.after == "(2,491 bytes)"


def test_a_key_shows_neither_itself_nor_its_digest() -> None:
    """Its id, its name and what it may do."""
    key = ApiKey("key_1", "acme", "Reader", (Scope.SIEM_READ,), "digest", "tl_live_abcd", 1.0)
    assert key_members(key, made=True) == (
        Change("key", None, "key_1"),
        Change("name", None, "Reader"),
        Change("scopes", None, [Scope.SIEM_READ]),
    )
    assert key_members(key, made=False)[0] == Change("key", "key_1", None)
