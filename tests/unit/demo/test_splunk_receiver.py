"""HEC's habits, request by request."""

import gzip
import uuid
from typing import Any

import pytest

from gateway.demo.receivers import Answer, Refuse, SplunkReceiver
from gateway.demo.receivers.splunk import TOKEN
from tests.unit.demo.samples import call, event, gzipped_twice, said

EVENT_PATH = "/services/collector/event"
ACK_PATH = "/services/collector/ack"
AUTHORIZED: dict[str, Any] = {"authorization": f"Splunk {TOKEN}"}
CHANNEL = str(uuid.UUID(int=7))


def envelope(item: bytes, **more: Any) -> bytes:
    extra = "".join(f'"{name}":{value},' for name, value in more.items()).encode()
    return b'{"time":1782822896.789,%b"event":%b}' % (extra, item)


def post(receiver: SplunkReceiver, body: bytes, path: str = EVENT_PATH, **headers: Any) -> Answer:
    return receiver.respond(call(path, body, **AUTHORIZED, **headers))


@pytest.mark.parametrize("path", ["/services/collector", EVENT_PATH, "/services/collector/event/1.0"])
@pytest.mark.parametrize("between", [b"", b"\n"])
def test_stores_events_as_the_bytes_that_they_were(path: str, between: bytes) -> None:
    """Every event comes out of its envelope byte for byte, on each alias and with either way of joining."""
    receiver = SplunkReceiver()
    events = [event(number) for number in range(3)]
    answer = post(receiver, between.join(map(envelope, events)), path)
    assert (answer.status, said(answer)) == (200, {"text": "Success", "code": 0})
    assert list(receiver.events.values()) == events
    assert receiver.duplicates == {}


def test_counts_what_came_twice() -> None:
    """A repeated event is stored once and counted twice."""
    receiver = SplunkReceiver()
    post(receiver, envelope(event(1)))
    post(receiver, envelope(event(1)) + envelope(event(2)))
    assert receiver.duplicates == {"evt_0001": 2}
    assert len(receiver.events) == 2


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"),
    [
        ({}, {}, 401, 2),
        ({}, {"token": TOKEN}, 400, 16),
        ({"authorization": TOKEN}, {}, 401, 3),
        ({"authorization": f"Bearer {TOKEN}"}, {}, 401, 3),
        ({"authorization": "Splunk wrong"}, {}, 403, 4),
    ],
)
def test_names_the_fault_of_a_token(headers: dict[str, str], query: dict[str, str], status: int, code: int) -> None:
    """Each fault of the token has its code and status, and nothing is stored."""
    receiver = SplunkReceiver()
    answer = receiver.respond(call(EVENT_PATH, envelope(event(1)), query=query, **headers))
    assert (answer.status, said(answer)["code"]) == (status, code)
    assert receiver.events == {}


def test_refuses_a_disabled_token() -> None:
    """A disabled token is code 1 under 403."""
    receiver = SplunkReceiver()
    receiver.token_enabled = False
    answer = post(receiver, envelope(event(1)))
    assert (answer.status, said(answer)["code"]) == (403, 1)


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_body_is_code_5(body: bytes) -> None:
    """No data is an error even with a good token."""
    answer = post(SplunkReceiver(), body)
    assert (answer.status, said(answer)["code"]) == (400, 5)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b'{"time":1}', 12),
        (b'{"event":" "}', 13),
        (b'{"event":null}', 6),
        (b'{"event":false}', 6),
        (b'{"event":{},"time":"noon"}', 6),
        (b'{"event":{"id":"x"', 6),
        (b'{"event":{"id":"\xff"}}', 6),
        (b"[1]", 6),
        (b'{"event":{},"fields":{"a":{"b":1}}}', 15),
    ],
)
def test_indexes_what_precedes_a_bad_object(bad: bytes, code: int) -> None:
    """The answer names the bad object; those before it are stored, it and those after are not."""
    receiver = SplunkReceiver()
    body = b"".join([envelope(event(0)), envelope(event(1)), bad, envelope(event(3))])
    answer = post(receiver, body)
    content = said(answer)
    assert (answer.status, content["code"]) == (400, code)
    if b"\xff" in bad:  # bytes that are no UTF-8 spoil the request as a whole
        assert receiver.events == {}
    else:
        assert content["invalid-event-number"] == 2
        assert list(receiver.events) == ["evt_0000", "evt_0001"]


def test_an_unknown_envelope_key_ends_the_reading_under_200() -> None:
    """Success is claimed although the object and all after it are lost; alone in a body it is code 5."""
    receiver = SplunkReceiver()
    body = envelope(event(0)) + envelope(event(1), tenant='"t"') + envelope(event(2))
    assert said(post(receiver, body))["code"] == 0
    assert list(receiver.events) == ["evt_0000"]
    assert said(post(receiver, envelope(event(1), tenant='"t"')))["code"] == 5


def test_a_forbidden_index_names_the_object_after_it() -> None:
    """Code 7 counts differently from the other codes."""
    receiver = SplunkReceiver(indexes=frozenset({"main"}))
    answer = post(receiver, envelope(event(0), index='"main"') + envelope(event(1), index='"secret"'))
    assert (answer.status, said(answer)) == (
        400,
        {"text": "Incorrect index", "code": 7, "invalid-event-number": 2},
    )
    assert list(receiver.events) == ["evt_0000"]


def test_reads_the_first_gzip_member_alone() -> None:
    """What stands in a second member is lost without an error."""
    receiver = SplunkReceiver()
    answer = post(receiver, gzipped_twice(envelope(event(0)), envelope(event(1))), content_encoding="gzip")
    assert answer.status == 200
    assert list(receiver.events) == ["evt_0000"]


def test_refuses_encodings_sizes_and_damage() -> None:
    """Deflate is 415, an oversized body 413, a cut gzip stream code 6."""
    receiver = SplunkReceiver(content_bytes_max=1_000)
    assert post(receiver, b"x", content_encoding="deflate").status == 415
    assert post(receiver, b" " * 1_001).status == 413
    assert said(post(receiver, gzip.compress(envelope(event(0)))[:-4], content_encoding="gzip"))["code"] == 6
    assert said(post(receiver, b"not gzip", content_encoding="gzip"))["code"] == 6


def test_knows_its_routes() -> None:
    """Health needs no token; other paths and methods do not exist."""
    receiver = SplunkReceiver()
    assert said(receiver.respond(call("/services/collector/health", method="GET")))["code"] == 17
    receiver.healthy = False
    assert receiver.respond(call("/services/collector/health/1.0", method="GET")).status == 503
    assert post(receiver, b"{}", "/services/collectors").status == 404
    assert receiver.respond(call(EVENT_PATH, method="GET", **AUTHORIZED)).status == 405


def test_refused_events_cut_the_request() -> None:
    """An event that the script refuses is treated like one that Splunk cannot read."""
    receiver = SplunkReceiver()
    body = b"".join(envelope(event(number)) for number in range(3))
    answer = receiver.respond(call(EVENT_PATH, body, **AUTHORIZED), Refuse(lambda item: b"evt_0001" in item))
    assert said(answer)["invalid-event-number"] == 1
    assert list(receiver.events) == ["evt_0000"]


class TestAcknowledgement:
    def ask(self, receiver: SplunkReceiver, body: bytes, channel: str = CHANNEL) -> dict[str, object]:
        return said(post(receiver, body, ACK_PATH, x_splunk_request_channel=channel))

    def test_each_true_is_told_once(self) -> None:
        """Ids count from 0 on each channel; a second question is answered false, and so is an unknown id."""
        receiver = SplunkReceiver(ack=True)
        for expected in (0, 1):
            answer = post(receiver, envelope(event(expected)), x_splunk_request_channel=CHANNEL)
            assert said(answer)["ackId"] == expected
        assert self.ask(receiver, b'{"acks":[0,5]}') == {"acks": {"0": True, "5": False}}
        assert self.ask(receiver, b'{"acks":[0,1]}') == {"acks": {"0": False, "1": True}}
        assert self.ask(receiver, b'{"acks":[0]}', str(uuid.UUID(int=8))) == {"acks": {"0": False}}

    def test_nothing_is_true_before_it_is_indexed(self) -> None:
        """While indexing is held, ids stay false, and are told later."""
        receiver = SplunkReceiver(ack=True)
        receiver.indexing = False
        post(receiver, envelope(event(0)), x_splunk_request_channel=CHANNEL)
        assert self.ask(receiver, b'{"acks":[0]}') == {"acks": {"0": False}}
        receiver.indexing = True
        assert self.ask(receiver, b'{"acks":[0]}') == {"acks": {"0": True}}

    @pytest.mark.parametrize(("channel", "code"), [("", 10), ("main", 11)])
    def test_a_channel_is_required(self, channel: str, code: int) -> None:
        """Without a channel, or with one that is no GUID, neither events nor questions are taken."""
        receiver = SplunkReceiver(ack=True)
        assert said(post(receiver, envelope(event(0)), x_splunk_request_channel=channel))["code"] == code
        assert self.ask(receiver, b'{"acks":[0]}', channel)["code"] == code
        assert receiver.events == {}

    def test_a_token_without_it_says_so(self) -> None:
        """Replies carry no id, and a question is code 14."""
        receiver = SplunkReceiver()
        assert "ackId" not in said(post(receiver, envelope(event(0)), x_splunk_request_channel=CHANNEL))
        assert self.ask(receiver, b'{"acks":[0]}')["code"] == 14

    def test_the_indexed_part_of_a_refused_request_has_an_id(self) -> None:
        """An error in the middle still tells how to follow what came before."""
        receiver = SplunkReceiver(ack=True)
        answer = post(receiver, envelope(event(0)) + b'{"time":1}', x_splunk_request_channel=CHANNEL)
        assert said(answer) == {
            "text": "Event field is required",
            "code": 12,
            "invalid-event-number": 1,
            "ackId": 0,
        }
        assert said(post(receiver, b'{"time":1}', x_splunk_request_channel=CHANNEL)).get("ackId") is None


def test_counts_without_keeping_when_asked() -> None:
    """For measurements, ids are counted and no bytes are kept."""
    receiver = SplunkReceiver(count_only=True)
    post(receiver, b"\n".join(envelope(event(number)) for number in (1, 2, 2)))
    assert receiver.stored.counts == {"evt_0001": 1, "evt_0002": 2}
    assert receiver.events == {}
