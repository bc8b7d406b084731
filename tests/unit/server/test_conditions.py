"""Entity tags, conditional requests and merge patches of destinations over HTTP."""

from __future__ import annotations

import json

import pytest

from gateway.errors import ConnectFailed
from tests.loopback_gateway import WEBHOOK, Answer, Gateway

SIEM = "/v1/audit/siem"
MERGE_PATCH = "application/merge-patch+json"


async def ask(gateway: Gateway, method: str, path: str, body: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.ask(method, f"{SIEM}/{path}", json=body, headers=named)


async def test_every_answer_of_one_destination_has_its_tag(gateway: Gateway) -> None:
    """POST, GET, PUT and PATCH; the tag changes with each change and with nothing else."""
    made = await gateway.ask("POST", SIEM, json=WEBHOOK)
    path = made.json["id"]
    shown = await ask(gateway, "GET", path)
    put = await ask(gateway, "PUT", path, {"name": "x"})
    same = await ask(gateway, "PUT", path, {"name": "x"})
    patched = await ask(gateway, "PATCH", path, {"name": "y"})
    tags = [answer.headers["ETag"] for answer in (made, shown, put, same, patched)]
    assert tags == ['"1"', '"1"', '"2"', '"2"', '"3"']


@pytest.mark.parametrize(
    ("given", "status"),
    [('"1"', 304), ('W/"1"', 304), ('"7", "1"', 304), ("*", 304), ('"2"', 200), ("1", 200), ("", 200)],
)
async def test_what_the_caller_has_is_not_sent_again(gateway: Gateway, given: str, status: int) -> None:
    """304 without a body, by any of the tags, weak ones too."""
    path = await gateway.make_destination()
    answer = await ask(gateway, "GET", path, If_None_Match=given)
    assert (answer.status, answer.headers["ETag"], bool(answer.body)) == (status, '"1"', status == 200)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("given", "matches"),
    [('"2"', True), ('"1", "2"', True), ("*", True), ('"1"', False), ('W/"2"', False), ("2", False), ("", False)],
)
async def test_a_change_can_depend_on_the_state(gateway: Gateway, method: str, given: str, *, matches: bool) -> None:
    """412 when ``If-Match`` names another one, and nothing is changed; weak tags match nothing."""
    path = await gateway.make_destination(name="one")
    await ask(gateway, "PUT", path, {"name": "two"})
    answer = await ask(
        gateway, method, f"{path}?force=true" if method == "DELETE" else path, {"name": "three"}, If_Match=given
    )
    if matches:
        assert answer.status in (200, 204)
        return
    assert (answer.status, "read it again" in answer.detail) == (412, True)
    assert ((await gateway.show(path))["name"], (await gateway.show(path))["deleting"]) == ("two", False)


async def test_a_change_that_comes_in_between_is_seen(gateway: Gateway) -> None:
    """Of two changes of the same state one is made."""
    path = await gateway.make_destination(name="one")
    answers = [await ask(gateway, "PUT", path, {"name": name}, If_Match='"1"') for name in ("two", "three")]
    assert [answer.status for answer in answers] == [200, 412]
    assert (await gateway.show(path))["name"] == "two"


async def test_nothing_is_tried_for_a_state_that_is_gone(gateway: Gateway) -> None:
    """``verify`` sends no test event when ``If-Match`` does not match."""
    path = await gateway.make_destination()
    gateway.wire.answer = lambda _: ConnectFailed("refused")
    answer = await ask(gateway, "PATCH", f"{path}?verify=true", {"name": "x"}, If_Match='"9"')
    assert (answer.status, gateway.wire.requests) == (412, [])
    answer = await ask(gateway, "PATCH", f"{path}?verify=true", {"name": "x"}, If_Match='"1"')
    assert (answer.status, len(gateway.wire.requests)) == (422, 1)


async def test_a_patch_is_merged(gateway: Gateway) -> None:
    """Also within the filter and within an option; null resets."""
    headers = {"X-A": "1", "X-B": "2"}
    path = await gateway.make_destination(
        name="one", enabled=False, options={"format": "array", "headers": headers}, filter={"actions": ["a"]}
    )
    patch = {"options": {"headers": {"X-A": None}, "format": None}, "filter": {"services": ["s"]}, "enabled": None}
    answer = await gateway.ask(
        "PATCH", f"{SIEM}/{path}", data=json.dumps(patch).encode(), headers={"Content-Type": MERGE_PATCH}
    )
    shown = answer.json
    assert (answer.status, shown["options"], shown["enabled"]) == (200, {"headers": {"X-B": "2"}}, True)
    assert (shown["filter"]["actions"], shown["filter"]["services"], shown["name"]) == (["a"], ["s"], "one")
    answer = await ask(gateway, "PATCH", path, {"options": None, "filter": None, "name": None})
    assert (answer.json["options"], answer.json["filter"]["actions"]) == ({}, [])
    assert answer.json["name"] == "Custom webhook destination"


async def test_a_patch_is_refused_as_a_put_is(gateway: Gateway) -> None:
    """422 with the fields, 415 for another kind of patch, 404 for what is not there."""
    path = await gateway.make_destination()
    answer = await ask(gateway, "PATCH", path, {"endpoint": None})
    assert (answer.status, set(answer.errors())) == (422, {"endpoint"})
    answer = await ask(gateway, "PATCH", path, {"secret": None})
    assert (answer.status, set(answer.errors())) == (422, {"secret"})
    answer = await ask(gateway, "PATCH", path, {"naem": "x"})
    assert (answer.status, set(answer.errors())) == (422, {"naem"})
    answer = await ask(gateway, "PATCH", path, [], Content_Type="application/json-patch+json")
    assert (answer.status, MERGE_PATCH in answer.detail) == (415, True)
    assert (await ask(gateway, "PATCH", "siem_nobody", {"name": "x"})).status == 404
