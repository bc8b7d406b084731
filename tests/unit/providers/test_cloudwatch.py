from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, cast

import pytest

from gateway.errors import RequestRejected
from gateway.providers.codec import (
    Batch,
    Context,
    Delivered,
    Encoded,
    Misconfigured,
    Outcome,
    Partial,
    Prepare,
    Preparing,
    Retry,
    Split,
)
from tests.provider_cases import CHANNEL, CONTEXT, EVENT, EVENT_TIME_MS, NOW_S, codec, event, headers, reply, signed

NOW_MS = int(NOW_S * 1000)
DAY_MS = 86_400_000


def at(offset_ms: int, **members: object) -> bytes:
    """An event so many milliseconds after the present."""
    moment = datetime.fromtimestamp((NOW_MS + offset_ms) / 1000, UTC)
    return event(timestamp=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"), **members)


def encoded(*lines: bytes, **options: object) -> Encoded:
    return codec("cloudwatch", options).encode(Batch(lines), CONTEXT)


def bodies(result: Encoded) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in result.requests]


def verdict(status: int, body: object = b"", *, context: Context = CONTEXT, events: int = 3, **fields: str) -> Outcome:
    (request,) = encoded(*[EVENT] * events).requests
    return codec("cloudwatch").classify(request, reply(status, body, **fields), context)


def failure(name: str, message: str = "words", status: int = 400, **fields: str) -> Outcome:
    return verdict(status, {"__type": name, "message": message}, context=CONTEXT, events=3, **fields)


def test_an_event_is_the_message() -> None:
    """The bytes of the event are a JSON string, its time is in milliseconds."""
    (body,) = bodies(encoded(EVENT))
    assert body == {
        "logGroupName": "/truthlocks/audit",
        "logStreamName": "gw-01/2026-06-30",
        "logEvents": [{"timestamp": EVENT_TIME_MS, "message": EVENT.decode()}],
    }


def test_the_stream_of_an_instance_has_no_forbidden_characters() -> None:
    """Colons and asterisks of an instance's name are replaced."""
    context = Context(now_s=NOW_S, channel=CHANNEL, instance="host:8080*")
    (request,) = codec("cloudwatch").encode(Batch([EVENT]), context).requests
    assert json.loads(request.body)["logStreamName"] == "host-8080-/2026-06-30"


def test_events_are_sorted_by_time_and_stay_in_order_within_it() -> None:
    """AWS wants ascending times; positions follow the order of the wire."""
    (request,) = encoded(at(5, id="a"), at(-5, id="b"), at(5, id="c"), at(-5, id="d")).requests
    sent = [json.loads(entry["message"])["id"] for entry in json.loads(request.body)["logEvents"]]
    assert sent == ["b", "d", "a", "c"]
    assert list(request.positions) == [1, 3, 0, 2]


def test_a_call_spans_less_than_a_day() -> None:
    """24 hours between first and last is where the next call begins."""
    result = encoded(at(-DAY_MS), at(-1), at(0))
    assert [list(request.positions) for request in result.requests] == [[0, 1], [2]]


def test_a_call_counts_26_bytes_for_each_event() -> None:
    """1,048,576 bytes fit, one more does not."""
    overhead = len(event(metadata={"pad": ""})) + 26
    half = event(metadata={"pad": "x" * (524_288 - overhead)})
    assert len(encoded(half, half).requests) == 1
    assert len(encoded(half, event(metadata={"pad": "x" * (524_289 - overhead)})).requests) == 2


def test_size_counts_bytes_not_characters() -> None:
    """Text outside ASCII counts as UTF-8."""
    wide = event(metadata={"pad": "€" * 200_000})
    assert len(encoded(wide, wide).requests) == 2


def test_a_call_holds_ten_thousand_events() -> None:
    """The ten-thousand-and-first goes into another call."""
    tiny = [b'{"timestamp":"2026-06-30T12:34:56.789Z"}'] * 10_001
    assert [len(request.positions) for request in encoded(*tiny).requests] == [10_000, 1]


def test_an_event_above_a_million_bytes_is_refused() -> None:
    """AWS would refuse the whole call; the others are sent."""
    result = encoded(EVENT, event(metadata={"pad": "x" * 1_000_000}))
    assert [(refusal.position, refusal.code) for refusal in result.refused] == [(1, "too_large")]
    assert [list(request.positions) for request in result.requests] == [[0]]


OUT_OF_RANGE = [-14 * DAY_MS, -400 * DAY_MS, 2 * 3_600_000, 400 * DAY_MS]


@pytest.mark.parametrize("offset_ms", OUT_OF_RANGE)
def test_events_out_of_range_are_restamped(offset_ms: int) -> None:
    """By default they are sent with the present time, and the message keeps its own."""
    line = at(offset_ms)
    (body,) = bodies(encoded(line))
    assert body["logEvents"] == [{"timestamp": NOW_MS, "message": line.decode()}]


@pytest.mark.parametrize("offset_ms", OUT_OF_RANGE)
def test_events_out_of_range_may_be_kept_back(offset_ms: int) -> None:
    """With ``dead_letter`` they are refused before they are sent."""
    result = encoded(at(offset_ms), EVENT, too_old="dead_letter")
    assert [refusal.code for refusal in result.refused] == ["too_old" if offset_ms < 0 else "too_new"]
    assert [list(request.positions) for request in result.requests] == [[1]]


@pytest.mark.parametrize("offset_ms", [-13 * DAY_MS, -1, 0, 3_600_000])
def test_events_in_range_keep_their_time(offset_ms: int) -> None:
    """13 days back and an hour ahead are fine."""
    (body,) = bodies(encoded(at(offset_ms)))
    assert body["logEvents"][0]["timestamp"] == NOW_MS + offset_ms


@pytest.mark.parametrize(
    ("timestamp", "epoch_ms"),
    [
        ("2026-06-30T12:34:56Z", 1_782_822_896_000),
        ("2026-06-30T12:34:56.7Z", 1_782_822_896_700),
        ("2026-06-30T12:34:56.789999Z", 1_782_822_896_789),
        ("2026-06-30T14:34:56.789+02:00", 1_782_822_896_789),
        ("2026-06-30T12:34:60Z", 1_782_822_900_000),
        ("whenever", NOW_MS),
    ],
)
def test_reads_every_timestamp(timestamp: str, epoch_ms: int) -> None:
    """Milliseconds are cut, not rounded; what cannot be read gets the present."""
    (body,) = bodies(encoded(event(timestamp=timestamp)))
    assert body["logEvents"][0]["timestamp"] == epoch_ms


def test_signs_with_the_corrected_clock() -> None:
    """The offset that an earlier answer gave is in the signature's time."""
    context = Context(now_s=NOW_S, channel=CHANNEL, instance="gw", clock_offset_s=-3600.0)
    (request,) = encoded(EVENT).requests
    assert headers(signed(codec("cloudwatch"), request, context))["x-amz-date"] == "20260630T113500Z"


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://logs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://logs-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://logs.eu-west-1.api.aws", "eu-west-1"),
        ("https://vpce-1.logs.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
    ],
)
def test_reads_the_region_from_the_host(endpoint: str, region: str) -> None:
    """Every form of a regional host tells what to sign for; an option comes first."""
    for options, expected in [({}, region), ({"region": "us-east-2"}, "us-east-2")]:
        made = codec("cloudwatch", dict(options), endpoint=endpoint)
        (request,) = made.encode(Batch([EVENT]), CONTEXT).requests
        assert f"/20260630/{expected}/logs/" in headers(signed(made, request))["authorization"]


def test_signs_for_the_host_that_is_sent() -> None:
    """The Host header has no dot at the end of a name, and neither has what is signed."""
    with_dot, without = (
        codec("cloudwatch", endpoint=f"https://logs.us-east-1.amazonaws.com{dot}") for dot in (".", "")
    )
    (request,) = encoded(EVENT).requests
    assert headers(signed(with_dot, request)) == headers(signed(without, request))


def test_does_not_guess_a_region() -> None:
    """Another host needs the option, and is posted to as it is."""
    with pytest.raises(RequestRejected) as caught:
        codec("cloudwatch", endpoint="http://127.0.0.1:5000")
    assert caught.value.errors[0][0] == "options.region"
    local = codec("cloudwatch", {"region": "us-east-1"}, endpoint="http://127.0.0.1:5000")
    assert local.encode(Batch([EVENT]), CONTEXT).requests[0].url == "http://127.0.0.1:5000/"


@pytest.mark.parametrize(
    "options", [{"region": "Mars"}, {"log_group": "a b"}, {"log_stream": "a:b"}, {"log_stream": "x" * 513}]
)
def test_refuses_names_that_aws_does_not_allow(options: dict[str, object]) -> None:
    """The error names the option."""
    with pytest.raises(RequestRejected, match=next(iter(options))):
        codec("cloudwatch", options)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", {"nextSequenceToken": "1"}, {"rejectedLogEventsInfo": {}}, {"rejectedEntityInfo": {"errorType": "x"}}],
)
def test_success(body: object) -> None:
    """A 200 that names no rejected events is delivered."""
    assert verdict(200, body) == Delivered()


@pytest.mark.parametrize("body", [b"<html>", b"[]", {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": "1"}}])
def test_a_200_that_cannot_be_read_is_tried_again(body: object) -> None:
    """What was rejected is then unknown."""
    assert isinstance(verdict(200, body), Retry)


@pytest.mark.parametrize(
    ("info", "delivered", "refused"),
    [
        ({"tooOldLogEventEndIndex": 1}, [0, 2], [(1, "too_old")]),
        ({"tooNewLogEventStartIndex": 2}, [1, 0], [(2, "too_new")]),
        ({"expiredLogEventEndIndex": 2}, [2], [(1, "expired"), (0, "expired")]),
        ({"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2}, [2], [(1, "too_old"), (0, "expired")]),
        ({"tooOldLogEventEndIndex": 99}, [], [(1, "too_old"), (0, "too_old"), (2, "too_old")]),
        (
            {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 0},
            [],
            [(1, "too_old"), (0, "too_new"), (2, "too_new")],
        ),
    ],
)
def test_rejected_events_are_found_by_their_sorted_index(
    info: object, delivered: list[int], refused: list[tuple[int, str]]
) -> None:
    """Ends are exclusive, the start is inclusive, and all count the order of the wire."""
    (request,) = encoded(at(10), at(0), at(20)).requests
    outcome = codec("cloudwatch").classify(request, reply(200, {"rejectedLogEventsInfo": info}), CONTEXT)
    assert isinstance(outcome, Partial)
    assert list(outcome.delivered) == delivered
    assert [(refusal.position, refusal.code) for refusal in outcome.refused] == refused


def test_what_a_short_retention_rejects_is_restamped() -> None:
    """How long a log group keeps events its answers alone tell: what is too old goes again with the present time."""
    kept_ms = -3 * DAY_MS
    lines = (at(kept_ms - 9), at(kept_ms - 5), at(kept_ms))
    (request,) = encoded(*lines).requests
    answer = reply(200, {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2}})
    outcome = codec("cloudwatch").classify(request, answer, CONTEXT)
    assert isinstance(outcome, Partial)
    assert (list(outcome.delivered), list(outcome.retry), outcome.refused) == ([2], [0, 1], ())
    assert outcome.retry_at_once
    learnt = Context(now_s=NOW_S, channel=CHANNEL, instance="gw-01", age_max_s=outcome.age_max_s)
    times = [
        [entry["timestamp"] for entry in body["logEvents"]]
        for body in bodies(codec("cloudwatch").encode(Batch(lines), learnt))
    ]
    assert times == [[NOW_MS + kept_ms], [NOW_MS, NOW_MS]]


def test_what_is_rejected_though_it_is_young_is_not_sent_again() -> None:
    """It would be without end: no log group keeps events for less than a day."""
    (request,) = encoded(at(-DAY_MS + 10), at(-1)).requests
    answer = reply(200, {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 2}})
    outcome = codec("cloudwatch").classify(request, answer, CONTEXT)
    assert isinstance(outcome, Partial)
    assert (list(outcome.retry), [refusal.position for refusal in outcome.refused]) == ([0], [1])


def test_what_a_short_retention_rejects_may_be_kept_back() -> None:
    """With ``dead_letter`` it is refused as it was."""
    made = codec("cloudwatch", {"too_old": "dead_letter"})
    (request,) = made.encode(Batch([at(-DAY_MS + 10), EVENT]), CONTEXT).requests
    outcome = made.classify(request, reply(200, {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 1}}), CONTEXT)
    assert isinstance(outcome, Partial)
    assert [refusal.position for refusal in outcome.refused] == [0]


@pytest.mark.parametrize(
    "name",
    [
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "LimitExceededException",
    ],
)
def test_throttling_by_name(name: str) -> None:
    """Throttling comes as HTTP 400."""
    outcome = failure(name)
    assert isinstance(outcome, Retry)
    assert (outcome.throttled, outcome.code) == (True, name)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ServiceUnavailableException", 503),
        ("InternalFailure", 500),
        ("RequestTimeoutException", 400),
        ("", 502),
        ("Unknown", 504),
    ],
)
def test_trouble_passes(name: str, status: int) -> None:
    """Trouble on AWS's side is tried again, by name or by status."""
    outcome = failure(name, status=status)
    assert isinstance(outcome, Retry)
    assert not outcome.throttled


def test_amazons_own_retry_after_counts_milliseconds() -> None:
    """The header alone makes an error pass."""
    outcome = failure("Odd", x_amz_retry_after="1500")
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 1.5


@pytest.mark.parametrize(
    "name",
    [
        "UnrecognizedClientException",
        "com.amazon.coral.service#UnrecognizedClientException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "ExpiredTokenException",
        "AccessDeniedException",
        "SerializationException",
    ],
)
def test_faults_that_need_an_operator(name: str) -> None:
    """Keys, signatures and permissions keep everything; the text of AWS is passed on."""
    outcome = failure(name, "not authorized to perform logs:PutLogEvents")
    assert isinstance(outcome, Misconfigured)
    assert outcome.code == name.rpartition("#")[2]
    assert "logs:PutLogEvents" in outcome.reason


def test_the_name_may_stand_in_a_header() -> None:
    """Without a body the header names the error."""
    outcome = verdict(400, b"", x_amzn_errortype="ThrottlingException:http://internal.amazon.com/")
    assert isinstance(outcome, Retry)
    assert outcome.code == "ThrottlingException"


def test_credentials_that_are_repeated_are_not_shown() -> None:
    """AWS quotes the Authorization header in some errors."""
    outcome = failure("IncompleteSignature", "Authorization=AWS4 Credential=AKIDEXAMPLE/2026")
    assert isinstance(outcome, Misconfigured)
    assert "AKIDEXAMPLE" not in outcome.reason


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Upload too large: 1048590 bytes exceeds limit of 1048576", Split),
        ("Log event too large: 300000 bytes exceeds limit of 262144", Split),
        ("Log events in a single PutLogEvents request must be in chronological order.", Split),
        ("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.", Split),
        ("1 validation error detected: Value at 'logGroupName' failed", Misconfigured),
    ],
)
def test_invalid_parameters_by_their_text(message: str, kind: type[Outcome]) -> None:
    """What is about the batch is halved, anything else is a setting."""
    assert isinstance(failure("InvalidParameterException", message), kind)


def test_a_request_that_is_too_large_is_halved() -> None:
    """413 by name and status."""
    assert isinstance(failure("RequestEntityTooLarge", status=413), Split)


def test_a_missing_stream_is_created_first() -> None:
    """The stream that the refused request names is created, even after midnight."""
    (request,) = encoded(EVENT).requests
    later = Context(now_s=NOW_S + 86_400, channel=CHANNEL, instance="gw-01")
    answer = reply(400, {"__type": "ResourceNotFoundException", "message": "The specified log stream does not exist."})
    outcome = codec("cloudwatch").classify(request, answer, later)
    assert isinstance(outcome, Prepare)
    assert json.loads(outcome.request.body) == {
        "logGroupName": "/truthlocks/audit",
        "logStreamName": "gw-01/2026-06-30",
    }
    assert headers(outcome.request)["x-amz-target"] == "Logs_20140328.CreateLogStream"
    assert not outcome.request.positions


def prepared(status: int, name: str = "", **fields: str) -> Retry | Misconfigured | None:
    preparing = cast("Preparing", codec("cloudwatch"))
    return preparing.classify_prepared(reply(status, {"__type": name, "message": "words"}, **fields))


def test_a_stream_that_is_there_is_prepared() -> None:
    """Created now, or by another gateway before: the events may follow."""
    assert prepared(200) is None
    assert prepared(400, "ResourceAlreadyExistsException") is None


def test_a_missing_group_needs_an_operator() -> None:
    """The gateway may not create groups."""
    outcome = prepared(400, "ResourceNotFoundException")
    assert isinstance(outcome, Misconfigured)
    assert "/truthlocks/audit" in outcome.reason


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "AccessDeniedException", Misconfigured),
        (400, "InvalidParameterException", Misconfigured),
        (400, "ThrottlingException", Retry),
        (400, "OperationAbortedException", Retry),
        (503, "ServiceUnavailableException", Retry),
        (413, "", Misconfigured),
        (302, "", Misconfigured),
    ],
)
def test_other_answers_to_the_creation(status: int, name: str, kind: type[Outcome]) -> None:
    """They pass or need an operator."""
    assert isinstance(prepared(status, name), kind)


def test_preparing_is_recognised() -> None:
    """A worker can see that this codec prepares."""
    assert isinstance(codec("cloudwatch"), Preparing)
    assert not isinstance(codec("splunk"), Preparing)


EXPIRED = "Signature expired: 20260630T123500Z is now earlier than 20260630T132000Z"


def http_date(offset_s: float) -> str:
    return format_datetime(datetime.fromtimestamp(NOW_S + offset_s, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("InvalidSignatureException", EXPIRED),
        ("InvalidSignatureException", "Signature not yet current: ..."),
        ("RequestExpired", ""),
    ],
)
def test_a_wrong_clock_is_corrected_once(name: str, message: str) -> None:
    """AWS's own time is used for the next attempt; if that was used already, an operator is needed."""
    body = {"__type": name, "message": message}
    outcome = verdict(400, body, date=http_date(3600))
    assert isinstance(outcome, Retry)
    assert outcome.clock_offset_s == 3600.0
    corrected = Context(now_s=NOW_S, channel=CHANNEL, instance="gw-01", clock_offset_s=3590.0)
    again = verdict(400, body, context=corrected, date=http_date(3600))
    assert isinstance(again, Misconfigured)
    assert again.code == "clock"


@pytest.mark.parametrize("date", ["", "nonsense", http_date(1), "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_a_clock_that_cannot_be_corrected(date: str) -> None:
    """Without a usable difference there is nothing to try."""
    assert isinstance(failure("InvalidSignatureException", EXPIRED, date=date), Misconfigured)
