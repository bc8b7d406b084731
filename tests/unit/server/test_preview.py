"""A filter tried before it is saved."""

from __future__ import annotations

from typing import Any

from gateway.server.preview import SAMPLE_MAX
from tests.events import event, events
from tests.loopback_gateway import Answer, Gateway

PREVIEW = "/v1/audit/siem/filter/preview"


async def preview(gateway: Gateway, key: str | None = None, **members: Any) -> Answer:
    more = {"key": key} if key is not None else {}
    return await gateway.ask("POST", PREVIEW, json=members, **more)  # type: ignore[arg-type]  # a key is text


async def test_it_says_how_many_of_the_newest_events_match(gateway: Gateway) -> None:
    """With the newest of them to look at, each marked."""
    await gateway.watch()
    await gateway.post(b"\n".join(events(30)))
    await gateway.post(b"\n".join(events(3, 31, action="login.failed", outcome="FAILURE")))
    answer = await preview(gateway, filter={"actions": ["login.*"]})
    assert answer.status == 200
    assert (answer.json["matched"], answer.json["of"]) == (3, 33)
    sample = answer.json["sample"]
    assert len(sample) == SAMPLE_MAX
    assert [item["matched"] for item in sample] == [True] * 3 + [False] * 17
    assert sample[0] == {
        "id": "evt_33",
        "timestamp": "2026-06-30T12:34:56.789Z",
        "action": "login.failed",
        "service": "trust-registry",
        "outcome": "FAILURE",
        "actor_type": "USER",
        "matched": True,
    }


async def test_no_filter_lets_all_through(gateway: Gateway) -> None:
    """Left out, empty or null."""
    await gateway.watch()
    await gateway.post(event())
    chosen: tuple[dict[str, Any], ...] = ({}, {"filter": None}, {"filter": {}})
    for members in chosen:
        answer = await preview(gateway, **members)
        assert (answer.json["matched"], answer.json["of"], len(answer.json["sample"])) == (1, 1, 1)


async def test_without_events_nothing_matches(gateway: Gateway) -> None:
    """Zero of zero, and no sample."""
    assert (await preview(gateway, filter={"actions": ["*"]})).json == {"matched": 0, "of": 0, "sample": []}


async def test_a_tenant_looks_at_its_own_events_alone(gateway: Gateway) -> None:
    """Naming another is refused; an operator may name any, or look at all."""
    await gateway.watch()
    await gateway.post(b"\n".join([event(1), event(2, tenant_id="other"), event(3, tenant_id="other")]))
    key = await gateway.make_key("acme", "siem:read")
    assert (await preview(gateway, key)).json["of"] == 1
    assert (await preview(gateway, key, tenant_id="acme")).json["of"] == 1
    for tenant_id in ("other", "*"):
        refused = await preview(gateway, key, tenant_id=tenant_id)
        assert (refused.status, list(refused.errors())) == (403, ["tenant_id"])
    assert (await preview(gateway, tenant_id="other")).json["of"] == 2
    assert (await preview(gateway)).json["of"] == 3


async def test_what_is_wrong_is_said_as_when_it_is_saved(gateway: Gateway) -> None:
    """Unknown members, patterns that are none."""
    answer = await preview(gateway, filter={"actions": "a.*", "colour": ["x"]}, more=1)
    assert answer.status == 422
    assert set(answer.errors()) == {"filter.actions", "filter.colour", "more"}
