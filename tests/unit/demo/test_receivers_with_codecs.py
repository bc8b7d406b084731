"""The receivers against the codecs: what one writes, the other reads as the same bytes."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from isal import isal_zlib

from gateway.demo.receivers import KINDS, Answer, Call, Receiver
from gateway.providers import PROVIDERS
from gateway.providers.codec import Batch, Codec, Context, Delivered, Prepare, Reply, Request, Secret, Settings
from tests.events import MORE_SAMPLES, REAL_EVENTS
from tests.provider_cases import signed
from tests.unit.demo.samples import event

SAMPLES = [REAL_EVENTS, *MORE_SAMPLES.glob("audit-events.ndjson")]

OWN_MEMBERS = [
    b'{"id":"evt_a","timestamp":"2026-06-30T12:34:56Z","action":"a","outcome":"FAILURE","message":"own","status":"x"}',
    b'{"id":"evt_b","timestamp":"1990-01-01T00:00:00+02:00","action":"a","outcome":"DENIED","date":1,"service":"s"}',
    b'{"service":"s","id":"evt_c","timestamp":"2026-06-30T12:34:56.1234567Z","action":"a","outcome":"SUCCESS"}',
]


def sample_lines() -> list[bytes]:
    """Events of every age; those of real products as well, where they are at hand."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.123Z", time.gmtime())
    made = [event(number, timestamp=now) for number in range(200)] + [event(900), *OWN_MEMBERS]
    real = [line for path in SAMPLES for line in path.read_bytes().splitlines()]
    return made + list(dict.fromkeys(real))


def make_codec(receiver: Receiver) -> Codec:
    provider = PROVIDERS[receiver.provider]
    credentials = {name: Secret(value) for name, value in receiver.credentials.items()}
    endpoint = provider.normalise_endpoint(receiver.endpoint.replace(":0", ":8088"))  # it does not listen
    return provider.build(Settings(endpoint, credentials, receiver.options))


def deliver(receiver: Receiver, request: Request) -> Answer:
    """As the transport would, without the wire."""
    parts = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers} | {"host": parts.netloc}
    body = request.body
    if request.gzip:
        headers["content-encoding"], body = "gzip", isal_zlib.compress(body, 1, 31)
    call = Call(request.method, parts.path or "/", dict(parse_qsl(parts.query)), headers, body)
    return receiver.respond(call)


@pytest.mark.parametrize("name", list(KINDS))
def test_every_event_arrives_byte_for_byte(name: str) -> None:
    """Through each provider's envelope and back, old events and ones with members of the envelope's names included."""
    receiver = KINDS[name]()
    codec = make_codec(receiver)
    lines = sample_lines()
    context = Context(now_s=time.time(), channel="7b0c4e2e-1111-4222-8333-444455556666", instance="gw-01")
    for start in range(0, len(lines), 100):
        encoded = codec.encode(Batch(lines[start : start + 100]), context)
        assert encoded.refused == ()
        for request in encoded.requests:
            outcome = codec.classify(request, reply_of(deliver(receiver, signed(codec, request, context))), context)
            if isinstance(outcome, Prepare):
                assert deliver(receiver, signed(codec, outcome.request, context)).status == 200
                outcome = codec.classify(request, reply_of(deliver(receiver, signed(codec, request, context))), context)
            assert isinstance(outcome, Delivered)
    assert sorted(receiver.events.values()) == sorted(lines)
    assert receiver.duplicates == {}


def reply_of(answer: Answer) -> Reply:
    return Reply(answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.body)
