"""A limit of requests for each key: the bucket, and the headers and the 429 over HTTP."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Server
from gateway.providers.codec import Reply
from gateway.server.rate_limit import BUCKETS_MAX, Bucket, Rate, RateLimits, take
from tests.events import event
from tests.loopback_gateway import ALL_SCOPES, Gateway
from tests.unit.server.conftest import Start

SIEM = "/v1/audit/siem"


@given(
    st.integers(1, 100),
    st.integers(1, 100),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_no_window_has_more_than_burst_and_rate(per_s: int, burst: int, pauses_s: list[float]) -> None:
    """From the first request on, however they come; and a refused one would be served after its wait."""
    rate, bucket, now_s, served = Rate(per_s, burst), None, 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        bucket, wait_s = take(bucket, rate, now_s)
        served += not wait_s
        assert served <= burst + per_s * now_s + 1e-6
        if wait_s:
            assert take(bucket, rate, now_s + wait_s + 1e-6).wait_s == 0


def test_a_clock_that_stands_gives_nothing_back() -> None:
    """Nor one that goes back, and no token is lost by that."""
    assert take(Bucket(0.5, 10.0), Rate(1, 5), 10.0).wait_s == 0.5
    assert take(Bucket(2.5, 10.0), Rate(1, 5), 9.0).bucket.tokens == 1.5


def test_memory_is_bounded() -> None:
    """The keys that asked longest ago are forgotten."""
    limits = RateLimits(Rate(1, 1), lambda: 0.0)
    limits.take("first")
    for number in range(BUCKETS_MAX - 1):
        limits.take(f"key_{number}")
    assert "Retry-After" in limits.take("first")
    for number in range(BUCKETS_MAX):
        limits.take(f"more_{number}")
    assert "Retry-After" not in limits.take("first")


async def test_the_headers_tell_what_is_left(start: Start) -> None:
    """Of every management route, streamed answers and refusals included; then 429, until time has passed."""
    gateway = await start(server=Server(rate_limit=1, rate_limit_burst=3))
    destination = await gateway.make_destination()
    shown = await gateway.ask("GET", f"{SIEM}/{destination}/dead-letters?format=ndjson")
    assert shown.headers["RateLimit-Policy"] == '"requests";q=3;w=3'
    assert shown.headers["RateLimit"] == '"requests";r=1;t=2'
    refused = await gateway.ask("GET", f"{SIEM}/siem_nobody")
    assert (refused.status, refused.headers["RateLimit"]) == (404, '"requests";r=0;t=3')
    refused = await gateway.ask("GET", SIEM)
    assert (refused.status, refused.headers["Retry-After"], "too many" in refused.detail) == (429, "1", True)
    await gateway.passing(gateway.clock.sleep(1))
    assert (await gateway.ask("GET", SIEM)).status == 200


async def test_only_the_key_itself_is_held_back(start: Start) -> None:
    """Another key has a bucket of its own; events are taken in, and machines asked without a key are answered."""
    gateway = await start(server=Server(rate_limit=1, rate_limit_burst=2))
    key = await gateway.make_key("acme", *ALL_SCOPES)
    for status in (200, 200, 429, 429):
        answer = await gateway.ask("GET", SIEM, key=key)
        assert answer.status == status
    assert (await gateway.ask("GET", SIEM)).status == 200
    taken = await gateway.post(event(tenant_id="acme"), key=key)
    assert (taken.status, "RateLimit" in taken.headers) == (202, False)
    assert (await gateway.ask("GET", "/healthz", key=None)).status == 200


async def test_no_limit_tells_nothing(start: Start) -> None:
    """``server.rate_limit`` 0."""
    gateway = await start(server=Server(rate_limit=0))
    assert "RateLimit" not in (await gateway.ask("GET", SIEM)).headers


async def test_a_tenant_has_so_many_requests_under_way(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of tests that nobody answers hold places, with any of its keys; others and operators go on."""
    answered = asyncio.Event()

    async def hang(*_: object, **__: object) -> Reply:
        await answered.wait()
        return Reply(200, {}, b"")

    monkeypatch.setattr(gateway.wire, "send", hang)
    monkeypatch.setattr("gateway.server.rate_limit.UNDER_WAY_PER_TENANT", 3)
    key, other = await gateway.make_key("acme", *ALL_SCOPES), await gateway.make_key("acme", *ALL_SCOPES)
    destination = await gateway.make_destination(key=key)
    path = f"{SIEM}/{destination}/test"
    async with asyncio.TaskGroup() as group:
        tests = [group.create_task(gateway.ask("POST", path, key=key)) for _ in range(3)]
        while gateway.wire.open < 3:
            await asyncio.sleep(0)
        refused = await gateway.ask("GET", SIEM, key=other)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert "under way" in refused.detail
        stranger = await gateway.make_key("globex", *ALL_SCOPES)
        assert (await gateway.ask("GET", SIEM, key=stranger)).status == 200
        assert (await gateway.post(event(tenant_id="acme"), key=key)).status == 202
        answered.set()
    assert {test.result().status for test in tests} == {200}
    assert (await gateway.ask("GET", SIEM, key=other)).status == 200


async def test_every_answer_has_the_name_of_its_request(gateway: Gateway) -> None:
    """The caller's own, on plain, streamed and refused answers; one that is no plain word is replaced."""
    destination = await gateway.make_destination()
    paths = [
        SIEM,
        f"{SIEM}/{destination}/gaps?format=ndjson",
        f"{SIEM}/siem_nobody",
        "/nowhere",
        "/healthz",
        "/metrics",
    ]
    for path in paths:
        answer = await gateway.ask("GET", path, headers={"X-Request-Id": "mine-1"})
        assert answer.headers["X-Request-Id"] == "mine-1", path
        answer = await gateway.ask("GET", path, headers={"X-Request-Id": "not mine"})
        assert answer.headers["X-Request-Id"] not in ("not mine", ""), path
    assert (await gateway.post(event(), X_Request_Id="mine-2")).headers["X-Request-Id"] == "mine-2"
