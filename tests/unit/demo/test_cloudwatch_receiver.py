"""CloudWatch Logs' habits, request by request."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.demo.receivers import Answer, Call, CloudWatchReceiver, Refuse
from gateway.demo.receivers.cloudwatch import ACCESS_KEY_ID, GROUP, REGION, SECRET_ACCESS_KEY
from gateway.demo.receivers.sigv4_check import signature_fault
from tests.unit.demo.samples import NOW_S, event, now, said

HOST = "127.0.0.1:4000"
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def _time_of_signing(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore signs for the moment that the receiver lives in."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(NOW_S, UTC))


@pytest.fixture
def receiver() -> CloudWatchReceiver:
    """One with the stream ``s``."""
    made = CloudWatchReceiver(now=now)
    made.streams.add((GROUP, "s"))
    return made


def signed(
    operation: str,
    content: object,
    *,
    key: str = ACCESS_KEY_ID,
    secret: str = SECRET_ACCESS_KEY,
    region: str = REGION,
    service: str = "logs",
) -> Call:
    """As botocore signs it."""
    body = msgspec.json.encode(content)
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Logs_20140328.{operation}"}
    request = AWSRequest("POST", f"http://{HOST}/", headers, body)
    SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
    names = {name.lower(): value for name, value in request.headers.items()}
    return Call("POST", "/", {}, {**names, "host": HOST}, body)


def put(*entries: tuple[int, str], group: str = GROUP, stream: str = "s") -> dict[str, object]:
    now_ms = int(NOW_S * 1000)
    events = [{"timestamp": now_ms + offset_ms, "message": message} for offset_ms, message in entries]
    return {"logGroupName": group, "logStreamName": stream, "logEvents": events}


def post(receiver: CloudWatchReceiver, content: object, refuse: Refuse | None = None) -> Answer:
    return receiver.respond(signed("PutLogEvents", content), refuse)


def error(answer: Answer) -> object:
    assert answer.status == 400
    assert answer.headers["x-amzn-requestid"]
    return said(answer)["__type"]


def test_stores_events_as_the_bytes_that_they_were(receiver: CloudWatchReceiver) -> None:
    """The message, taken out of its JSON string, is the event byte for byte."""
    answer = post(receiver, put((-1, event(0).decode()), (0, event(1).decode())))
    assert (answer.status, said(answer)) == (200, {})
    assert list(receiver.events.values()) == [event(0), event(1)]


def test_agrees_with_the_reference_vector() -> None:
    """A signature that was computed elsewhere is accepted, and no other."""
    message = (
        '{"id":"evt_abc123","timestamp":"2026-06-30T12:34:56.789Z","tenant_id":"tenant-uuid","actor_type":"USER",'
        '"actor_id":"user-uuid","action":"attestation.mint","resource_type":"attestation",'
        '"resource_id":"attestation-uuid","service":"trust-registry","outcome":"SUCCESS","metadata":'
        '{"issuer_id":"issuer-uuid","subject":"user:12345","claim":"email_verified"},"integrity_hash":"sha256:abc123..."}'
    )
    body = msgspec.json.encode(
        {
            "logGroupName": "/truthlocks/audit",
            "logStreamName": "gw-01",
            "logEvents": [{"timestamp": 1782822896789, "message": message}],
        }
    )
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": "logs.us-east-1.amazonaws.com",
        "x-amz-date": "20260630T123500Z",
        "x-amz-target": "Logs_20140328.PutLogEvents",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260630/us-east-1/logs/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-target, "
        "Signature=9146d61a4213c6dfe0fd9a4df1dc01dc7f2146be931e39371a604d7e13ace9fb",
    }
    settings: dict[str, Any] = {
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "region": "us-east-1",
        "service": "logs",
        "now_s": NOW_S,
    }
    assert signature_fault(Call("POST", "/", {}, headers, body), **settings) is None
    fault = signature_fault(Call("POST", "/", {}, headers, body + b" "), **settings)
    assert fault is not None
    assert "does not match" in fault[1]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"key": "AKIAOTHER"}, "UnrecognizedClientException"),
        ({"secret": "other"}, "InvalidSignatureException"),
        ({"region": "us-east-1"}, "InvalidSignatureException"),
        ({"service": "s3"}, "InvalidSignatureException"),
    ],
)
def test_checks_the_signature(receiver: CloudWatchReceiver, wrong: dict[str, str], name: str) -> None:
    """A wrong key, secret, region or service is refused by its name."""
    assert error(receiver.respond(signed("PutLogEvents", put((0, "{}")), **wrong))) == name
    assert receiver.events == {}


def test_checks_the_form_of_the_signature(receiver: CloudWatchReceiver) -> None:
    """A missing header, one of another form, an unsigned host and an old date are told apart."""
    good = signed("PutLogEvents", put((0, "{}")))

    def with_header(name: str, value: str | None) -> Call:
        headers = {key: text for key, text in good.headers.items() if key != name}
        return msgspec.structs.replace(good, headers=headers if value is None else {**headers, name: value})

    assert error(receiver.respond(with_header("authorization", None))) == "MissingAuthenticationTokenException"
    assert error(receiver.respond(with_header("authorization", "Basic x"))) == "IncompleteSignatureException"
    assert error(receiver.respond(with_header("x-amz-extra", "unsigned"))) == "InvalidSignatureException"
    receiver._now = lambda: NOW_S + 301
    assert "expired" in str(said(receiver.respond(good))["message"])
    receiver._now = lambda: NOW_S - 301
    assert "not yet current" in str(said(receiver.respond(good))["message"])


def test_a_stream_must_be_created_first() -> None:
    """Put fails until the stream exists, creating it twice is an error, and a group cannot be created at all."""
    receiver = CloudWatchReceiver(now=now)
    assert error(post(receiver, put((0, "{}")))) == "ResourceNotFoundException"
    stream = {"logGroupName": GROUP, "logStreamName": "s"}
    assert receiver.respond(signed("CreateLogStream", stream)).status == 200
    assert error(receiver.respond(signed("CreateLogStream", stream))) == "ResourceAlreadyExistsException"
    assert post(receiver, put((0, "{}"))).status == 200
    missing = {"logGroupName": "/none", "logStreamName": "s"}
    assert error(receiver.respond(signed("CreateLogStream", missing))) == "ResourceNotFoundException"
    assert error(post(receiver, put((0, "{}"), group="/none"))) == "ResourceNotFoundException"
    bad = {"logGroupName": GROUP, "logStreamName": "a:b"}
    assert error(receiver.respond(signed("CreateLogStream", bad))) == "InvalidParameterException"


@pytest.mark.parametrize("operation", ["DescribeLogStreams", "CreateLogGroup", "DescribeLogGroups"])
def test_only_two_operations_are_permitted(receiver: CloudWatchReceiver, operation: str) -> None:
    """Everything else is access denied, under 400, and so is what was taken away."""
    assert error(receiver.respond(signed(operation, {}))) == "AccessDeniedException"
    receiver.denied.add("PutLogEvents")
    assert error(post(receiver, put((0, "{}")))) == "AccessDeniedException"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([(0, "{}"), (-1, "{}")], "chronological order"),
        ([(-25 * HOUR_MS, "{}"), (0, "{}")], "24 hours"),
        ([(0, "")], "validation error"),
        ([], "validation error"),
        ([(0, "x" * 1_000_001)], "Log event too large"),
        ([(0, "x" * 600_000), (0, "x" * 448_525)], "Upload too large: 1048577 bytes"),
    ],
)
def test_one_broken_rule_fails_the_whole_call(
    receiver: CloudWatchReceiver, entries: list[tuple[int, str]], words: str
) -> None:
    """Order, span, sizes and counts are checked before anything is stored."""
    answer = post(receiver, put(*entries))
    assert error(answer) == "InvalidParameterException"
    assert words in str(said(answer)["message"])
    assert receiver.events == {}


def test_the_largest_call_is_taken(receiver: CloudWatchReceiver) -> None:
    """Twenty-six bytes are counted for each event, and the limit itself is allowed."""
    assert post(receiver, put((0, "x" * 600_000), (0, "x" * 448_524))).status == 200


def test_events_out_of_time_are_dropped_under_200(receiver: CloudWatchReceiver) -> None:
    """The old end exclusively and the new start inclusively; only the rest counts for the span."""
    day_ms = 24 * HOUR_MS
    answer = post(
        receiver,
        put(
            (-15 * day_ms, event(0).decode()),
            (-14 * day_ms - 1, event(1).decode()),
            (-1, event(2).decode()),
            (2 * HOUR_MS, event(3).decode()),
            (2 * HOUR_MS + 1, event(4).decode()),
        ),
    )
    info = {"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 4}
    assert (answer.status, said(answer)) == (200, {"rejectedLogEventsInfo": info})
    assert list(receiver.events) == ["evt_0002", "evt_0003"]


def test_refuses_by_script_and_unreadable_bodies(receiver: CloudWatchReceiver) -> None:
    """A refused event fails its call; a body that is not the operation's is a serialization error."""
    answer = post(receiver, put((0, event(0).decode())), Refuse(lambda item: b"evt_0000" in item))
    assert error(answer) == "InvalidParameterException"
    assert error(post(receiver, {"logEvents": 1})) == "SerializationException"
    unknown = msgspec.structs.replace(signed("PutLogEvents", {}), path="/other")
    assert receiver.respond(unknown).status == 400  # another path was signed than came
