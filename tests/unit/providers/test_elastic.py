from __future__ import annotations

import hashlib
import json
import tracemalloc
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.errors import RequestRejected
from gateway.providers.codec import Batch, Delivered, Misconfigured, Outcome, Partial, Refusal, Request, Retry, Split
from gateway.providers.elastic import encoded_api_key
from tests.provider_cases import CONTEXT, EVENT, codec, event, headers, reply

ACTION = b'{"create":{"_index":"truthlocks-audit","_id":"evt_abc123"}}\n'
DOCUMENT = b'{"@timestamp":"2026-06-30T12:34:56.789Z",'


def sent(*lines: bytes, options: dict[str, object] | None = None, endpoint: str = "") -> Request:
    (request,) = codec("elastic", options, endpoint=endpoint).encode(Batch(lines), CONTEXT).requests
    return request


def verdict(status: int, body: object, *, events: int = 3, **fields: str) -> Outcome:
    return codec("elastic").classify(sent(*[EVENT] * events), reply(status, body, **fields), CONTEXT)


def item(status: int, type_: str = "", reason: str = "words", **fields: object) -> dict[str, object]:
    error = {"error": {"type": type_, "reason": reason}} if type_ else {}
    return {"create": {"status": status, **error, **fields}}


def bulk(*items: dict[str, object], errors: bool = True) -> Outcome:
    return verdict(200, {"errors": errors, "items": list(items)}, events=len(items))


OK = item(201)


def test_vector_of_one_event() -> None:
    """The reference event makes exactly these 489 bytes, with a line end after the last line."""
    request = sent(EVENT)
    assert request.body == ACTION + DOCUMENT + EVENT[1:] + b"\n"
    assert len(request.body) == 489
    assert headers(request) == {
        "authorization": "ApiKey VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw==",
        "content-type": "application/x-ndjson",
    }
    assert request.url == (
        "https://es.example.com:9200/_bulk?filter_path="
        "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"
    )
    assert request.reply_bytes_max == 16 << 20


def test_two_lines_for_each_event() -> None:
    """Actions and documents take turns; large bodies ask for gzip."""
    request = sent(EVENT, EVENT, EVENT)
    assert request.body == (ACTION + DOCUMENT + EVENT[1:] + b"\n") * 3
    assert request.gzip


@pytest.mark.parametrize(
    ("event_id", "expected"),
    [
        ('with "quotes" \\ and é', 'with "quotes" \\ and é'),
        ("x" * 512, "x" * 512),
        ("x" * 513, "sha256:" + hashlib.sha256(b"x" * 513).hexdigest()),
        ("é" * 300, "sha256:" + hashlib.sha256(("é" * 300).encode()).hexdigest()),
    ],
)
def test_ids_of_any_kind_become_document_ids(event_id: str, expected: str) -> None:
    """Escaped where JSON needs it, and hashed where Elasticsearch would refuse the length."""
    action = json.loads(sent(event(id=event_id)).body.split(b"\n")[0])
    assert action["create"]["_id"] == expected


def test_an_empty_id_is_made_from_the_event() -> None:
    """The same event keeps the same id."""
    bodies = [sent(event(id="")).body for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert json.loads(bodies[0].split(b"\n")[0])["create"]["_id"].startswith("sha256:")


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-06-30T12:34:56Z", "2026-06-30T12:34:56Z"),
        ("2026-06-30T12:34:56.123456789Z", "2026-06-30T12:34:56.123456789Z"),
        ("2026-06-30T12:34:56.1234567891Z", "2026-06-30T12:34:56.123456Z"),
        ("2026-06-30T14:34:56.789+02:00", "2026-06-30T12:34:56.789000Z"),
        ("2026-06-30 12:34:56z", "2026-06-30T12:34:56.000000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00+05:00", "2026-06-30T12:35:00.000Z"),
        ("whenever", "2026-06-30T12:35:00.000Z"),
    ],
)
def test_timestamps_are_those_that_elasticsearch_reads(timestamp: str, expected: str) -> None:
    """The usual form is passed on, others are written in UTC, and what is outside its calendar gets the present."""
    document = json.loads(sent(event(timestamp=timestamp)).body.split(b"\n")[1])
    assert document["@timestamp"] == expected
    assert document["timestamp"] == timestamp


def test_an_own_at_timestamp_is_not_repeated() -> None:
    """Elasticsearch refuses a document that has a key twice: the event's own stays."""
    line = event(**{"@timestamp": "2026-01-01T00:00:00Z"})
    assert sent(line).body == ACTION + line + b"\n"


@pytest.mark.parametrize(
    ("token", "credential"),
    [
        ("VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw", "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="),
        ("VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWk=", "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWk="),
        ("ApiKey VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWk=", "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWk="),
        ("essu_abc:def", "essu_abc:def"),
        ("plain-key", "plain-key"),
    ],
)
def test_api_keys_in_every_spelling(token: str, credential: str) -> None:
    """Encoded keys stay, pairs are encoded, a pasted scheme goes."""
    assert encoded_api_key(token) == credential


@pytest.mark.parametrize(
    ("endpoint", "options", "path", "index"),
    [
        ("https://h:9200/", {}, "/_bulk", "truthlocks-audit"),
        ("https://h:9200/proxy", {"index": "logs-audit"}, "/proxy/_bulk", "logs-audit"),
        ("https://h:9200/_bulk", {}, "/_bulk", "truthlocks-audit"),
        ("https://h:9200/my-index/_bulk", {}, "/my-index/_bulk", "my-index"),
        ("https://h:9200/my-index/_bulk", {"index": "other"}, "/my-index/_bulk", "other"),
    ],
)
def test_the_target_comes_from_option_or_address(
    endpoint: str, options: dict[str, object], path: str, index: str
) -> None:
    """An address that ends in ``_bulk`` is kept; the option comes before the index in it."""
    request = sent(EVENT, options=options, endpoint=endpoint)
    assert urlsplit(request.url).path == path
    assert json.loads(request.body.split(b"\n")[0])["create"]["_index"] == index


def test_the_query_of_the_address_is_kept() -> None:
    """A pipeline may be given there or as option, which comes first."""
    for options, pipeline in [({}, "p"), ({"pipeline": "q"}, "q")]:
        request = sent(EVENT, options=dict(options), endpoint="https://h/i/_bulk?pipeline=p&refresh=true")
        query = parse_qs(urlsplit(request.url).query)
        assert query["pipeline"] == [pipeline]
        assert query["refresh"] == ["true"]
        assert "items.*.status" in query["filter_path"][0]


@pytest.mark.parametrize("index", ["Upper", "-x", "a b", "a,b", "..", "a*", "x" * 256])
def test_refuses_what_is_no_name_of_an_index(index: str) -> None:
    """The error names the option."""
    with pytest.raises(RequestRejected, match=r"options\.index"):
        codec("elastic", {"index": index})


def test_bodies_stay_below_five_megabytes() -> None:
    """Cut by the size of both lines; a larger event goes alone."""
    lines = [event(metadata={"pad": "x" * 1_200_000})] * 5 + [event(metadata={"pad": "x" * 6_000_000})]
    requests = codec("elastic").encode(Batch(lines), CONTEXT).requests
    assert [list(request.positions) for request in requests] == [[0, 1, 2, 3], [4], [5]]


def test_success() -> None:
    """No errors and an item for each event: delivered."""
    assert bulk(OK, OK, errors=False) == Delivered()


def test_a_failure_store_that_took_events_is_a_warning() -> None:
    """They are stored, though not where they should be."""
    outcome = bulk(OK, item(201, failure_store="used"), errors=False)
    assert isinstance(outcome, Delivered)
    assert "1 events" in outcome.warning


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Kibana</html>",
        b"{}",
        {"errors": False},
        {"errors": False, "items": [OK]},
        {"errors": True, "items": [OK, OK, {}]},
        {"errors": False, "items": [OK, OK, OK, OK]},
    ],
)
def test_an_answer_for_other_than_all_events_is_tried_again(body: object) -> None:
    """A truncated answer, or none of Elasticsearch's: nothing can be told from it."""
    assert isinstance(verdict(200, body), Retry)


def test_an_event_that_is_there_already_is_delivered() -> None:
    """409 is what a repeated event gets."""
    assert bulk(OK, item(409, "version_conflict_engine_exception")) == Delivered()


@pytest.mark.parametrize(
    "type_",
    [
        "document_parsing_exception",
        "mapper_parsing_exception",
        "strict_dynamic_mapping_exception",
        "illegal_argument_exception",
    ],
)
def test_an_event_that_does_not_fit_is_refused(type_: str) -> None:
    """It alone; the others are delivered."""
    outcome = bulk(OK, item(400, type_), OK)
    assert isinstance(outcome, Partial)
    assert (list(outcome.delivered), list(outcome.retry)) == ([0, 2], [])
    assert outcome.refused == (Refusal(1, type_, f"Elasticsearch: {type_} (status 400): words"),)


def test_a_failed_failure_store_refuses_unless_it_may_pass() -> None:
    """A refused event that the failure store did not take either is refused; overload still passes."""
    outcome = bulk(OK, item(403, "odd", failure_store="failed"), item(503, "x", failure_store="failed"))
    assert isinstance(outcome, Partial)
    assert [refusal.position for refusal in outcome.refused] == [1]
    assert list(outcome.retry) == [2]


@pytest.mark.parametrize(
    ("status", "type_", "throttled"),
    [
        (429, "es_rejected_execution_exception", True),
        (429, "circuit_breaking_exception", True),
        (429, "cluster_block_exception", True),
        (503, "unavailable_shards_exception", False),
        (500, "exception", False),
    ],
)
def test_overload_is_tried_again_for_these_events_alone(status: int, type_: str, throttled: bool) -> None:
    """What was stored is not sent again; if nothing was, the whole request is."""
    outcome = bulk(OK, item(status, type_))
    assert isinstance(outcome, Partial)
    assert (list(outcome.delivered), list(outcome.retry), outcome.throttled) == ([0], [1], throttled)
    assert not outcome.misconfigured
    whole = bulk(item(status, type_), item(status, type_))
    assert isinstance(whole, Retry)
    assert (whole.throttled, whole.code) == (throttled, type_)


@pytest.mark.parametrize(
    ("status", "type_", "reason"),
    [
        (403, "security_exception", "action is unauthorized"),
        (403, "cluster_block_exception", "index read-only"),
        (404, "index_not_found_exception", "no such index"),
        (400, "illegal_argument_exception", "pipeline with id [x] does not exist"),
        (400, "index_closed_exception", "closed"),
    ],
)
def test_settings_do_not_cost_events(status: int, type_: str, reason: str) -> None:
    """A missing right, index or pipeline keeps the events, though it is told for each of them."""
    outcome = bulk(item(status, type_, reason), OK)
    assert isinstance(outcome, Partial)
    assert (list(outcome.delivered), list(outcome.retry), outcome.misconfigured) == ([1], [0], True)
    whole = bulk(item(status, type_, reason))
    assert isinstance(whole, Misconfigured)
    assert whole.code == type_
    assert reason in whole.reason


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, Misconfigured),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (405, Misconfigured),
        (413, Split),
        (429, Retry),
        (500, Retry),
        (502, Retry),
        (503, Retry),
        (504, Retry),
    ],
)
def test_statuses_of_the_whole_request(status: int, kind: type[Outcome]) -> None:
    """With Elasticsearch's own error, or with anything else."""
    for body in (
        b"<html>",
        {"error": {"type": "some_exception", "reason": "words"}, "status": status},
        {"error": "words"},
    ):
        assert isinstance(verdict(status, body), kind)


def test_a_refused_request_may_be_wrong_as_a_whole() -> None:
    """A 400 is halved, and if every part fails the destination is at fault, not the events."""
    outcome = verdict(400, {"error": {"type": "parse_exception", "reason": "words"}})
    assert outcome == Split(
        "Elasticsearch refuses the request (HTTP 400): words", code="parse_exception", alone="degrade"
    )


def test_another_server_is_recognised() -> None:
    """Without Elasticsearch's product header the text asks whether the address is Kibana's."""
    elsewhere, there = verdict(404, b"<html>"), verdict(404, b"{}", x_elastic_product="Elasticsearch")
    assert isinstance(elsewhere, Misconfigured)
    assert isinstance(there, Misconfigured)
    assert "Kibana" in elsewhere.reason
    assert "Kibana" not in there.reason


def memory_for(status: int, body: bytes) -> tuple[Outcome, int]:
    """The verdict, and the bytes that it took at most."""
    request = sent(EVENT, EVENT)
    tracemalloc.start()
    try:
        outcome = codec("elastic").classify(request, reply(status, body), CONTEXT)
        return outcome, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_answer_of_more_items_than_events_is_not_read() -> None:
    """What is made of each takes many times its bytes. Fewer events are sent, which Elasticsearch stores once."""
    flood = b'{"errors":false,"items":[%b],"items":[{"a":{"status":201}},{"a":{"status":201}}]}'
    outcome, size = memory_for(200, flood % b",".join([b'{"":{"status":1}}'] * 50_000))
    assert isinstance(outcome, Split)
    assert (outcome.code, outcome.alone) == ("unreadable", "degrade")
    assert size < 1 << 20


def test_reasons_may_quote_documents() -> None:
    """Braces in the words for some events do not make an answer one of too many items."""
    outcome = bulk(OK, item(400, "document_parsing_exception", "{" * 900))
    assert isinstance(outcome, Partial)
    assert outcome.delivered == [0]


def test_an_error_that_is_none_takes_no_memory() -> None:
    """Whatever stands in the place of the error's name and words is not made into anything."""
    outcome, size = memory_for(400, b'{"error":[%b]}' % b",".join([b"[]"] * 300_000))
    assert isinstance(outcome, Split)
    assert size < 1 << 20
