"""Destinations over HTTP: create, list, show, change, delete, test."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import RetryPolicy
from gateway.errors import ConnectFailed, TransportError
from gateway.providers import PROVIDERS
from gateway.providers.codec import Reply, Request
from gateway.quantity import Seconds
from gateway.queue import Consumer
from gateway.telemetry import Event
from tests.events import event, events
from tests.loopback_gateway import OPERATOR, WEBHOOK, Answer, Gateway
from tests.provider_cases import CREDENTIALS, ENDPOINTS
from tests.unit.server.conftest import Start

SIEM = "/v1/audit/siem"
VIEW = {
    *("id", "provider", "endpoint", "enabled", "created_at", "status", "name", "tenant_id", "updated_at", "options"),
    *("filter", "credentials_set", "credentials_updated_at", "ordered", "deleting", "warnings", "health"),
    *("status_reason", "status_since"),
}
HEALTH = {
    *("last_success_at", "last_error_at", "last_error", "consecutive_failures", "retrying_since", "next_attempt_at"),
    *("breaker", "pending_events", "pending_bytes", "lag_seconds", "delivered_events", "dropped_events"),
    *("dead_lettered_events", "events_at_risk_at"),
}


def replies(answer: Reply | TransportError) -> Callable[[Request], Reply | TransportError]:
    return lambda _: answer


async def create(gateway: Gateway, key: str = OPERATOR, **members: object) -> Answer:
    return await gateway.ask("POST", SIEM, key=key, json={**WEBHOOK, **members})


async def change(gateway: Gateway, destination_id: str, key: str = OPERATOR, **members: object) -> Answer:
    return await gateway.ask("PUT", f"{SIEM}/{destination_id}", key=key, json=members)


async def page(gateway: Gateway, query: str = "", key: str = OPERATOR) -> tuple[list[str], Any]:
    answer = await gateway.ask("GET", f"{SIEM}?{query}", key=key)
    assert answer.status == 200, answer.body
    assert answer.json.keys() == {"data", "next_cursor"}
    return [destination["id"] for destination in answer.json["data"]], answer.json["next_cursor"]


# -- create


async def test_a_destination_that_the_disk_refuses_is_none(gateway: Gateway) -> None:
    """503 when its cursor cannot be made durable, and nothing is left of it; the next try makes it."""
    gateway.files.fail("sync", "cursors/", times=1_000)
    gateway.files.fail("create", "cursors/", times=1_000)
    answer = await create(gateway)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert (await page(gateway))[0] == []
    gateway.files.mend()
    assert (await create(gateway)).status == 201
    assert len((await page(gateway))[0]) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_destination_of_each_provider_is_created(gateway: Gateway, provider: str) -> None:
    """201 with its address and all its members; credentials go in and never come out."""
    given = {"provider": provider, "endpoint": ENDPOINTS[provider], **CREDENTIALS[provider], "enabled": True}
    answer = await gateway.ask("POST", SIEM, json=given)
    assert answer.status == 201
    made = answer.json
    assert answer.headers["Location"] == f"{SIEM}/{made['id']}"
    assert re.fullmatch(r"siem_[A-Za-z0-9]{20,}", made["id"])
    assert made.keys() == VIEW
    assert made["health"].keys() == HEALTH
    assert (made["provider"], made["endpoint"], made["enabled"]) == (provider, ENDPOINTS[provider], True)
    assert (made["status"], made["tenant_id"], made["deleting"]) == ("active", "*", False)
    assert made["created_at"] == made["updated_at"] == "2026-06-30T12:35:00.000Z"
    assert made["credentials_set"] == sorted(CREDENTIALS[provider])
    assert made["credentials_updated_at"] == dict.fromkeys(sorted(CREDENTIALS[provider]), made["created_at"])
    for secret in CREDENTIALS[provider].values():
        assert secret.encode() not in answer.body + (await gateway.ask("GET", answer.headers["Location"])).body
    assert (await gateway.show(made["id"])) == made


async def test_a_destination_belongs_to_the_tenant_of_the_key_or_to_the_one_an_operator_names(gateway: Gateway) -> None:
    """A tenant's key makes its own; naming another tenant is refused."""
    key = await gateway.make_key("acme")
    assert (await create(gateway, key)).json["tenant_id"] == "acme"
    assert (await create(gateway, key, tenant_id="acme")).json["tenant_id"] == "acme"
    for tenant_id in ("other", "*"):
        refused = await create(gateway, key, tenant_id=tenant_id)
        assert (refused.status, list(refused.errors())) == (403, ["tenant_id"])
    assert (await create(gateway)).json["tenant_id"] == "*"
    assert (await create(gateway, tenant_id="other")).json["tenant_id"] == "other"


async def test_everything_that_is_wrong_is_said_at_once(gateway: Gateway) -> None:
    """422 with one entry for each field; no value of a credential in it, and nothing stored."""
    answer = await create(
        gateway,
        endpoint="http://10.0.0.1/",
        secret="",
        enabled="yes",
        options={"format": "xml", "colour": "red"},
        filter={"actions": "*"},
        nonsense=1,
    )
    assert answer.status == 422
    fields = {"endpoint", "secret", "enabled", "options.format", "options.colour", "filter.actions", "nonsense"}
    assert set(answer.errors()) == fields
    assert (await page(gateway)) == ([], None)


@pytest.mark.parametrize(
    "endpoint", ["http://hooks.example.com", "https://127.0.0.1/", "https://[::1]/", "ftp://x", "https://", ""]
)
async def test_an_endpoint_that_may_not_be_reached_is_refused_at_once(gateway: Gateway, endpoint: str) -> None:
    """Without TLS, private or no address at all: 422 for the field."""
    answer = await create(gateway, endpoint=endpoint)
    assert (answer.status, list(answer.errors())) == (422, ["endpoint"])


async def test_a_new_destination_gets_what_is_accepted_after_the_answer(gateway: Gateway) -> None:
    """Its queue exists when the answer is given, whether or not delivery has taken it up."""
    await gateway.post(event(1))
    destination = await gateway.make_destination()
    await gateway.post(b"\n".join(events(3)))
    assert (await gateway.ledger(destination))["accepted"] == 3


# -- list and show


async def test_pages_follow_one_another_while_destinations_come_and_go(gateway: Gateway) -> None:
    """Oldest first, each once, whatever is created or deleted between two pages."""
    made = []
    for number in range(7):
        made.append(await gateway.make_destination(name=str(number)))
        if number % 2:
            gateway.clock.advance(1)  # several are made within one moment
    everything, end = await page(gateway)
    assert (sorted(everything), end) == (sorted(made), None)
    first, cursor = await page(gateway, "limit=3")
    assert (first, cursor is None) == (everything[:3], False)
    await gateway.store.delete_destination(first[-1])
    await gateway.catalog.refresh()
    gateway.clock.advance(1)
    newest = await gateway.make_destination()
    second, cursor = await page(gateway, f"limit=3&cursor={cursor}")
    third, end = await page(gateway, f"limit=3&cursor={cursor}")
    assert (second, end) == (everything[3:6], None)
    assert third == [everything[6], newest]


async def test_the_list_can_be_narrowed(streaming: Gateway) -> None:
    """By provider and by status, alone and together."""
    webhook, idle = await streaming.make_destination(), await streaming.make_destination(tenant_id="acme")
    splunk = await streaming.make_destination(provider="splunk", tenant_id="acme")
    assert (await page(streaming, "provider=splunk"))[0] == [splunk]
    assert (await page(streaming, "provider=nobody"))[0] == []
    streaming.wire.answer = lambda _: Reply(503, {}, b"busy")
    await streaming.post(event(tenant_id="other"))
    await streaming.until(lambda: streaming.wire.requests != [])
    assert set((await page(streaming, "status=active"))[0]) == {idle, splunk}
    assert (await page(streaming, "status=degraded&provider=webhook"))[0] == [webhook]
    assert (await page(streaming, "status=failed"))[0] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *((f"limit={value}", "limit") for value in ("0", "1001", "-1", "x", "1.5", "", "²", "9" * 40)),
        *((f"cursor={value}", "cursor") for value in ("x", "%FF", "nonsense!", "Zm9v")),
        *((f"status={value}", "status") for value in ("", "broken", "ACTIVE")),
    ],
)
async def test_a_query_that_is_not_understood_is_refused(gateway: Gateway, query: str, field: str) -> None:
    """400 that names the parameter, rather than an answer to another question."""
    answer = await gateway.ask("GET", f"{SIEM}?{query}")
    assert (answer.status, list(answer.errors())) == (400, [field])


async def test_a_tenants_list_has_its_own_destinations_only(gateway: Gateway) -> None:
    """Not those of others, and not those that receive all."""
    own = await gateway.make_destination(tenant_id="acme")
    await gateway.make_destination(tenant_id="other")
    await gateway.make_destination()
    key = await gateway.make_key("acme", "siem:read")
    assert await page(gateway, "limit=1", key) == ([own], None)


async def test_health_says_how_delivery_goes(streaming: Gateway) -> None:
    """Numbers and times of what was delivered, what waits, and what was last said by the provider."""
    destination = await streaming.make_destination()
    await streaming.post(b"\n".join(events(3)))
    await streaming.settled(destination)
    health = (await streaming.show(destination))["health"]
    assert (health["delivered_events"], health["pending_events"], health["lag_seconds"]) == (3, 0, 0)
    assert (health["last_error"], health["breaker"], health["retrying_since"]) == (None, "closed", None)
    assert health["last_success_at"].startswith("2026-06-30T12:35:0")
    streaming.wire.answer = lambda _: Reply(503, {}, b"too busy")
    await streaming.post(b"\n".join(events(2)))
    sent = len(streaming.wire.requests)
    await streaming.until(lambda: len(streaming.wire.requests) > sent + 3)
    view = await streaming.show(destination)
    health = view["health"]
    assert view["status"] == "degraded"
    assert (health["pending_events"], health["delivered_events"]) == (2, 3)
    assert health["pending_bytes"] > 100
    assert health["consecutive_failures"] >= 3
    assert health["lag_seconds"] > 0
    assert health["last_error"]["code"] == "http_503"
    assert "too busy" in health["last_error"]["message"]
    assert health["retrying_since"] is not None
    assert health["next_attempt_at"] > health["retrying_since"]


# -- change


async def test_a_change_leaves_what_it_does_not_name(gateway: Gateway) -> None:
    """Members given change, all others stay, credentials too; sending back what was read changes nothing."""
    destination = await gateway.make_destination(
        name="first", options={"format": "array"}, filter={"actions": ["a.*"]}, ordered=True
    )
    before = (await change(gateway, destination, name="first")).json  # delivery, which does not run here, knows it now
    gateway.clock.advance(5)
    changed = await change(gateway, destination, name="second")
    assert changed.status == 200
    assert changed.json == {**before, "name": "second", "updated_at": "2026-06-30T12:35:05.000Z"}
    assert (await change(gateway, destination, options={"format": "single"})).json["options"] == {"format": "single"}
    back = await change(gateway, destination, **(await gateway.show(destination)))
    assert (back.status, back.json["credentials_set"], back.json["name"]) == (200, ["secret"], "second")
    assert (await change(gateway, destination, filter=None)).json["filter"]["actions"] == []
    assert (await change(gateway, destination, enabled=False)).json["enabled"] is False


async def test_provider_and_tenant_are_fixed(gateway: Gateway) -> None:
    """Changing either is refused, naming it as it is is not."""
    destination = await gateway.make_destination(tenant_id="acme")
    answer = await change(gateway, destination, provider="splunk", tenant_id="other")
    assert (answer.status, set(answer.errors())) == (422, {"provider", "tenant_id"})
    assert (await change(gateway, destination, provider="webhook", tenant_id="acme")).status == 200


async def test_a_change_takes_effect_on_what_waits_for_its_next_try(streaming: Gateway) -> None:
    """A destination that fails is mended by a PUT at once, without waiting for its backoff."""
    destination = await streaming.make_destination()
    streaming.wire.answer = lambda request: Reply(200 if "new" in request.url else 500, {}, b"")
    await streaming.post(event())
    await streaming.until(lambda: len(streaming.wire.requests) >= 8)
    moment = streaming.clock.monotonic_s()
    assert (await change(streaming, destination, endpoint="https://new.example.com/")).status == 200
    await streaming.settled(destination)
    assert streaming.clock.monotonic_s() - moment < 1
    assert streaming.wire.requests[-1].url.startswith("https://new.example.com")
    assert (await streaming.show(destination))["status"] == "active"


async def test_a_failed_destination_starts_again_with_enabled_true(start: Start) -> None:
    """After the window it is ``failed`` and keeps nothing; ``enabled: true`` makes it stream what comes next."""
    streaming = await start(streams=True, retry=RetryPolicy(window_s=Seconds(5)))
    destination = await streaming.make_destination()
    streaming.wire.answer = lambda _: ConnectFailed("refused")
    await streaming.post(event(1))
    consumer = streaming.queue.consumer(destination)
    assert consumer is not None
    await streaming.until(lambda: consumer.ledger().dropped == 1)
    assert (await streaming.show(destination))["status"] == "failed"
    await streaming.post(event(2))
    streaming.wire.answer = lambda _: Reply(200, {}, b"")
    streaming.wire.requests.clear()
    assert (await change(streaming, destination, enabled=True)).status == 200
    await streaming.post(event(3))
    await streaming.settled(destination)
    assert event(3) in streaming.wire.lines
    assert event(1) not in streaming.wire.lines
    assert (await streaming.show(destination))["status"] == "active"


# -- delete


async def test_a_change_applies_when_it_is_answered(streaming: Gateway) -> None:
    """Time stands still, so that nobody looks in between: what comes while it is disabled is a gap, to the event."""
    destination = await streaming.make_destination(options={"format": "ndjson"})
    during, after = (
        [event(id=f"{name}_{number}") for number in range(count)] for name, count in (("during", 3), ("after", 2))
    )
    for enabled, lines in ((False, during), (True, after)):
        assert (await streaming.ask("PUT", f"{SIEM}/{destination}", json={"enabled": enabled})).status == 200
        await streaming.post(b"\n".join(lines))
    await streaming.until(lambda: len(streaming.wire.lines) >= 2)
    assert [line for line in streaming.wire.lines if line] == after
    (gap,) = (await streaming.ask("GET", f"{SIEM}/{destination}/gaps")).json["data"]
    assert (gap["reason"], gap["count"]) == ("disabled", 3)
    assert (gap["first_event_id"], gap["last_event_id"]) == ("during_0", "during_2")


async def test_a_deletion_delivers_what_waits_first(streaming: Gateway) -> None:
    """204 once everything is delivered; then the destination is not there any more, nor its queue."""
    destination = await streaming.make_destination()
    await streaming.post(b"\n".join(events(5)))
    answer = await streaming.passing(streaming.ask("DELETE", f"{SIEM}/{destination}"))
    assert (answer.status, answer.body) == (204, b"")
    assert streaming.wire.lines == events(5)
    assert (await streaming.ask("GET", f"{SIEM}/{destination}")).status == 404
    assert (await streaming.ask("DELETE", f"{SIEM}/{destination}")).status == 404
    await streaming.until(lambda: streaming.queue.consumer_ids() == [])


async def test_a_deletion_that_takes_longer_goes_on_behind_a_202(streaming: Gateway) -> None:
    """With what it still holds, marked as being deleted; it takes no new events and cannot be changed."""
    destination = await streaming.make_destination()
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event(1))
    answer = await streaming.ask("DELETE", f"{SIEM}/{destination}?timeout=0")
    assert (answer.status, answer.json["id"], answer.json["deleting"]) == (202, destination, True)
    assert (await change(streaming, destination, enabled=True)).status == 409
    await streaming.until(lambda: streaming.wire.requests != [])
    await streaming.post(event(2))
    streaming.wire.answer = lambda _: Reply(200, {}, b"")
    await streaming.until(lambda: streaming.catalog.destination(destination) is None)
    assert set(streaming.wire.lines) == {event(1)}


async def test_a_forced_deletion_drops_what_is_left(streaming: Gateway) -> None:
    """204 at once, also when an orderly one is under way."""
    destination = await streaming.make_destination()
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event())
    await streaming.until(lambda: streaming.wire.requests != [])
    assert (await streaming.ask("DELETE", f"{SIEM}/{destination}?timeout=0")).status == 202
    assert (await streaming.ask("DELETE", f"{SIEM}/{destination}?force=true")).status == 204
    assert (await streaming.ask("GET", f"{SIEM}/{destination}")).status == 404


@pytest.fixture
def may_start(streaming: Gateway, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Until it is set delivery takes up no destination."""
    add, event_of_start = streaming.queue.add_consumer, asyncio.Event()

    async def slowly(consumer_id: str, tenant_id: str, *, created_at_s: float | None = None) -> Consumer:
        if created_at_s is not None:  # delivery that takes it up, and not the request that makes it
            await event_of_start.wait()
        return await add(consumer_id, tenant_id, created_at_s=created_at_s)

    monkeypatch.setattr(streaming.queue, "add_consumer", slowly)
    return event_of_start


async def test_a_deletion_waits_for_delivery_to_take_it_up(
    streaming: Gateway, may_start: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made a moment before is flushed like any other: 204, and not 202 at once."""
    flushed, is_asked = streaming.supervisor.flushed, asyncio.Event()

    async def noting(destination_id: str, timeout_s: float) -> bool:
        is_asked.set()
        return await flushed(destination_id, timeout_s)

    monkeypatch.setattr(streaming.supervisor, "flushed", noting)
    destination = await streaming.make_destination()
    await streaming.post(b"\n".join(events(3)))
    deletion = asyncio.create_task(streaming.ask("DELETE", f"{SIEM}/{destination}"))
    await is_asked.wait()
    may_start.set()
    await streaming.until(deletion.done)
    assert (await deletion).status == 204
    assert streaming.wire.lines == events(3)


async def test_a_change_that_took_long_books_nothing_that_another_let_in(
    streaming: Gateway, may_start: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it found when it began was disabled; what it wrote over was not, and had accepted events."""
    destination = await streaming.make_destination(enabled=False)
    is_testing, tested = streaming.hold_tests(monkeypatch)
    slow = asyncio.create_task(streaming.ask("PUT", f"{SIEM}/{destination}?verify=true", json={"name": "new"}))
    await is_testing.wait()
    assert (await streaming.ask("PUT", f"{SIEM}/{destination}", json={"enabled": True})).status == 200
    await streaming.post(b"\n".join(events(3)))
    tested.set()
    assert (await slow).status == 200
    ledger = await streaming.ledger(destination)
    assert (ledger["dropped"], ledger["pending"]) == (0, 3)
    may_start.set()
    await streaming.settled(destination)
    assert streaming.wire.lines == events(3)


async def test_a_forced_deletion_drops_what_delivery_has_not_taken_up(
    streaming: Gateway, may_start: asyncio.Event
) -> None:
    """One that was made a moment before is gone with the 204 too, and nothing of it is sent behind that."""
    destination = await streaming.make_destination()
    await streaming.post(b"\n".join(events(3)))
    with capture_logs() as logs:
        assert (await streaming.ask("DELETE", f"{SIEM}/{destination}?force=true")).status == 204
    assert [line["events"] for line in logs if line["event"] == Event.GAP_RECORDED] == [3]
    assert (await streaming.ask("GET", f"{SIEM}/{destination}")).status == 404
    may_start.set()
    await streaming.until(lambda: streaming.queue.consumer_ids() == [])
    assert streaming.wire.requests == []


@pytest.mark.parametrize("query", ["timeout=-1", "timeout=301", "timeout=soon", "force=maybe", "force="])
async def test_a_deletion_that_is_not_understood_deletes_nothing(gateway: Gateway, query: str) -> None:
    """400 that names the parameter; the destination stays as it is."""
    destination = await gateway.make_destination()
    answer = await gateway.ask("DELETE", f"{SIEM}/{destination}?{query}")
    assert (answer.status, list(answer.errors())) == (400, [query.partition("=")[0]])
    assert (await gateway.show(destination))["deleting"] is False


# -- test


async def test_a_test_says_what_came_back(gateway: Gateway) -> None:
    """One marked event goes to the endpoint, stored or not; the answer is the provider's, in all its kinds."""
    destination = await gateway.make_destination(tenant_id="acme")
    for path, body in ((f"{SIEM}/test", WEBHOOK), (f"{SIEM}/{destination}/test", None)):
        for answer, ok, status, words in (
            (Reply(200, {}, b"fine"), True, 200, ""),
            (Reply(403, {}, b"no such key"), False, 403, "no such key"),
            (Reply(500, {}, b""), False, 500, ""),
            (ConnectFailed("the name does not resolve"), False, None, "does not resolve"),
        ):
            gateway.wire.answer = replies(answer)
            told = await gateway.ask("POST", path, json=body)
            assert told.status == 200
            assert told.json.keys() == {"ok", "status_code", "latency_ms", "message", "steps", "advice"}
            assert (told.json["ok"], told.json["status_code"], words in told.json["message"]) == (ok, status, True)
    assert len(gateway.wire.lines) == 8
    assert all(b'"siem.destination.test"' in line for line in gateway.wire.lines)
    assert b'"tenant_id":"acme"' in gateway.wire.lines[-1]
    assert gateway.wire.open == 0
    assert (await gateway.ledger(destination))["accepted"] == 0


async def test_a_change_that_does_not_arrive_is_not_stored(gateway: Gateway) -> None:
    """With ``verify`` a test event goes first: 422 with the provider's words, or the change."""
    destination = await gateway.make_destination()
    path, change = f"{SIEM}/{destination}?verify=true", {"secret": "another secret of some length"}
    before = await gateway.show(destination)
    gateway.wire.answer = replies(Reply(403, {}, b"no such key"))
    refused = await gateway.ask("PUT", path, json=change)
    assert (refused.status, "no such key" in refused.errors()["verify"]) == (422, True)
    assert (await gateway.show(destination))["updated_at"] == before["updated_at"]
    gateway.wire.answer = replies(Reply(200, {}, b""))
    assert (await gateway.ask("PUT", path, json=change)).status == 200
    tests = [line for line in gateway.wire.lines if b'"siem.destination.test"' in line]
    assert len(tests) == 2
    assert (await gateway.ask("PUT", path.replace("true", "perhaps"), json=change)).status == 400


async def test_a_destination_tells_of_an_open_connection(gateway: Gateway) -> None:
    """What is not encrypted or not verified stands in ``warnings``; what the operator does not allow is refused."""
    destination = await gateway.make_destination()
    assert (await gateway.show(destination))["warnings"] == []
    refused = await gateway.ask("PUT", f"{SIEM}/{destination}", json={"options": {"tls_verify": False}})
    assert "egress.allow_insecure_tls" in refused.errors()["options.tls_verify"]


async def test_changes_can_be_tried_before_they_are_stored(gateway: Gateway) -> None:
    """Members in the body stand in for what is stored, which stays; what is wrong with them is a 422."""
    destination = await gateway.make_destination()
    path = f"{SIEM}/{destination}/test"
    assert (await gateway.ask("POST", path, json={"endpoint": "https://new.example.com/"})).json["ok"] is True
    assert gateway.wire.requests[-1].url.startswith("https://new.example.com")
    assert (await gateway.show(destination))["endpoint"] == WEBHOOK["endpoint"]
    assert (await gateway.ask("POST", path, json={"endpoint": "https://10.0.0.1/"})).status == 422
    assert (await gateway.ask("POST", f"{SIEM}/test", json={"provider": "webhook"})).status == 422
    assert len(gateway.wire.requests) == 1


async def test_providers_describe_their_forms(gateway: Gateway) -> None:
    """Each with its label, its fields and how to get its credentials; any key may ask."""
    answer = await gateway.ask("GET", f"{SIEM}/providers", key=await gateway.make_key("acme", "events:write"))
    providers = {provider["name"]: provider for provider in answer.json["data"]}
    assert providers.keys() == {"splunk", "datadog", "cloudwatch", "elastic", "webhook"}
    for name, provider in providers.items():
        assert provider["label"]
        assert provider["credentials_help"]
        for field in provider["fields"]:
            assert {"name", "type", "required", "default", "pattern", "secret", "help"} <= field.keys()
        required = {field["name"] for field in provider["fields"] if field["required"] and field["secret"]}
        assert required <= CREDENTIALS[name].keys()
        assert required


async def test_changes_at_the_same_time_all_count(gateway: Gateway) -> None:
    """Each is applied to the newest state: none is lost."""
    destination = await gateway.make_destination()
    changes: list[dict[str, object]] = [{"name": "n"}, {"enabled": False}, {"ordered": True}]
    path = f"{SIEM}/{destination}"
    answers = await asyncio.gather(*(gateway.ask("PUT", path, json=members) for members in changes))
    assert [answer.status for answer in answers] == [200] * 3
    view = await gateway.show(destination)
    assert (view["name"], view["enabled"], view["ordered"]) == ("n", False, True)
