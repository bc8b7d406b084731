"""A merge patch as the changes of a PUT."""

from __future__ import annotations

import pytest

from gateway.destinations.merge_patch import changes_of, merged
from gateway.destinations.store import Destination, Filter
from gateway.errors import RequestRejected

KNOWN = Destination(
    id="siem_1",
    tenant_id="acme",
    provider="webhook",
    endpoint="https://siem.example.com",
    enabled=False,
    name="A name",
    options={"format": "array", "headers": {"X-A": "1", "X-B": "2"}},
    filter=Filter(actions=("a.*",), services=("s",)),
    sealed_credentials=b"",
    credentials_set=("secret",),
    created_at_s=1.0,
    updated_at_s=1.0,
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_cases_of_the_standard(target: object, patch: object, result: object) -> None:
    """RFC 7396, appendix A."""
    assert merged(target, patch) == result


@pytest.mark.parametrize(
    ("patch", "changes"),
    [
        ({}, {}),
        ({"name": None, "enabled": None, "ordered": None}, {"name": None, "enabled": True, "ordered": False}),
        ({"options": None}, {"options": {"format": None, "headers": None}}),
        ({"options": {"format": None}}, {"options": {"format": None}}),
        ({"options": {"headers": {"X-A": None, "X-C": "3"}}}, {"options": {"headers": {"X-B": "2", "X-C": "3"}}}),
        ({"options": 1}, {"options": 1}),
        ({"filter": None}, {"filter": None}),
        ({"filter": 1}, {"filter": 1}),
        ({"credentials": None}, {"credentials": {"secret": None}}),
        ({"secret": None, "token": "t"}, {"secret": None, "token": "t"}),
    ],
)
def test_null_takes_away_and_objects_are_merged(patch: dict[str, object], changes: dict[str, object]) -> None:
    """An option or credential that is null goes, also with its object; any other member gets its default."""
    assert changes_of(KNOWN, patch) == changes


def test_a_filter_is_merged_list_by_list() -> None:
    """Lists that the patch does not name stay, one that is null is empty."""
    changed = changes_of(KNOWN, {"filter": {"actions": ["b.*"], "services": None}})
    assert changed == {
        "filter": {"actions": ["b.*"], "exclude_actions": (), "outcomes": (), "actor_types": ()},
    }


def test_what_there_has_to_be_cannot_be_taken_away() -> None:
    """All of it is said at once."""
    with pytest.raises(RequestRejected) as refused:
        changes_of(KNOWN, {"endpoint": None, "provider": None, "tenant_id": None, "name": None})
    assert [field for field, _ in refused.value.errors] == ["endpoint", "provider", "tenant_id"]
