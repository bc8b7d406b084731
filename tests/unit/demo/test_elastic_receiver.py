"""Elasticsearch's bulk interface, request by request."""

import base64
import gzip
from typing import Any

import pytest

from gateway.demo.receivers import Answer, ElasticReceiver, Refuse
from gateway.demo.receivers.elastic import KEY_ID, KEY_SECRET, taken_out
from tests.unit.demo.samples import call, event, said

KEY = base64.b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()
HEADERS: dict[str, Any] = {"authorization": f"ApiKey {KEY}", "content_type": "application/x-ndjson"}
STAMP = b'{"@timestamp":"2026-06-30T12:34:56.789Z",'


def lines(number: int, item: bytes | None = None, operation: str = "create") -> bytes:
    document = STAMP + (item or event(number))[1:]
    return b'{"%b":{"_index":"audit","_id":"evt_%04d"}}\n%b\n' % (operation.encode(), number, document)


def post(
    receiver: ElasticReceiver,
    body: bytes,
    path: str = "/_bulk",
    query: dict[str, str] | None = None,
    refuse: Refuse | None = None,
    **more: Any,
) -> Answer:
    return receiver.respond(call(path, body, query=query, **{**HEADERS, **more}), refuse)


def statuses(answer: Answer) -> list[int]:
    return [item["create"]["status"] for item in said(answer)["items"]]


def test_stores_events_as_the_bytes_that_they_were() -> None:
    """The timestamp in front goes, the rest is the event byte for byte; the product header is there."""
    receiver = ElasticReceiver()
    answer = post(receiver, lines(0) + lines(1))
    assert (answer.status, said(answer)["errors"], statuses(answer)) == (200, False, [201, 201])
    assert answer.headers["X-Elastic-Product"] == "Elasticsearch"
    assert receiver.events == {"evt_0000": event(0), "evt_0001": event(1)}


def test_a_document_without_the_stamp_in_front_is_the_event() -> None:
    """An event that has the member itself, elsewhere, is left alone."""
    own = b'{"id":"a","@timestamp":"2026-06-30T12:34:56Z"}'
    assert taken_out(own) == own


def test_a_repeated_create_is_a_conflict() -> None:
    """The second create of an id is 409 and does not store again; another index is another matter."""
    receiver = ElasticReceiver()
    assert statuses(post(receiver, lines(0) + lines(0))) == [201, 409]
    answer = post(receiver, lines(0))
    assert said(answer)["errors"] is True
    assert said(answer)["items"][0]["create"]["error"]["type"] == "version_conflict_engine_exception"
    assert receiver.duplicates == {}
    assert statuses(post(receiver, lines(0).replace(b'"audit"', b'"other"'))) == [201]


def test_takes_the_index_from_the_path() -> None:
    """An action without an index uses the one in the address."""
    receiver = ElasticReceiver()
    post(receiver, b'{"create":{"_id":"a"}}\n' + STAMP + event(0)[1:] + b"\n", "/audit-x/_bulk")
    assert list(receiver.documents) == [("audit-x", "a")]


@pytest.mark.parametrize(
    "authorization", ["", "ApiKey", "ApiKey wrong", f"Basic {KEY}", f"ApiKey {KEY_ID}:{KEY_SECRET}"]
)
def test_checks_the_key(authorization: str) -> None:
    """Anything but the encoded pair under ApiKey is 401 with a challenge."""
    answer = post(ElasticReceiver(), lines(0), authorization=authorization)
    assert answer.status == 401
    assert said(answer)["error"]["type"] == "security_exception"
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize(
    ("body", "more", "query", "status"),
    [
        (b"", {}, {}, 400),
        (lines(0)[:-1], {}, {}, 400),
        (b'{"upsert":{}}\n{}\n', {}, {}, 400),
        (b'{"create":{"_id":"a"}}\n', {}, {}, 400),
        (b"nonsense\n", {}, {}, 400),
        (lines(0), {}, {"unknown": "1"}, 400),
        (lines(0), {"content_type": "text/plain"}, {}, 406),
        (lines(0), {"content_encoding": "zstd"}, {}, 200),
        (b"\x28\xb5\x2f\xfd", {"content_encoding": "zstd"}, {}, 400),
    ],
)
def test_refuses_requests_as_a_whole(body: bytes, more: dict[str, Any], query: dict[str, str], status: int) -> None:
    """What cannot be read as a bulk request is refused; an unknown encoding is taken for plain text."""
    assert post(ElasticReceiver(), body, query=query, **more).status == status


def test_names_the_missing_newline() -> None:
    """The last line must end with one."""
    assert "newline" in said(post(ElasticReceiver(), lines(0)[:-1]))["error"]["reason"]


def test_judges_each_item() -> None:
    """A bad document, an operation that data streams refuse and a mapping conflict fail alone, in their places."""
    receiver = ElasticReceiver(numbers=frozenset({"metadata.count"}))
    answer = post(
        receiver,
        lines(0)
        + b'{"create":{"_index":"audit","_id":"b"}}\n{broken\n'
        + lines(2, operation="index")
        + lines(3, event(3, count="many"))
        + b'{"create":{"_index":"audit","_id":"c"}}\n{"id":"no stamp"}\n'
        + lines(5, event(5, count=5)),
    )
    items = said(answer)["items"]
    assert [next(iter(item.values()))["status"] for item in items] == [201, 400, 400, 400, 400, 201]
    assert [next(iter(item)) for item in items] == ["create", "create", "index", "create", "create", "create"]
    assert items[3]["create"]["error"] == {
        "type": "document_parsing_exception",
        "reason": "failed to parse field [metadata.count] of type [long]",
    }
    assert list(receiver.events) == ["evt_0000", "evt_0005"]


@pytest.mark.parametrize(
    ("status", "type_"), [(400, "document_parsing_exception"), (429, "es_rejected_execution_exception")]
)
def test_refuses_items_by_script(status: int, type_: str) -> None:
    """The script's events fail with its status, the others are stored."""
    receiver = ElasticReceiver()
    answer = post(receiver, lines(0) + lines(1), refuse=Refuse(lambda item: b"evt_0000" in item, status))
    assert statuses(answer) == [status, 201]
    assert said(answer)["items"][0]["create"]["error"]["type"] == type_
    assert list(receiver.events) == ["evt_0001"]


def test_filters_the_answer() -> None:
    """``filter_path`` leaves what it names; without the status, items that succeeded vanish."""
    receiver = ElasticReceiver()
    answer = post(receiver, lines(0), query={"filter_path": "errors,items.*.status,items.*.error"})
    assert said(answer) == {"errors": False, "items": [{"create": {"status": 201}}]}
    answer = post(receiver, lines(1) + lines(0), query={"filter_path": "errors,items.*.error"})
    assert [list(item["create"]) for item in said(answer)["items"]] == [["error"]]


def test_an_unknown_pipeline_fails_every_item() -> None:
    """A pipeline must exist."""
    receiver = ElasticReceiver(pipelines=frozenset({"audit"}))
    assert statuses(post(receiver, lines(0), query={"pipeline": "typo"})) == [400]
    assert statuses(post(receiver, lines(0), query={"pipeline": "audit"})) == [201]


def test_reads_gzip() -> None:
    """A compressed body is read."""
    receiver = ElasticReceiver()
    assert post(receiver, gzip.compress(lines(0)), content_encoding="gzip").status == 200
    assert list(receiver.events) == ["evt_0000"]


def test_answers_the_questions_of_a_connection_test() -> None:
    """Authentication and privileges can be asked with the key alone."""
    receiver = ElasticReceiver()
    assert receiver.respond(call("/_security/_authenticate", method="GET", **HEADERS)).status == 200
    privileges = receiver.respond(call("/_security/user/_has_privileges", b"{}", **HEADERS))
    assert said(privileges)["has_all_requested"] is True
    assert "tagline" in said(receiver.respond(call("/", method="GET", **HEADERS)))
    assert receiver.respond(call("/nothing", method="GET", **HEADERS)).status == 404
