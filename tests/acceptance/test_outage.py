"""A destination fails in every way that destinations do, and recovers, is mended, given up, switched off or deleted."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
from contextlib import AsyncExitStack

import pytest

from gateway.demo.receivers import (
    KINDS,
    ElasticReceiver,
    Fault,
    Receiver,
    Refuse,
    Reset,
    Respond,
    Slow,
    SplunkReceiver,
    WebhookReceiver,
    all_kinds,
    always,
)
from tests.acceptance.api import Members
from tests.acceptance.audit_events import by_id, event, events
from tests.acceptance.gateway_process import GatewayProcess, StartGateway

UNAVAILABLE = Respond(503, b"down for maintenance")
FAULTS: dict[str, Fault] = {
    "unavailable": UNAVAILABLE,
    "failing": Respond(500, b"<html>oops</html>", {"Content-Type": "text/html"}),
    "throttling": Respond(429, b"{}", {"Retry-After": "0"}),
    "closing": Reset("request"),
    "breaking off in mid-body": Reset("body"),
    "taking without an answer": Reset("stored"),
    "breaking off in mid-answer": Reset("reply"),
}
REPEATING = {"taking without an answer", "breaking off in mid-answer"}


async def test_everything_arrives_after_any_kind_of_failure(gateway: GatewayProcess) -> None:
    """At each provider, each kind of failure makes the destination degraded, and when it ends all events arrive, in
    their own bytes, and it is active again.
    """
    lines = events(25)
    async with AsyncExitStack() as stack:
        created: dict[str, tuple[str, Receiver]] = {}
        for label, fault in FAULTS.items():
            for kind in KINDS.values():
                receiver = await stack.enter_async_context(kind(script=always(fault)))
                created[await gateway.api.create(receiver)] = label, receiver
        await gateway.api.accept(lines)
        for destination in created:
            shown = await gateway.api.until_degraded(destination)
            assert shown["health"]["retrying_since"] is not None
            assert shown["health"]["last_error"]["message"]
        for _, receiver in created.values():
            receiver.script = None
        for destination, (label, receiver) in created.items():
            books = await gateway.api.until_settled(destination)
            assert books["delivered"] == len(lines), (label, receiver.provider)
            assert receiver.events == by_id(lines), (label, receiver.provider)
            if label not in REPEATING:
                assert receiver.duplicates == {}, (label, receiver.provider)
            health = (await gateway.api.until_status(destination, "active"))["health"]
            assert (health["retrying_since"], health["consecutive_failures"]) == (None, 0)


async def test_a_refused_connection_is_an_outage_like_any_other(start_gateway: StartGateway) -> None:
    """Nobody listens: degraded, with what waits and since when, also over a kill -9; then somebody does: active."""
    gateway = await start_gateway(queue_checkpoint="10ms")
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        await gateway.api.accept(events(1))
        await receiver.wait_for(1)
        await receiver.stop()
        lines = events(50)
        await gateway.api.accept(lines)
        before = (await gateway.api.until(destination, lambda shown: shown["health"]["lag_seconds"] > 0.5))["health"]
        assert before["pending_events"] == 50
        assert before["last_error"]["code"] == "connection"
        await gateway.kill()
        await gateway.start()
        after = (await gateway.api.until_degraded(destination))["health"]
        assert after["retrying_since"] == before["retrying_since"]
        assert after["pending_events"] == 50
        await receiver.start()
        await gateway.api.until_status(destination, "active")
        assert (await gateway.api.until_settled(destination))["delivered"] == 51
        assert by_id(lines).items() <= receiver.events.items()


async def test_a_wish_to_wait_is_honoured_and_a_new_endpoint_ends_it(gateway: GatewayProcess) -> None:
    """After 429 with Retry-After: 600 nothing is sent for that long; a PUT with a new endpoint delivers at once."""
    asks_to_wait = always(Respond(429, b"", {"Retry-After": "600"}))
    async with WebhookReceiver(script=asks_to_wait, format="array") as old, WebhookReceiver(format="array") as new:
        destination = await gateway.api.create(old)
        lines = events(20)
        await gateway.api.accept(lines)
        health = (await gateway.api.until_degraded(destination))["health"]
        assert health["breaker"] == "open"
        assert seconds_between(health["last_error_at"], health["next_attempt_at"]) >= 599
        sends = old.sends
        assert (await gateway.api.change(destination, endpoint=new.endpoint))["endpoint"] == new.endpoint
        await new.wait_for(20)
        assert new.events == by_id(lines)
        assert (old.sends, old.events) == (sends, {})
        await gateway.api.until_status(destination, "active")


async def test_a_new_credential_ends_a_long_wait(start_gateway: StartGateway) -> None:
    """A refused token is asked about rarely; the right one, given with PUT, delivers at once what has waited."""
    gateway = await start_gateway(retry_misconfigured="300s", retry_misconfigured_max="300s")
    async with all_kinds() as receivers:
        created = {}
        for receiver in receivers.values():
            wrong = dict.fromkeys(receiver.credentials, "AKIAWRONGWRONGWRONG0")
            created[await gateway.api.create(receiver, **wrong)] = receiver
        lines = events(20)
        await gateway.api.accept(lines)
        for destination in created:
            health = (await gateway.api.until_degraded(destination))["health"]
            assert seconds_between(health["last_error_at"], health["next_attempt_at"]) >= 100
        for destination, receiver in created.items():
            await gateway.api.change(destination, **receiver.credentials)
            await receiver.wait_for(20)
            assert receiver.events == by_id(lines)


async def test_poison_ends_in_dead_letters_and_can_be_replayed(gateway: GatewayProcess) -> None:
    """At each provider, events that it refuses are dead letters with its reason and their bytes, all others arrive;
    replay sends them again.
    """
    lines = events(60)
    poison = [event(name=f"evt_poison_{number}", text="poison") for number in range(3)]
    for number, line in enumerate(poison):
        lines.insert(number * 20 + 7, line)
    refuses = Refuse(lambda item: b"evt_poison_" in item)
    async with all_kinds() as receivers:
        created = {}
        for receiver in receivers.values():
            receiver.script = always(refuses)
            created[await gateway.api.create(receiver)] = receiver
        await gateway.api.accept(lines)
        for destination, receiver in created.items():
            books = await gateway.api.until_settled(destination)
            assert (books["delivered"], books["dead_lettered"]) == (60, 3), receiver.provider
            assert receiver.events == by_id(set(lines) - set(poison)), receiver.provider
            answer = await gateway.api.call("GET", f"/v1/audit/siem/{destination}/dead-letters")
            for line in poison:
                assert line in answer.body
            letters = answer.json()["data"]
            assert [letter["event_id"] for letter in letters] == list(by_id(poison))
            assert all(letter["code"] and letter["reason"] for letter in letters)
            await gateway.api.until_status(destination, "active")
        for destination, receiver in created.items():
            receiver.script = None
            replay = f"/v1/audit/siem/{destination}/dead-letters/replay"
            first = (await gateway.api.listed(destination, "dead-letters"))[0]["id"]
            assert await gateway.api.expect(200, "POST", replay, json={"ids": [first]}) == {"replayed": 1}
            assert await gateway.api.expect(200, "POST", replay) == {"replayed": 2}
            books = await gateway.api.until_settled(destination)
            assert (books["accepted"], books["delivered"], books["dead_lettered"]) == (63, 63, 0)
            assert await gateway.api.listed(destination, "dead-letters") == []
            assert receiver.events == by_id(lines)


async def test_a_provider_names_its_reason(gateway: GatewayProcess) -> None:
    """What the provider said of a refused event stands in the dead letter, which an operator may then forget."""
    async with ElasticReceiver(numbers=frozenset({"metadata.b"})) as receiver:
        destination = await gateway.api.create(receiver)
        await gateway.api.accept([*events(5), event(name="evt_text").replace(b'"b":1', b'"b":"one"')])
        await gateway.api.until_settled(destination)
        (letter,) = await gateway.api.listed(destination, "dead-letters")
        assert "failed to parse field [metadata.b] of type [long]" in letter["reason"]
        path = f"/v1/audit/siem/{destination}/dead-letters"
        assert await gateway.api.expect(200, "DELETE", path, json={"ids": [letter["id"]]}) == {"deleted": 1}
        assert await gateway.api.listed(destination, "dead-letters") == []
        assert (await gateway.api.ledger(destination))["dead_lettered"] == 1


async def test_the_window_runs_out(start_gateway: StartGateway) -> None:
    """After retry.window the destination is failed: what waited and what comes is a gap with its first and last event,
    over a kill -9 too; enabled: true streams again.
    """
    gateway = await start_gateway(retry_window="1s")
    async with SplunkReceiver(script=always(UNAVAILABLE)) as receiver:
        destination = await gateway.api.create(receiver)
        waited, came = events(30), events(4)
        await gateway.api.accept(waited)
        await gateway.api.until_status(destination, "failed")
        (gap,) = await gateway.api.listed(destination, "gaps")
        assert (gap["reason"], gap["count"]) == ("retries_exhausted", 30)
        assert (gap["first_event_id"], gap["last_event_id"]) == ends(waited)
        assert "503" in gap["detail"]
        await gateway.kill()
        await gateway.start()
        await gateway.api.until_status(destination, "failed")
        await gateway.api.accept(came)
        books = await gateway.api.ledger(destination)
        assert (books["dropped"], books["pending"]) == (34, 0)
        gaps = await gateway.api.listed(destination, "gaps")
        assert {gap["reason"] for gap in gaps} == {"retries_exhausted"}
        assert missing(gaps) == 34
        assert (gaps[0]["first_event_id"], gaps[-1]["last_event_id"]) == ends(waited + came)
        receiver.script = None
        assert (await gateway.api.change(destination, enabled=True))["enabled"] is True
        await gateway.api.until_status(destination, "active")
        lines = events(10)
        await gateway.api.accept(lines)
        await receiver.wait_for(10)
        assert receiver.events == by_id(lines)
        assert missing(await gateway.api.listed(destination, "gaps")) == 34


async def test_a_disabled_period_is_a_gap(gateway: GatewayProcess) -> None:
    """A disabled destination keeps nothing: that period is a gap with its first and last event, and what comes after
    is delivered.
    """
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        before, during, after = events(5), events(8), events(6)
        await gateway.api.accept(before)
        await gateway.api.until_settled(destination)
        await gateway.api.change(destination, enabled=False)
        await gateway.api.accept(during)
        (gap,) = await gateway.api.listed(destination, "gaps")
        assert (gap["reason"], gap["count"]) == ("disabled", 8)
        assert (gap["first_event_id"], gap["last_event_id"]) == ends(during)
        assert gap["first_time"] <= gap["last_time"]
        await gateway.api.change(destination, enabled=True)
        await gateway.api.accept(after)
        books = await gateway.api.until_settled(destination)
        assert (books["accepted"], books["delivered"], books["dropped"]) == (19, 11, 8)
        assert receiver.events == by_id(before + after)


async def test_a_disabled_moment_is_a_gap_over_a_kill(gateway: GatewayProcess) -> None:
    """Off and on at once, and the process killed right after the answer: what came in between is never delivered."""
    async with SplunkReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        expected: list[bytes] = []
        for kept in range(1, 6):
            await gateway.api.change(destination, enabled=False)
            await gateway.api.accept(events(3))
            await gateway.api.change(destination, enabled=True)
            await gateway.kill()
            await gateway.start()
            after = events(2)
            await gateway.api.accept(after)
            expected += after
            books = await gateway.api.until_settled(destination)
            assert (books["delivered"], books["dropped"]) == (2 * kept, 3 * kept)
        assert receiver.events == by_id(expected)
        gaps = await gateway.api.listed(destination, "gaps")
        assert {gap["reason"] for gap in gaps} == {"disabled"}
        assert missing(gaps) == 15


async def test_deleting_flushes_first(gateway: GatewayProcess) -> None:
    """DELETE waits until what the destination holds has arrived (204); what comes meanwhile is not for it."""
    go = asyncio.Event()
    async with WebhookReceiver(script=always(Slow(until=go)), format="array") as receiver:
        destination = await gateway.api.create(receiver)
        held = events(40)
        await gateway.api.accept(held)
        deleting = asyncio.ensure_future(gateway.api.call("DELETE", f"/v1/audit/siem/{destination}"))
        await gateway.api.until(destination, lambda shown: shown["deleting"])
        refused = await gateway.api.call("PUT", f"/v1/audit/siem/{destination}", json={"name": "too late"})
        assert refused.status == 409
        await gateway.api.accept(events(5))
        go.set()
        assert (await deleting).status == 204
        assert receiver.events == by_id(held)
        assert (await gateway.api.call("GET", f"/v1/audit/siem/{destination}")).status == 404


@pytest.mark.parametrize("timeout_s", [0, 1])
async def test_a_deletion_that_cannot_flush_goes_on_behind(gateway: GatewayProcess, timeout_s: int) -> None:
    """Not flushed in time: 202 and deleting; over a kill -9 it goes on, and once all has arrived it is gone."""
    async with SplunkReceiver(script=always(UNAVAILABLE)) as receiver:
        destination = await gateway.api.create(receiver)
        held = events(20)
        await gateway.api.accept(held)
        answer = await gateway.api.call("DELETE", f"/v1/audit/siem/{destination}?timeout={timeout_s}")
        assert (answer.status, answer.json()["deleting"]) == (202, True)
        await gateway.kill()
        await gateway.start()
        assert (await gateway.api.destination(destination))["deleting"] is True
        await gateway.api.accept(events(3))
        receiver.script = None
        await gateway.api.until_gone(destination)
        assert receiver.events == by_id(held)


async def test_a_forced_deletion_drops_what_is_left(gateway: GatewayProcess) -> None:
    """force=true removes a dead destination at once, and the log says how many events went with it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        receiver = SplunkReceiver()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        destination = await gateway.api.create(receiver, endpoint=endpoint)
        await gateway.api.accept(events(20))
        assert (await gateway.api.call("DELETE", f"/v1/audit/siem/{destination}?force=true")).status == 204
        assert (await gateway.api.call("GET", f"/v1/audit/siem/{destination}")).status == 404
    (line,) = [line for line in gateway.log.splitlines() if "forced_delete" in line]
    assert destination in line
    assert '"events":20' in line


def missing(gaps: list[Members]) -> int:
    return sum(gap["count"] for gap in gaps)


def ends(lines: list[bytes]) -> tuple[str, str]:
    """The ids of the first and the last."""
    names = list(by_id(lines))
    return names[0], names[-1]


def seconds_between(earlier: str, later: str) -> float:
    return (dt.datetime.fromisoformat(later) - dt.datetime.fromisoformat(earlier)).total_seconds()
