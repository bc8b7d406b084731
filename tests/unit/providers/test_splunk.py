from __future__ import annotations

import json
from typing import cast

import pytest

from gateway.errors import RequestRejected
from gateway.providers.codec import (
    Acknowledging,
    AckReport,
    AwaitAck,
    Batch,
    Delivered,
    Misconfigured,
    Outcome,
    Partial,
    Refusal,
    Request,
    Retry,
    Split,
)
from tests.provider_cases import CHANNEL, CONTEXT, EVENT, codec, event, headers, reply

ENVELOPE = b'{"time":1782822896.789,"host":"truthlocks","source":"truthlocks:audit","sourcetype":"_json","event":'


def sent(events: int, options: dict[str, object] | None = None) -> Request:
    (request,) = codec("splunk", options).encode(Batch([EVENT] * events), CONTEXT).requests
    return request


def verdict(status: int, body: object, *, events: int = 3, ack: bool = False, **fields: str) -> Outcome:
    options: dict[str, object] = {"ack": ack}
    return codec("splunk", options).classify(sent(events, options), reply(status, body, **fields), CONTEXT)


def acknowledging(**options: object) -> Acknowledging:
    return cast("Acknowledging", codec("splunk", {"ack": True, **options}))


def test_vector_of_one_event() -> None:
    """The reference event makes exactly these 489 bytes, sent to the event endpoint with token and channel."""
    request = sent(1)
    assert request.body == ENVELOPE + EVENT + b"}"
    assert len(request.body) == 489
    assert request.url == "https://hec.splunk.example.com:8088/services/collector/event"
    assert headers(request) == {
        "authorization": "Splunk 3b0e6f1a-hec-token",
        "content-type": "application/json",
        "x-splunk-request-channel": CHANNEL,
    }
    assert not request.gzip


def test_objects_follow_each_other_without_commas() -> None:
    """Every object carries its own metadata; large bodies ask for gzip."""
    request = sent(3)
    assert request.body == b"\n".join([ENVELOPE + EVENT + b"}"] * 3)
    assert request.gzip


def test_options_stand_in_the_envelope() -> None:
    """Index, source, source type and host are sent escaped; the index only where one is chosen."""
    request = sent(1, {"index": "audit", "source": 's"1', "sourcetype": "tl", "host": "gw"})
    envelope = json.loads(request.body)
    assert {key: envelope[key] for key in ("index", "source", "sourcetype", "host")} == {
        "index": "audit",
        "source": 's"1',
        "sourcetype": "tl",
        "host": "gw",
    }


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        ("2026-06-30T12:34:56Z", b'{"time":1782822896,'),
        ("2026-06-30T12:34:56.123456Z", b'{"time":1782822896.123456,'),
        ("2026-06-30T12:34:56.123456789Z", b'{"time":1782822896.123456,'),
        ("2026-06-30T12:34:56,5Z", b'{"time":1782822896.5,'),
        ("2026-06-30T12:34:56.²Z", b'{"host":'),
        ("2026-06-30T14:34:56.500+02:00", b'{"time":1782822896.5,'),
        ("2026-06-30t12:34:56z", b'{"time":1782822896,'),
        ("2016-12-31T23:59:60.5Z", b'{"time":1483228800.5,'),
        ("1969-12-31T23:59:59Z", b'{"host":'),
        ("not a time", b'{"host":'),
    ],
)
def test_time_is_epoch_seconds(timestamp: str, time: bytes) -> None:
    """Microseconds are kept; without a time after 1970 Splunk is left to take its own."""
    (request,) = codec("splunk").encode(Batch([event(timestamp=timestamp)]), CONTEXT).requests
    assert request.body.startswith(time)


def test_a_pasted_scheme_is_not_sent_twice() -> None:
    """A token pasted as ``Splunk <token>`` is the token."""
    (request,) = codec("splunk", credentials={"token": " Splunk abc "}).encode(Batch([EVENT]), CONTEXT).requests
    assert headers(request)["authorization"] == "Splunk abc"


@pytest.mark.parametrize("code", [1, 2, 3, 4, 7, 10, 11, 14, 16, 21, 22, 28])
def test_codes_that_need_an_operator(code: int) -> None:
    """Token, index and channel faults keep everything, whatever the text says."""
    outcome = verdict(400, {"text": "some words", "code": code})
    assert isinstance(outcome, Misconfigured)
    assert outcome.code == f"hec_{code}"
    assert "some words" in outcome.reason


@pytest.mark.parametrize(
    ("code", "status", "throttled"),
    [(8, 500, False), (23, 503, False), (9, 503, True), (26, 429, True), (27, 429, True), (18, 503, True)],
)
def test_codes_that_pass(code: int, status: int, throttled: bool) -> None:
    """Server trouble is tried again; a full queue asks for less at a time, and when."""
    outcome = verdict(status, {"text": "busy", "code": code}, retry_after="9")
    assert outcome == Retry("Splunk: busy", code=f"hec_{code}", after_s=9.0, throttled=throttled)


@pytest.mark.parametrize("code", [24, 25])
def test_near_capacity_is_delivered(code: int) -> None:
    """Codes 24 and 25 mean success with a warning: anything else would store the events twice."""
    assert verdict(200, {"text": "approaching", "code": code}) == Delivered(warning="approaching", slow_down=True)


def test_success() -> None:
    """Code 0 is delivered; without ack mode an ackId does not matter."""
    assert verdict(200, {"text": "Success", "code": 0, "ackId": 4}) == Delivered()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", {"code": "0"}, {"text": "x", "code": 99}, {"text": "HEC is healthy", "code": 17}]
)
def test_a_200_that_is_no_success_is_tried_again(body: object) -> None:
    """Only what HEC calls a success is one."""
    assert isinstance(verdict(200, body), Retry)


@pytest.mark.parametrize("code", [6, 12, 13, 15])
def test_the_bad_event_is_cut_out(code: int) -> None:
    """What stands before the named event is indexed, it is refused, what stands behind it is sent again."""
    outcome = verdict(400, {"text": "bad", "code": code, "invalid-event-number": 1})
    assert isinstance(outcome, Partial)
    assert (list(outcome.delivered), list(outcome.retry)) == ([0], [2])
    assert outcome.refused == (Refusal(1, f"hec_{code}", "Splunk refuses the event: bad"),)
    assert outcome.retry_at_once


def test_in_ack_mode_the_indexed_prefix_is_sent_again() -> None:
    """What is indexed but not acknowledged does not count as delivered."""
    outcome = verdict(400, {"text": "bad", "code": 6, "invalid-event-number": 1, "ackId": 0}, ack=True)
    assert isinstance(outcome, Partial)
    assert (list(outcome.delivered), list(outcome.retry)) == ([], [0, 2])


@pytest.mark.parametrize("number", [None, -1, 3, 10**30])
def test_an_unnamed_bad_event_is_looked_for(number: int | None) -> None:
    """Without a number, or with one that cannot be, the request is halved."""
    body = {"text": "bad", "code": 6} | ({} if number is None else {"invalid-event-number": number})
    assert isinstance(verdict(400, body), Split)


def test_a_large_body_with_a_bad_first_event_may_be_too_large() -> None:
    """Splunk Cloud says code 6 for event 0 where it means the size of the request."""
    large = event(metadata={"pad": "x" * 1_000_001})
    (request,) = codec("splunk").encode(Batch([large]), CONTEXT).requests
    answer = reply(400, {"text": "bad", "code": 6, "invalid-event-number": 0})
    assert isinstance(codec("splunk").classify(request, answer, CONTEXT), Split)


def test_no_data_is_tried_twice_before_a_split() -> None:
    """Code 5 is not the events' fault at first sight."""
    outcome = verdict(400, {"text": "No data", "code": 5})
    assert isinstance(outcome, Split)
    assert outcome.tries == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, Misconfigured),
        (405, Misconfigured),
        (413, Split),
        (415, Misconfigured),
        (429, Retry),
        (503, Retry),
        (302, Misconfigured),
    ],
)
def test_answers_of_the_http_layer(status: int, kind: type[Outcome]) -> None:
    """A page of HTML, or the status repeated as code, is judged by the status."""
    assert isinstance(verdict(status, b"<html>no</html>"), kind)
    assert isinstance(verdict(status, {"text": "no", "code": status}), kind)


def test_a_wrong_port_is_named() -> None:
    """A 404 from the management port says which port to use."""
    wrong = codec("splunk", endpoint="https://splunk.example:8089")
    outcome = wrong.classify(sent(1), reply(404, b""), CONTEXT)
    assert isinstance(outcome, Misconfigured)
    assert "8088" in outcome.reason


def test_a_token_that_is_repeated_is_not_shown() -> None:
    """Splunk's words may quote the request."""
    outcome = verdict(403, {"text": "Invalid token 3b0e6f1a-hec-token", "code": 4})
    assert isinstance(outcome, Misconfigured)
    assert "3b0e6f1a" not in outcome.reason


def test_bodies_stay_below_a_million_bytes() -> None:
    """Requests are cut by the size of their envelopes too; a larger event goes alone."""
    lines = [event(metadata={"pad": "x" * 3000})] * 400 + [event(metadata={"pad": "x" * 1_000_000})] + [EVENT]
    requests = codec("splunk").encode(Batch(lines), CONTEXT).requests
    assert [at for request in requests for at in request.positions] == list(range(402))
    assert all(len(request.body) <= 1_000_000 or len(request.positions) == 1 for request in requests)


def test_acknowledgement_is_a_choice() -> None:
    """Only a destination with the option acknowledges."""
    assert isinstance(codec("splunk", {"ack": True}), Acknowledging)
    assert not isinstance(codec("splunk"), Acknowledging)
    assert (acknowledging().ack_poll_s, acknowledging().ack_timeout_s) == (10.0, 300.0)
    assert acknowledging(ack_poll_seconds=2, ack_timeout_seconds=60).ack_poll_s == 2.0
    with pytest.raises(RequestRejected, match="ack_poll_seconds"):
        acknowledging(ack_poll_seconds=0)


def test_in_ack_mode_an_ack_id_is_waited_for() -> None:
    """With an ackId delivery waits for it; a token that gives none is taken at its word."""
    assert verdict(200, {"text": "Success", "code": 0, "ackId": 7}, ack=True) == AwaitAck(7)
    assert verdict(200, {"text": "near", "code": 24, "ackId": 8}, ack=True) == AwaitAck(8, slow_down=True)
    assert verdict(200, {"text": "Success", "code": 0}, ack=True) == Delivered()


def test_asks_for_acknowledgements_on_the_same_channel() -> None:
    """The question names ids, token and channel, and carries no events."""
    request = acknowledging().encode_ack_poll([0, 1], CONTEXT)
    assert request.url == "https://hec.splunk.example.com:8088/services/collector/ack"
    assert json.loads(request.body) == {"acks": [0, 1]}
    assert headers(request)["x-splunk-request-channel"] == CHANNEL
    assert headers(request)["authorization"] == "Splunk 3b0e6f1a-hec-token"
    assert not request.positions


def test_reads_acknowledgements() -> None:
    """Only what is true is confirmed; names that are no ids are passed over."""
    answer = reply(200, {"acks": {"0": True, "1": False, "x": True, "9" * 5000: True}})
    assert acknowledging().classify_ack_poll(answer) == AckReport(frozenset({0}))


def test_a_token_without_acknowledgement_says_so() -> None:
    """Code 14 turns waiting off."""
    assert acknowledging().classify_ack_poll(reply(400, {"text": "ACK is disabled", "code": 14})) == AckReport(
        frozenset(), disabled=True
    )


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>", Retry),
        (200, {"acks": [1]}, Retry),
        (403, {"text": "Invalid token", "code": 4}, Misconfigured),
        (400, {"text": "Invalid data channel", "code": 11}, Misconfigured),
        (401, b"", Misconfigured),
        (503, {"text": "busy", "code": 9}, Retry),
        (500, b"", Retry),
        (413, b"", Retry),
    ],
)
def test_other_answers_about_acknowledgements(status: int, body: object, kind: type) -> None:
    """Trouble passes or needs an operator; nothing is confirmed by it."""
    assert isinstance(acknowledging().classify_ack_poll(reply(status, body)), kind)
