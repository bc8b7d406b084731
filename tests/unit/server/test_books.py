"""What became of a destination's events, over HTTP: attempts, gaps, dead letters, the ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config import Delivery, RetryPolicy
from gateway.providers.codec import Reply, Request
from gateway.quantity import Seconds
from tests.events import event, events
from tests.loopback_gateway import NDJSON, Gateway
from tests.unit.server.conftest import Start

SIEM = "/v1/audit/siem"
ZERO = {"accepted": 0, "delivered": 0, "dead_lettered": 0, "dropped": 0, "filtered": 0, "pending": 0, "balanced": True}


async def books(gateway: Gateway, destination_id: str, **expected: int) -> None:
    assert await gateway.ledger(destination_id) == {**ZERO, **expected}


async def listed(gateway: Gateway, destination_id: str, what: str) -> list[dict[str, Any]]:
    answer = await gateway.ask("GET", f"{SIEM}/{destination_id}/{what}")
    assert answer.status == 200, answer.body
    assert answer.json.keys() == {"data", "next_cursor"}
    found: list[dict[str, Any]] = answer.json["data"]
    return found


def refuse_poison(request: Request) -> Reply:
    """Elasticsearch, with an index that has no place for some events."""
    refused = {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "no such field: poison"}}
    documents = request.body.split(b"\n")[1::2]
    items = [{"create": refused if b"poison" in document else {"status": 201}} for document in documents]
    return Reply(200, {}, json.dumps({"errors": b"poison" in request.body, "items": items}).encode())


def take_all(request: Request) -> Reply:
    count = request.body.count(b"\n") // 2
    return Reply(200, {}, json.dumps({"errors": False, "items": [{"create": {"status": 201}}] * count}).encode())


async def with_dead_letters(streaming: Gateway, count: int) -> str:
    """A destination that refused ``count`` of twice as many events."""
    destination = await streaming.make_destination(provider="elastic")
    streaming.wire.answer = refuse_poison
    for number in range(1, count + 1):
        await streaming.post(event(number) + b"\n" + event(100 + number, note="poison"))
    await streaming.settled(destination)
    return destination


# -- ledger


async def test_the_ledger_balances_at_every_step(start: Start) -> None:
    """Accepted events are delivered, dead-lettered, dropped, filtered or pending; nothing else happens to them."""
    streaming = await start(streams=True, retry=RetryPolicy(window_s=Seconds(5)))
    destination = await streaming.make_destination(provider="elastic", filter={"exclude_actions": ["boring.*"]})
    await books(streaming, destination)
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(b"\n".join([*events(4), event(5, action="boring.thing"), event(6, note="poison")]))
    await streaming.until(lambda: len(streaming.wire.requests) > 1)
    await books(streaming, destination, accepted=6, filtered=1, pending=5)
    streaming.wire.answer = refuse_poison
    await streaming.settled(destination)
    await books(streaming, destination, accepted=6, delivered=4, filtered=1, dead_lettered=1)
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(b"\n".join(events(3, 7)))
    await streaming.settled(destination)
    await books(streaming, destination, accepted=9, delivered=4, filtered=1, dead_lettered=1, dropped=3)


async def test_what_comes_for_a_disabled_destination_is_dropped(streaming: Gateway) -> None:
    """It counts as soon as it is asked for, without waiting for a tick."""
    destination = await streaming.make_destination(enabled=False)
    await streaming.post(b"\n".join(events(3)))
    await books(streaming, destination, accepted=3, dropped=3)
    (gap,) = await listed(streaming, destination, "gaps")
    assert (gap["reason"], gap["count"], gap["first_event_id"], gap["last_event_id"]) == (
        "disabled",
        3,
        "evt_1",
        "evt_3",
    )


# -- gaps


async def test_gaps_say_which_events_are_missing_and_why(start: Start) -> None:
    """Reason, number, first and last time, first and last id; disabled periods and outages that lasted too long."""
    streaming = await start(streams=True, retry=RetryPolicy(window_s=Seconds(5)))
    destination = await streaming.make_destination()
    assert await listed(streaming, destination, "gaps") == []
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event(1))
    streaming.clock.advance(2)
    await streaming.post(event(2))
    await streaming.settled(destination)
    (gap,) = await listed(streaming, destination, "gaps")
    assert gap.keys() == {
        *("reason", "count", "first_time", "last_time", "first_event_id", "last_event_id", "recorded_at", "detail"),
    }
    assert (gap["reason"], gap["count"]) == ("retries_exhausted", 2)
    assert (gap["first_event_id"], gap["last_event_id"]) == ("evt_1", "evt_2")
    assert (gap["first_time"], gap["last_time"]) == ("2026-06-30T12:35:00.000Z", "2026-06-30T12:35:02.000Z")
    assert gap["recorded_at"] > gap["last_time"]


async def test_gaps_come_in_pages(streaming: Gateway) -> None:
    """The oldest first, all of them without a limit; a page names where the next begins, the last one nothing."""
    destination = await streaming.make_destination()
    path = f"{SIEM}/{destination}"
    for number in (1, 3, 5):
        await streaming.ask("PUT", path, json={"enabled": False})
        await streaming.post(event(number))
        await books(streaming, destination, accepted=number, dropped=(number + 1) // 2, delivered=number // 2)
        await streaming.ask("PUT", path, json={"enabled": True})
        await streaming.post(event(number + 1))
        await streaming.settled(destination)
    whole = (await streaming.ask("GET", f"{path}/gaps")).json
    first = (await streaming.ask("GET", f"{path}/gaps?limit=2")).json
    rest = (await streaming.ask("GET", f"{path}/gaps?limit=2&cursor={first['next_cursor']}")).json
    assert [gap["first_event_id"] for gap in whole["data"]] == ["evt_1", "evt_3", "evt_5"]
    assert (first["data"] + rest["data"], rest["next_cursor"]) == (whole["data"], None)
    assert whole["next_cursor"] is None


# -- attempts


async def test_attempts_are_listed_newest_first(streaming: Gateway) -> None:
    """Time, events, bytes, duration, response code, the decision, and the provider's words cut to 500 characters."""
    destination = await streaming.make_destination(options={"format": "ndjson"})
    assert await listed(streaming, destination, "attempts") == []
    words = "sorry " * 400
    streaming.wire.answer = lambda _: Reply(503, {}, words.encode())
    await streaming.post(b"\n".join(events(2)))
    await streaming.until(lambda: len(streaming.wire.requests) == 2)
    streaming.wire.answer = lambda _: Reply(200, {}, b"")
    await streaming.settled(destination)
    newest, *earlier = await listed(streaming, destination, "attempts")
    assert newest.keys() == {"time", "events", "bytes", "duration_ms", "response_code", "decision", "message"}
    assert (newest["events"], newest["response_code"], newest["decision"]) == (2, 200, "delivered")
    assert newest["bytes"] == len(b"\n".join(events(2))) + 1
    assert len(earlier) >= 2
    for attempt in earlier:
        assert (attempt["response_code"], attempt["decision"]) in ((503, "retry"), (503, "throttled"))
        assert "sorry sorry" in attempt["message"]
        assert len(attempt["message"]) == 500
        assert attempt["time"] <= newest["time"]
    assert await listed(streaming, destination, "attempts?limit=1") == [newest]


async def test_attempts_come_in_pages(streaming: Gateway) -> None:
    """A page names where the next begins, the last one nothing; attempts that are made meanwhile move none of them."""
    destination = await streaming.make_destination(options={"format": "ndjson"})
    path = f"{SIEM}/{destination}/attempts"
    for number in range(1, 6):
        await streaming.post(b"\n".join(events(number)))
        await streaming.settled(destination)
    whole = (await streaming.ask("GET", path)).json
    assert ([shown["events"] for shown in whole["data"]], whole["next_cursor"]) == ([5, 4, 3, 2, 1], None)
    first = (await streaming.ask("GET", f"{path}?limit=2")).json
    await streaming.post(event())
    await streaming.settled(destination)
    second = (await streaming.ask("GET", f"{path}?limit=2&cursor={first['next_cursor']}")).json
    third = (await streaming.ask("GET", f"{path}?limit=2&cursor={second['next_cursor']}")).json
    assert [len(page["data"]) for page in (first, second, third)] == [2, 2, 1]
    assert first["data"] + second["data"] + third["data"] == whole["data"]
    assert third["next_cursor"] is None
    assert (await streaming.ask("GET", f"{path}?cursor=1")).json == {"data": [], "next_cursor": None}


async def test_attempts_that_are_kept_no_more_end_the_pages(start: Start) -> None:
    """Beyond `delivery.attempts_kept` there is nothing, wherever a page was."""
    streaming = await start(streams=True, delivery=Delivery(attempts_kept=3))
    destination = await streaming.make_destination()
    path = f"{SIEM}/{destination}/attempts"
    for number in range(3):
        await streaming.post(event(number))
        await streaming.settled(destination)
    first = (await streaming.ask("GET", f"{path}?limit=1")).json
    for number in range(3, 5):
        await streaming.post(event(number))
        await streaming.settled(destination)
    rest = (await streaming.ask("GET", f"{path}?cursor={first['next_cursor']}")).json
    assert rest == {"data": [], "next_cursor": None}
    assert len((await streaming.ask("GET", path)).json["data"]) == 3


# -- dead letters


async def test_refused_events_become_dead_letters(streaming: Gateway) -> None:
    """Each with its id, its time, the provider's code and reason, and the event as it came in; oldest first."""
    destination = await with_dead_letters(streaming, 2)
    letters = await listed(streaming, destination, "dead-letters")
    assert [letter["event_id"] for letter in letters] == ["evt_101", "evt_102"]
    assert letters[0].keys() == {"id", "event_id", "time", "code", "reason", "event"}
    assert letters[0]["event"] == json.loads(event(101, note="poison"))
    assert letters[0]["time"].startswith("2026-06-30T12:35:0")
    assert letters[0]["code"]
    assert "no such field: poison" in letters[0]["reason"]
    await books(streaming, destination, accepted=4, delivered=2, dead_lettered=2)
    answer = await streaming.ask("GET", f"{SIEM}/{destination}/dead-letters")
    assert event(101, note="poison") in answer.body


async def test_dead_letters_come_in_pages(streaming: Gateway) -> None:
    """Each once, the cursor leads on, and ends."""
    destination = await with_dead_letters(streaming, 5)
    path, query, pages = f"{SIEM}/{destination}/dead-letters?limit=2", "", []
    for _ in range(3):
        page = (await streaming.ask("GET", path + query)).json
        pages.append([letter["event_id"] for letter in page["data"]])
        query = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert pages == [["evt_101", "evt_102"], ["evt_103", "evt_104"], ["evt_105"]]


async def test_pages_that_weigh_much_are_shorter(streaming: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one answer takes in memory is bounded, and the cursor leads on all the same."""
    destination = await with_dead_letters(streaming, 3)
    monkeypatch.setattr("gateway.queue.wal.dead_letters.PAGE_BYTES_MAX", 100)
    query, pages = "", []
    for _ in range(3):
        page = (await streaming.ask("GET", f"{SIEM}/{destination}/dead-letters?limit=1000{query}")).json
        pages.append([letter["event_id"] for letter in page["data"]])
        query = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert pages == [["evt_101"], ["evt_102"], ["evt_103"]]


async def test_replayed_letters_are_sent_again(streaming: Gateway) -> None:
    """Those that are named, or all: they count as pending again and leave the list; the books stay balanced."""
    destination = await with_dead_letters(streaming, 3)
    path = f"{SIEM}/{destination}/dead-letters/replay"
    first, *_ = await listed(streaming, destination, "dead-letters")
    streaming.wire.answer = take_all
    streaming.wire.requests.clear()
    one = await streaming.ask("POST", path, json={"ids": [first["id"], 999_999]})
    assert (one.status, one.json) == (200, {"replayed": 1})
    await streaming.settled(destination)
    (request,) = streaming.wire.requests
    assert event(101, note="poison")[1:] in request.body
    assert request.body.count(b"\n") == 2
    await books(streaming, destination, accepted=6, delivered=4, dead_lettered=2)
    rest = await streaming.ask("POST", path)
    assert rest.json == {"replayed": 2}
    await streaming.settled(destination)
    await books(streaming, destination, accepted=6, delivered=6)
    assert await listed(streaming, destination, "dead-letters") == []
    assert (await streaming.ask("POST", path)).json == {"replayed": 0}


async def test_deleted_letters_stay_in_the_books(streaming: Gateway) -> None:
    """Those that are named, or all, are forgotten; they count as dead-lettered for ever."""
    destination = await with_dead_letters(streaming, 3)
    path = f"{SIEM}/{destination}/dead-letters"
    first, second, third = await listed(streaming, destination, "dead-letters")
    answer = await streaming.ask("DELETE", path, json={"ids": [second["id"]]})
    assert (answer.status, answer.json) == (200, {"deleted": 1})
    assert await listed(streaming, destination, "dead-letters") == [first, third]
    assert (await streaming.ask("DELETE", path)).json == {"deleted": 2}
    assert await listed(streaming, destination, "dead-letters") == []
    await books(streaming, destination, accepted=6, delivered=3, dead_lettered=3)


@pytest.mark.parametrize("body", [b"[]", b"x", b'{"ids":', b"null", b"1"])
async def test_a_choice_that_is_no_object_is_refused(streaming: Gateway, body: bytes) -> None:
    """400, and nothing is replayed or deleted: all is only meant by saying nothing."""
    destination = await with_dead_letters(streaming, 1)
    for method, path in (("DELETE", "dead-letters"), ("POST", "dead-letters/replay")):
        answer = await streaming.ask(method, f"{SIEM}/{destination}/{path}", data=body)
        assert (answer.status, bool(answer.detail)) == (400, True)
    assert len(await listed(streaming, destination, "dead-letters")) == 1


@pytest.mark.parametrize("given", [{"ids": "all"}, {"ids": ["1"]}, {"ids": [1.5]}, {"id": [1]}, {"ids": {"1": 1}}])
async def test_a_choice_that_is_not_understood_is_refused(streaming: Gateway, given: object) -> None:
    """422 that says what to give, and nothing is replayed or deleted."""
    destination = await with_dead_letters(streaming, 1)
    for method, path in (("DELETE", "dead-letters"), ("POST", "dead-letters/replay")):
        answer = await streaming.ask(method, f"{SIEM}/{destination}/{path}", json=given)
        assert (answer.status, list(answer.errors())) == (422, ["ids"])
    assert len(await listed(streaming, destination, "dead-letters")) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001"])
async def test_a_limit_out_of_range_is_refused(gateway: Gateway, query: str) -> None:
    """400 that names it, on every list that has one."""
    destination = await gateway.make_destination()
    for path in ("attempts", "dead-letters"):
        answer = await gateway.ask("GET", f"{SIEM}/{destination}/{path}?{query}")
        assert (answer.status, list(answer.errors())) == (400, ["limit"])
    answer = await gateway.ask("GET", f"{SIEM}/{destination}/dead-letters?cursor=x")
    assert (answer.status, list(answer.errors())) == (400, ["cursor"])


async def test_backfilled_events_are_in_the_books_of_their_destination(streaming: Gateway) -> None:
    """Accepted, delivered, and sent to nobody else."""
    destination, other = await streaming.make_destination(), await streaming.make_destination()
    body = b"\n".join(events(3))
    answer = await streaming.ask("POST", f"{SIEM}/{destination}/backfill", data=body, headers=NDJSON)
    assert (answer.status, answer.json) == (202, {"accepted": 3, "rejected": 0})
    await streaming.settled(destination)
    assert streaming.wire.lines == events(3)
    await books(streaming, destination, accepted=3, delivered=3)
    await books(streaming, other)


# -- destinations that take nothing


async def test_a_closed_destination_is_sent_nothing_of_its_own(start: Start) -> None:
    """Replay and backfill are 409 while a destination is disabled or failed, and say what to do; nothing is lost, and
    both work as soon as the change that enables it is answered.
    """
    streaming = await start(streams=True, retry=RetryPolicy(window_s=Seconds(5)))
    destination = await with_dead_letters(streaming, 2)
    path = f"{SIEM}/{destination}"

    async def refused(words: str) -> None:
        for what, body in (("dead-letters/replay", b""), ("backfill", event(9))):
            answer = await streaming.ask("POST", f"{path}/{what}", data=body, headers=NDJSON)
            assert (answer.status, words in answer.detail) == (409, True), answer.body
        assert len(await listed(streaming, destination, "dead-letters")) == 2

    async def enable() -> None:
        assert (await streaming.ask("PUT", path, json={"enabled": True})).status == 200

    await streaming.ask("PUT", path, json={"enabled": False})
    await refused("enable it first")
    await books(streaming, destination, accepted=4, delivered=2, dead_lettered=2)
    await enable()
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event(3))
    await streaming.settled(destination)
    await refused("mend it and enable it again first")
    await books(streaming, destination, accepted=5, delivered=2, dead_lettered=2, dropped=1)
    streaming.wire.answer = take_all
    await enable()
    assert (await streaming.ask("POST", f"{path}/dead-letters/replay")).json == {"replayed": 2}
    assert (await streaming.ask("POST", f"{path}/backfill", data=event(9), headers=NDJSON)).status == 202
    await streaming.settled(destination)
    await books(streaming, destination, accepted=6, delivered=5, dropped=1)


async def test_one_that_is_being_deleted_is_sent_nothing_of_its_own(streaming: Gateway) -> None:
    """Replay and backfill are 409 while what waits is flushed."""
    destination = await with_dead_letters(streaming, 1)
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event(3))
    deleted = await streaming.passing(streaming.ask("DELETE", f"{SIEM}/{destination}"))
    assert deleted.status == 202
    for what, body in (("dead-letters/replay", b""), ("backfill", event(9))):
        answer = await streaming.ask("POST", f"{SIEM}/{destination}/{what}", data=body, headers=NDJSON)
        assert (answer.status, "is being deleted" in answer.detail) == (409, True), answer.body
    assert len(await listed(streaming, destination, "dead-letters")) == 1


# -- downloads


async def test_dead_letters_are_downloaded_whole(streaming: Gateway) -> None:
    """As NDJSON to save, more than a page holds, each line as in the list; behind a cursor the rest."""
    destination = await streaming.make_destination(provider="elastic")
    streaming.wire.answer = refuse_poison
    await streaming.post(b"\n".join(events(250, note="poison")))
    await streaming.settled(destination)
    path = f"{SIEM}/{destination}/dead-letters"
    answer = await streaming.ask("GET", f"{path}?format=ndjson")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="dead-letters-{destination}.ndjson"'
    assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines == (await streaming.ask("GET", f"{path}?limit=1000")).json["data"]
    assert len(lines) == 250
    rest = await streaming.ask("GET", f"{path}?format=ndjson&cursor={lines[99]['id']}")
    assert [json.loads(line) for line in rest.body.splitlines()] == lines[100:]


async def test_gaps_are_downloaded_too(streaming: Gateway) -> None:
    """One line for each; none where there is none."""
    destination = await streaming.make_destination(enabled=False)
    path = f"{SIEM}/{destination}/gaps?format=ndjson"
    assert (await streaming.ask("GET", path)).body == b""
    await streaming.post(event())
    answer = await streaming.ask("GET", path)
    (line,) = answer.body.splitlines()
    assert json.loads(line) == (await listed(streaming, destination, "gaps"))[0]
    assert f'filename="gaps-{destination}.ndjson"' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize("what", ["gaps", "dead-letters"])
async def test_downloads_follow_the_rules_of_the_lists(gateway: Gateway, what: str) -> None:
    """Another tenant's is not found, another format is refused."""
    destination = await gateway.make_destination()
    await gateway.queue.add_consumer(destination, "*")
    key = await gateway.make_key("acme")
    path = f"{SIEM}/{destination}/{what}"
    assert (await gateway.ask("GET", f"{path}?format=ndjson", key=key)).status == 404
    answer = await gateway.ask("GET", f"{path}?format=csv")
    assert (answer.status, answer.errors()) == (400, {"format": "must be json or ndjson"})
