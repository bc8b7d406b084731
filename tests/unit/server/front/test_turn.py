"""What comes in one turn of the loop: stored together, answered as if each had come alone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from gateway.destinations.store import Scope
from gateway.errors import QueueUnavailable
from gateway.server.call import PARTS
from gateway.server.front.head import Head
from gateway.server.front.turn import TURN_BYTES_MAX, Awaited, Turn
from gateway.server.ingest import rules_for
from tests.conformance.raw_http import GOODBYE, RawAnswer, request
from tests.events import event
from tests.loopback_gateway import Gateway, stored
from tests.unit.server.front.conftest import Wire


class Sent(NamedTuple):
    """A request, the answer that it gets when it comes alone, and the events of it that are stored."""

    data: bytes
    status: int
    accepted: int
    stored: list[bytes]


class Requests:
    """Small requests of every kind, with events that nobody sent before."""

    def __init__(self, generator: random.Random, tenant_key: str) -> None:
        self._generator = generator
        self._tenant_key = tenant_key.encode()
        self._number = 0

    def one(self) -> Sent:
        rare = [self._of_tenant, self._mixed, self._bad, self._partly, self._foreign, self._json, self._pretty]
        rarer = [self._unknown, self._escaped, self._blank, self._blank_at_the_end]
        return self._generator.choice([*[self._plain] * 6, *rare, *rarer])()

    def _event(self, tenant_id: str = "acme", **more: object) -> bytes:
        self._number += 1
        return event(self._number, {"tenant_id": tenant_id, **more})

    def _plain(self) -> Sent:
        lines = [self._event() for _ in range(self._generator.choice((1, 1, 1, 3)))]
        return Sent(request(body=b"\n".join(lines) + b"\n"), 202, len(lines), lines)

    def _of_tenant(self) -> Sent:
        line = self._event("globex")
        return Sent(request(key=self._tenant_key, body=line), 202, 1, [line])

    def _mixed(self) -> Sent:
        lines = [self._event(tenant) for tenant in ("acme", "globex", "acme")]
        return Sent(request(body=b"\n".join(lines)), 202, 3, lines)

    def _bad(self) -> Sent:
        return Sent(request(body=self._event(timestamp="yesterday")), 400, 0, [])

    def _partly(self) -> Sent:
        line = self._event()
        return Sent(request(body=b"x\n" + line), 207, 1, [line])

    def _foreign(self) -> Sent:
        return Sent(request(key=self._tenant_key, body=self._event("acme")), 400, 0, [])

    def _json(self) -> Sent:
        line = self._event()
        return Sent(request(content_type=b"application/json", body=line), 202, 1, [line])

    def _pretty(self) -> Sent:
        line = self._event()
        body = line.replace(b", ", b",\n  ")
        compact = json.dumps(json.loads(line), separators=(",", ":")).encode()
        return Sent(request(content_type=b"application/json", body=body), 202, 1, [compact])

    def _unknown(self) -> Sent:
        return Sent(request(key=b"tl_live_nobody", body=self._event()), 401, 0, [])

    def _escaped(self) -> Sent:
        line = self._event(metadata={"note": "\x00"})
        return Sent(request(body=line), 202, 1, [line])

    def _blank(self) -> Sent:
        return Sent(request(body=b"\n"), 400, 0, [])

    def _blank_at_the_end(self) -> Sent:
        line = self._event()
        return Sent(request(body=line + b"\n\n"), 202, 1, [line])


def accepted(answer: RawAnswer) -> int:
    _, found, rest = answer.body.partition(b'"accepted":')
    return int(rest.partition(b",")[0]) if found else 0


async def test_each_is_answered_as_if_it_had_come_alone(wire: Wire, gateway: Gateway, soak: bool) -> None:
    """Several connections, several requests on each, good ones and bad ones and of several keys: each connection's
    answers in its order and each request's own, and of each tenant its events in the order in which one sent them.
    """
    generator = random.Random(11)
    consumer = await gateway.watch()
    sending = Requests(generator, await gateway.make_key("globex", Scope.EVENTS_WRITE))
    for _ in range(3_000 if soak else 150):
        connections = [[sending.one() for _ in range(generator.choice((1, 1, 2, 4)))] for _ in range(5)]
        found = await asyncio.gather(
            *(wire.send([b"".join(sent.data for sent in each) + GOODBYE], end=True) for each in connections)
        )
        for each, their_answers in zip(connections, found, strict=True):
            assert [answer.status for answer in their_answers] == [*(sent.status for sent in each), 200]
            assert [accepted(answer) for answer in their_answers[:-1]] == [sent.accepted for sent in each]
        lines = await stored(consumer)
        assert sorted(lines) == sorted(line for each in connections for sent in each for line in sent.stored)
        for each in connections:
            for tenant in (b'"acme"', b'"globex"'):
                theirs = [line for sent in each for line in sent.stored if tenant in line]
                assert [line for line in lines if line in theirs] == theirs


async def test_requests_of_one_key_are_one_append(
    wire: Wire, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and of whatever tenants."""
    submitted = spied(gateway, monkeypatch)
    tenants = ("acme", "globex", "acme", "initech")
    data = [request(body=event(number, tenant_id=tenant)) + GOODBYE for number, tenant in enumerate(tenants)]
    found = await asyncio.gather(*(wire.send([each], end=True) for each in data))
    assert [answer.status for each in found for answer in each] == [202, 200] * len(tenants)
    assert [sum(entry.count for entry in entries) for entries in submitted] == [len(tenants)]
    assert {entry.subject.name for entry in submitted[0]} == set(tenants)


async def test_a_turn_is_bounded(wire: Wire, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where much comes at once it is checked in pieces."""
    submitted = spied(gateway, monkeypatch)
    padding = {"metadata": {"text": "x" * 40_000}}
    data = [request(body=event(number, padding)) + GOODBYE for number in range(20)]
    found = await asyncio.gather(*(wire.send([each], end=True) for each in data))
    assert [answer.status for each in found for answer in each] == [202, 200] * 20
    sizes = [sum(len(entry.payload) for entry in entries) for entries in submitted]
    assert len(sizes) > 1
    assert max(sizes) <= TURN_BYTES_MAX + 41_000


async def test_what_cannot_be_stored_is_refused_to_each(
    wire: Wire, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a time to come back."""

    def refuse(*_: object) -> bool:
        raise QueueUnavailable("no room", retry_after_s=2.0)

    monkeypatch.setattr(gateway.queue, "submit", refuse)
    monkeypatch.setattr(gateway.queue, "append", refuse)
    data = [request(body=event(number)) + GOODBYE for number in range(3)]
    found = await asyncio.gather(*(wire.send([each], end=True) for each in data))
    assert [answer.status for each in found for answer in each] == [503, 200] * 3
    assert [each[0].headers["retry-after"] for each in found] == ["2"] * 3


async def test_a_connection_that_fails_leaves_the_others_their_answers(gateway: Gateway) -> None:
    """A fault in answering one is reported, and the next are answered."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    parts = gateway.app[PARTS]
    turn = Turn(parts, lambda tenant_id: rules_for(parts, tenant_id))
    key = next(iter(gateway.catalog.keys().values()))
    head = Head(is_ingest=True, is_small=True, is_ndjson=True, key_digest=key.digest)
    connections = [Broken(), Settled(), Settled()]
    for number, connection in enumerate(connections):
        turn.add(Awaited(connection, head, event(number)))
    await connections[-1].settled.wait()
    assert connections[1].settled.is_set()
    assert [str(context["exception"]) for context in reported] == ["broken"]


class Settled:
    def __init__(self) -> None:
        self.settled = asyncio.Event()

    def settle(self, awaited: Awaited, error: BaseException | None) -> None:
        assert (awaited.events, error) == (1, None)
        self.settled.set()

    def serve_late(self, late: Sequence[Awaited]) -> None:
        raise AssertionError(late)


class Broken(Settled):
    def settle(self, awaited: Awaited, error: BaseException | None) -> None:
        raise RuntimeError("broken")


def spied(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Any]]:
    submit = gateway.queue.submit
    seen: list[Sequence[Any]] = []

    def spy(entries: Sequence[Any], done: Any) -> bool:
        seen.append(entries)
        return submit(entries, done)

    monkeypatch.setattr(gateway.queue, "submit", spy)
    return seen
