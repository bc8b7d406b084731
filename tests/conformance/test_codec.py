"""What every provider's codec promises, whatever its wire format."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.providers import PROVIDERS
from gateway.providers.codec import (
    Batch,
    Codec,
    Context,
    Delivered,
    Encoded,
    Misconfigured,
    Partial,
    Reply,
    Request,
    Retry,
    Split,
)
from gateway.providers.tls import FIELDS as TLS_FIELDS
from tests.provider_cases import CHANNEL, CONTEXT, CREDENTIALS, EVENT, NOW_S, codec, event, reply, signed
from tests.provider_cases import settings as settings_of

CASES: list[tuple[str, dict[str, object]]] = [
    ("splunk", {}),
    ("splunk", {"ack": True, "index": "audit"}),
    ("datadog", {}),
    ("datadog", {"tags": ["env:prod"], "service": "audit", "hostname": "gw"}),
    ("cloudwatch", {}),
    ("cloudwatch", {"too_old": "dead_letter", "log_stream": "one"}),
    ("elastic", {}),
    ("elastic", {"index": "logs-audit", "pipeline": "p"}),
    ("webhook", {}),
    ("webhook", {"format": "array"}),
    ("webhook", {"format": "ndjson", "headers": {"X-Team": "audit"}}),
]
BODY_BYTES_MAX = {
    "splunk": 1_000_000,
    "datadog": 5_000_000,
    "cloudwatch": 4_000_000,  # escaped; what AWS counts is in the codec's own tests
    "elastic": 5_000_000,
    "webhook": 256_000,
}
SUCCESS: dict[str, object] = {
    "splunk": {"text": "Success", "code": 0},
    "datadog": {},
    "cloudwatch": {"nextSequenceToken": "1"},
    "webhook": b"thank you",
}

every_case = pytest.mark.parametrize(("name", "options"), CASES)


def answer_of_success(name: str, request: Request) -> Reply:
    if name == "elastic":
        return reply(200, {"errors": False, "items": [{"create": {"status": 201}}] * len(request.positions)})
    return reply(200, SUCCESS[name])


def events_inside(name: str, options: dict[str, object], request: Request) -> list[bytes]:
    """The events of a request, by a reading of its body that shares nothing with the codec."""
    body = request.body
    if name == "splunk":
        return [found for line in body.split(b"\n") for found in re.findall(rb'\A\{.*?"event":(.*)\}\Z', line)]
    if name == "datadog":
        return [bytes(entry) for entry in msgspec.json.decode(body, type=list[msgspec.Raw])]
    if name == "cloudwatch":
        return [entry["message"].encode() for entry in json.loads(body)["logEvents"]]
    if name == "elastic":
        return body.split(b"\n")[1::2]
    if options.get("format") == "array":
        return [bytes(entry) for entry in msgspec.json.decode(body, type=list[msgspec.Raw])]
    return body.removesuffix(b"\n").split(b"\n")


def members_of(line: bytes) -> bytes:
    """What may be found unchanged in every envelope: the event without its first brace."""
    return line[1:]


def encode(name: str, options: dict[str, object], *lines: bytes, context: Context = CONTEXT) -> tuple[Codec, Encoded]:
    made = codec(name, options)
    return made, made.encode(Batch(lines), context)


ODD_EVENTS = [
    EVENT,
    (
        b'{ "id" : "a b\\u0041\\"" ,\t"timestamp":"2026-06-30T12:34:56Z","tenant_id":"t","actor_type":"U",'
        b'"actor_id":"a",'
        b'"action":"x\\ny","resource_type":"r","resource_id":"r","service":"s","outcome":"FAIL\\"URE","n":1.0e+05,'
        b'"metadata":{"\xc3\xa9":"\xe2\x82\xac","event":{"event":[{}]},"n":0.10}} '
    ),
    event(id="i" * 2000, timestamp="2026-06-30T14:34:56.123456789+02:00"),
    event(timestamp="2026-06-30T12:34:60.5Z", metadata={"timestamp": "2026-06-30T12:34:56.789Z", "service": "x"}),
    event(metadata={"text": "\u2028\u2029\x7f𝄞", "escaped": '"}\\'}),
]


@every_case
def test_the_bytes_of_every_event_arrive(name: str, options: dict[str, object]) -> None:
    """Spelling, order and white space of each event stand in its envelope as they came in."""
    _, encoded = encode(name, options, *ODD_EVENTS)
    found: dict[int, bytes] = {}
    for request in encoded.requests:
        found.update(zip(request.positions, events_inside(name, options, request), strict=True))
    assert not encoded.refused
    for position, line in enumerate(ODD_EVENTS):
        expected = members_of(line)
        if name == "datadog" and "service" in options:  # this option renames one key, and nothing else
            expected = re.sub(rb'"service"(:"[a-z-]+","outcome")', rb'"event_service"\1', expected)
        assert found[position].strip().endswith(expected.strip())
        json.loads(found[position])


@every_case
@given(sizes=st.lists(st.sampled_from([0, 50, 3_000, 90_000, 300_000, 1_100_000]), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None)
def test_positions_cover_the_batch_once_within_the_limits(
    name: str, options: dict[str, object], sizes: list[int]
) -> None:
    """Each event is in one request or refused; only the request of a single event exceeds the provider's size."""
    codec_, encoded = encode(name, options, *(event(metadata={"pad": "x" * size}) for size in sizes))
    positions = [at for request in encoded.requests for at in request.positions]
    refused = [refusal.position for refusal in encoded.refused]
    assert sorted(positions + refused) == list(range(len(sizes)))
    assert codec_.limits.bytes_max <= BODY_BYTES_MAX[name]
    for request in encoded.requests:
        assert request.positions
        assert len(request.body) <= BODY_BYTES_MAX[name] or len(request.positions) == 1


@every_case
def test_a_batch_within_the_limits_is_one_request(name: str, options: dict[str, object]) -> None:
    """The limits leave room for envelopes, so that full batches are not cut into uneven parts."""
    made = codec(name, options)
    count = made.limits.events_max
    line = event(metadata={"pad": "x" * max(0, made.limits.bytes_max // count - len(event(metadata={"pad": ""})) - 1)})
    requests = made.encode(Batch([line] * count), CONTEXT).requests
    single = name == "webhook" and options.get("format", "single") == "single"
    if len(line) * count <= made.limits.bytes_max:
        assert len(requests) == (count if single else 1)


@every_case
def test_encoding_is_repeatable(name: str, options: dict[str, object]) -> None:
    """The same batch at the same moment makes the same bytes: nothing is kept between calls."""
    made = codec(name, options)
    assert made.encode(Batch(ODD_EVENTS), CONTEXT) == made.encode(Batch(ODD_EVENTS), CONTEXT)


@every_case
def test_success_is_delivered(name: str, options: dict[str, object]) -> None:
    """The provider's own success is one."""
    made, encoded = encode(name, options, EVENT, EVENT)
    for request in encoded.requests:
        assert isinstance(made.classify(request, answer_of_success(name, request), CONTEXT), Delivered)


@every_case
@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405, 409, 418, 451])
def test_what_may_be_a_setting_keeps_everything(name: str, options: dict[str, object], status: int) -> None:
    """Redirects, credentials and addresses wait for an operator, with words that say so."""
    made, encoded = encode(name, options, EVENT)
    outcome = made.classify(encoded.requests[0], reply(status, b"<html>"), CONTEXT)
    assert isinstance(outcome, Misconfigured)
    assert outcome.code
    assert len(outcome.reason) > 20


@every_case
def test_too_large_is_halved(name: str, options: dict[str, object]) -> None:
    """413 splits."""
    made, encoded = encode(name, options, EVENT, EVENT)
    assert isinstance(made.classify(encoded.requests[0], reply(413), CONTEXT), Split)


@every_case
@pytest.mark.parametrize("wish", ["90", "Tue, 30 Jun 2026 12:36:30 GMT"])
def test_throttling_passes_on_when_to_come_back(name: str, options: dict[str, object], wish: str) -> None:
    """429 lowers the rate; Retry-After counts as seconds and as a date."""
    made, encoded = encode(name, options, EVENT)
    outcome = made.classify(encoded.requests[0], reply(429, b"slow down", retry_after=wish), CONTEXT)
    assert isinstance(outcome, Retry)
    assert (outcome.throttled, outcome.after_s) == (True, 90.0)


@every_case
@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 520, 599])
def test_trouble_is_tried_again(name: str, options: dict[str, object], status: int) -> None:
    """Server faults pass."""
    made, encoded = encode(name, options, EVENT)
    assert isinstance(made.classify(encoded.requests[0], reply(status, b"<html>", retry_after="5"), CONTEXT), Retry)


MEMBERS_OF_ANSWERS = [
    *("code", "text", "ackId", "invalid-event-number", "acks"),
    *("errors", "items", "create", "status", "error", "type", "reason"),
    *("__type", "message", "rejectedLogEventsInfo", "tooOldLogEventEndIndex"),
]
JSON_BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS_OF_ANSWERS), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@every_case
@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=60) | JSON_BODIES | st.just(b"[" * 50_000),
    header=st.text(max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_nothing_that_comes_back_raises(
    name: str, options: dict[str, object], status: int, body: bytes, header: str
) -> None:
    """Any answer has a verdict; what is told apart is told of each event once."""
    made, encoded = encode(name, options, EVENT, EVENT)
    request = encoded.requests[0]
    names = ("retry-after", "date", "x-amzn-errortype", "x-amz-retry-after", "x-ratelimit-reset")
    outcome = made.classify(request, Reply(status, dict.fromkeys(names, header), body), CONTEXT)
    if isinstance(outcome, Partial):
        told = [*outcome.delivered, *outcome.retry, *(refusal.position for refusal in outcome.refused)]
        assert sorted(told) == sorted(request.positions)
    if isinstance(outcome, Delivered):
        assert 200 <= status < 300


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TIMESTAMPS = (
    st.sampled_from(
        [
            "2026-06-30T12:34:56.789Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999-23:59",
            "2016-12-31t23:59:60z",
        ]
    )
    | TEXT
)
ANY_EVENT = st.fixed_dictionaries(
    dict.fromkeys(("tenant_id", "actor_type", "actor_id", "resource_type", "resource_id", "service"), TEXT)
    | {"id": TEXT, "timestamp": TIMESTAMPS, "action": TEXT, "outcome": TEXT},
    optional={
        "metadata": st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=3),
        "@timestamp": TEXT,
        "message": st.none() | TEXT,
        "late": st.booleans(),
        "event_timestamp": TEXT,
    },
)


@every_case
@given(
    documents=st.lists(ANY_EVENT, min_size=1, max_size=4),
    ascii_only=st.booleans(),
    now_s=st.sampled_from([0.0, NOW_S, 4e9]),
)
@settings(max_examples=40, deadline=None)
def test_any_event_can_be_encoded(
    name: str, options: dict[str, object], documents: list[dict[str, Any]], ascii_only: bool, now_s: float
) -> None:
    """Whatever the members say, at whatever time: every event is in a body that is valid JSON, or is refused."""
    lines = [json.dumps(document, ensure_ascii=ascii_only).encode() for document in documents]
    context = Context(now_s=now_s, channel=CHANNEL, instance="gw-01")
    _, encoded = encode(name, options, *lines, context=context)
    refused = {refusal.position for refusal in encoded.refused}
    found = {at for request in encoded.requests for at in request.positions}
    assert found | refused == set(range(len(lines)))
    for request in encoded.requests:
        for entry in events_inside(name, options, request):
            json.loads(entry, object_pairs_hook=refuse_repeated_keys)


def refuse_repeated_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@every_case
def test_no_repr_shows_a_credential(name: str, options: dict[str, object]) -> None:
    """Codec, settings, requests and outcomes can be printed."""
    made, encoded = encode(name, options, EVENT)
    request = encoded.requests[0]
    printed: list[object] = [made, settings_of(name, options), encoded, signed(made, request)]
    quoted = " ".join(CREDENTIALS[name].values())
    bodies = [
        quoted.encode(),
        {"text": quoted, "code": 4},
        {"__type": "ResourceNotFoundException", "message": quoted},
        {"__type": "Odd", "message": quoted},
        {"error": {"type": "x", "reason": quoted}},
    ]
    for status in (200, 400, 401, 404, 413, 429, 503):
        printed += [made.classify(request, reply(status, body), CONTEXT) for body in bodies]
    shown = " ".join(repr(value) for value in printed)
    for secret in CREDENTIALS[name].values():
        assert secret not in shown


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_a_form_is_complete(name: str) -> None:
    """Every field says what it is for; credentials are secret; defaults fit their patterns and choices."""
    provider = PROVIDERS[name]
    assert provider.name == name
    assert all((provider.label, provider.endpoint_help, provider.credentials_help, provider.example_endpoint))
    assert len({field.name for field in provider.fields}) == len(provider.fields)
    for field in provider.fields:
        assert field.label
        assert field.help
        assert field.secret == (field.where == "credential")
        assert bool(field.choices) == (field.type == "enum")
        assert field.default is None or not field.choices or field.default in field.choices
        assert not isinstance(field.default, str) or re.search(field.pattern or "", field.default)


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_names_of_the_contract_are_there(name: str) -> None:
    """Credentials and options are called as the public contract calls them."""
    contract = {
        "splunk": {"token", "index", "source", "sourcetype", "host", "ack"},
        "datadog": {"token", "service", "source", "tags", "hostname"},
        "cloudwatch": {"access_key_id", "secret_access_key", "region", "log_group", "log_stream", "too_old"},
        "elastic": {"token", "index", "pipeline"},
        "webhook": {"secret", "headers", "format"},
    }
    assert contract[name] <= {field.name for field in PROVIDERS[name].fields}


@pytest.mark.parametrize("name", ["splunk", "datadog"])
def test_what_stands_beside_each_event_is_short(name: str) -> None:
    """A batch of small events grows by as much as its options have, for each of them."""
    for field in PROVIDERS[name].fields:
        if field.where == "option" and field.type == "string" and field not in TLS_FIELDS:
            assert re.fullmatch(field.pattern or "", "x" * 255)
            assert not re.fullmatch(field.pattern or "", "x" * 256)
