"""``Idempotency-Key`` over HTTP."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.destinations.claims import ABANDONED_S, KEPT_S
from gateway.destinations.store import Destination
from gateway.errors import StoreUnavailable
from gateway.telemetry import Event
from tests.loopback_gateway import WEBHOOK, Answer, Gateway

SIEM, KEYS = "/v1/audit/siem", "/v1/audit/keys"
NAME = "3f1c-once"


async def make(gateway: Gateway, name: str = NAME, *, path: str = SIEM, body: object = WEBHOOK, **more: str) -> Answer:
    return await gateway.ask("POST", path, json=body, headers={"Idempotency-Key": name}, **more)


async def count(gateway: Gateway) -> int:
    return len((await gateway.ask("GET", SIEM)).json["data"])


async def test_what_is_sent_again_is_not_made_twice(gateway: Gateway) -> None:
    """The first answer comes again with its status, body, ``Location`` and ``ETag``, and says that it is that."""
    first, again = await make(gateway), await make(gateway)
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert [again.headers[name] for name in ("Location", "ETag")] == [
        first.headers[name] for name in ("Location", "ETag")
    ]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert await count(gateway) == 1


async def test_without_the_header_every_request_counts(gateway: Gateway) -> None:
    """And each name is a request of its own."""
    await gateway.ask("POST", SIEM, json=WEBHOOK)
    await gateway.ask("POST", SIEM, json=WEBHOOK)
    await make(gateway)
    await make(gateway, "another")
    assert await count(gateway) == 4


async def test_one_of_many_at_once_is_made(gateway: Gateway) -> None:
    """The others are told that it is under way, or get its answer."""
    answers = await asyncio.gather(*(make(gateway) for _ in range(10)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status == 409)
    assert await count(gateway) == 1


@pytest.mark.parametrize(
    ("path", "body"), [(SIEM, {**WEBHOOK, "name": "another"}), (KEYS, {"name": "k", "scopes": []})]
)
async def test_a_name_belongs_to_one_request(gateway: Gateway, path: str, body: object) -> None:
    """422 with another body, and on another route; nothing is made."""
    await make(gateway)
    answer = await make(gateway, path=path, body=body)
    assert (answer.status, "another request" in answer.detail) == (422, True)
    assert await count(gateway) == 1


async def test_a_name_belongs_to_its_api_key(gateway: Gateway) -> None:
    """Another caller's request of that name is made, and its answer is its own."""
    key = await gateway.make_key("tenant-b")
    mine, other = await make(gateway), await make(gateway, key=key)
    assert (mine.status, other.status) == (201, 201)
    assert mine.json["id"] != other.json["id"]


async def test_a_refused_request_may_be_mended(gateway: Gateway) -> None:
    """Only an answer of success is kept."""
    refused = await make(gateway, body={**WEBHOOK, "provider": "none"})
    assert refused.status == 422
    assert (await make(gateway)).status == 201


async def test_a_secret_is_shown_once(gateway: Gateway) -> None:
    """Making an API key again is 409 with the place of the one that was made; the store never has its value."""
    body = {"name": "k", "scopes": ["siem:read"]}
    first, again = await make(gateway, path=KEYS, body=body), await make(gateway, path=KEYS, body=body)
    assert (first.status, again.status) == (201, 409)
    assert again.headers["Location"] == first.headers["Location"]
    assert first.json["id"] in again.detail
    files = b"".join(path.read_bytes() for path in gateway.data_dir.glob("destinations.db*"))
    assert b"claims" in files
    assert first.json["key"].encode() not in files + again.body


async def test_time_frees_a_name(gateway: Gateway) -> None:
    """After a day the same request is made anew."""
    await make(gateway)
    gateway.clock.advance(KEPT_S + 1)
    assert "Idempotent-Replayed" not in (await make(gateway)).headers
    assert await count(gateway) == 2


async def test_what_was_made_is_answered_though_the_answer_is_not_kept(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash: 409 while the first may be under way, then the request is made anew."""
    with monkeypatch.context() as broken:
        broken.setattr(gateway.store, "keep_answer", _away)
        assert (await make(gateway)).status == 201
    assert (await make(gateway)).status == 409
    gateway.clock.advance(ABANDONED_S + 1)
    assert (await make(gateway)).status == 201


async def test_a_name_is_taken_for_as_long_as_the_work_takes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is slower than ABANDONED_S is not taken for broken off: 409 until it is done, then its answer."""
    create, begun, may_go_on = gateway.store.create_destination, asyncio.Event(), asyncio.Event()

    async def slowly(destination: Destination) -> None:
        begun.set()
        await may_go_on.wait()
        await create(destination)

    monkeypatch.setattr(gateway.store, "create_destination", slowly)
    first = asyncio.create_task(make(gateway))
    await begun.wait()
    gateway.clock.advance(ABANDONED_S + 1)
    assert (await make(gateway)).status == 409
    assert (await make(gateway, body={**WEBHOOK, "name": "another"})).status == 422
    may_go_on.set()
    assert (await first).body == (await make(gateway)).body
    assert await count(gateway) == 1


@pytest.mark.parametrize(("body", "status"), [({**WEBHOOK, "provider": "none"}, 422), (WEBHOOK, 503)])
async def test_a_name_that_cannot_be_freed_hides_no_answer(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, body: object, status: int
) -> None:
    """What the handler refused or failed with is answered, and the log tells of the store; after ABANDONED_S the name
    is free.
    """
    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr(gateway.store, "release", _away)
        broken.setattr(gateway.store, "create_destination", _full)
        refused = await make(gateway, body=body)
    assert (refused.status, "the store is away" in refused.detail) == (status, False)
    assert [line["event"] for line in logs] == [Event.STORE_UNAVAILABLE]
    assert (await make(gateway, body=body)).status == 409
    gateway.clock.advance(ABANDONED_S + 1)
    assert (await make(gateway, body=body)).status == (201 if body == WEBHOOK else status)


@pytest.mark.parametrize("name", ["", "two words", "ü", "x" * 256])
async def test_a_name_must_be_plain(gateway: Gateway, name: str) -> None:
    """400 for what is no name of 1 to 255 visible ASCII characters."""
    assert (await make(gateway, name)).status == 400
    assert await count(gateway) == 0


async def test_a_store_that_is_away_makes_nothing(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and to be sent again."""
    with monkeypatch.context() as broken:
        broken.setattr(gateway.store, "claim", _away)
        assert (await make(gateway)).status == 503
    assert await count(gateway) == 0
    assert (await make(gateway)).status == 201


async def _away(_: object) -> None:
    raise StoreUnavailable("the store is away")


async def _full(_: object) -> None:
    raise StoreUnavailable("the store is full")
