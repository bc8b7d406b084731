"""A customer's endpoint, request by request."""

import hashlib
import hmac
from typing import Any

import pytest

from gateway.demo.receivers import Answer, Call, Refuse, WebhookReceiver
from gateway.demo.receivers.webhook import SECRET, signature_fault
from tests.unit.demo.samples import NOW_S, call, event, now

PATH = "/audit-events"
REFERENCE = (
    b'{"id":"evt_abc123","timestamp":"2026-06-30T12:34:56.789Z","tenant_id":"tenant-uuid","actor_type":"USER",'
    b'"actor_id":"user-uuid","action":"attestation.mint","resource_type":"attestation","resource_id":"attestation-uuid",'
    b'"service":"trust-registry","outcome":"SUCCESS","metadata":{"issuer_id":"issuer-uuid","subject":"user:12345",'
    b'"claim":"email_verified"},"integrity_hash":"sha256:abc123..."}'
)


def signed(body: bytes, *, moment: int = int(NOW_S), secret: str = SECRET, more: str = "", **headers: Any) -> Call:
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return call(PATH, body, x_truthlocks_signature=f"t={moment}{more},v1={digest}", **headers)


def post(receiver: WebhookReceiver, body: bytes, **more: Any) -> Answer:
    return receiver.respond(signed(body, **more))


def test_agrees_with_the_reference_vector() -> None:
    """A signature that was computed elsewhere is accepted, and no other."""
    good = "t=1782822900,v1=b88453e051bf3e0d9835f6b1d41ff06e7b17d6f58fdef6c441f0b231c58bba93"
    request = call(PATH, REFERENCE, x_truthlocks_signature=good)
    assert signature_fault(request, "whsec_test_secret", NOW_S) is None
    changed = call(PATH, REFERENCE + b" ", x_truthlocks_signature=good)
    assert signature_fault(changed, "whsec_test_secret", NOW_S) == "the signature does not match"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (event(0), "application/json"),
        (b"[" + event(0) + b"," + event(1) + b"]", "application/json"),
        (event(0) + b"\n" + event(1) + b"\n", "application/x-ndjson"),
    ],
)
def test_stores_events_as_the_bytes_that_they_were(body: bytes, content_type: str) -> None:
    """One event, an array and NDJSON are read, each event byte for byte."""
    receiver = WebhookReceiver(now=now)
    assert post(receiver, body, content_type=content_type).status == 200
    assert list(receiver.events.values()) == [event(0), event(1)][: body.count(b'"id"')]


def test_accepts_any_valid_digest_of_several() -> None:
    """While a secret is changed there are two digests, of which one is right."""
    receiver = WebhookReceiver(now=now)
    assert post(receiver, event(0), more=",v1=" + "0" * 64).status == 200


@pytest.mark.parametrize("moment", [int(NOW_S) - 301, int(NOW_S) + 301])
def test_refuses_old_and_future_signatures(moment: int) -> None:
    """More than 300 seconds off is no longer believed."""
    receiver = WebhookReceiver(now=now)
    assert receiver.respond(signed(event(0), moment=moment)).status == 401
    assert receiver.respond(signed(event(0), moment=int(NOW_S) - 300)).status == 200


@pytest.mark.parametrize("header", ["", "t=1782822900", "v1=00", "t=x,v1=00", "sha256=00"])
def test_refuses_a_missing_signature(header: str) -> None:
    """A header of another form is 401."""
    receiver = WebhookReceiver(now=now)
    assert receiver.respond(call(PATH, event(0), x_truthlocks_signature=header)).status == 401
    assert receiver.respond(signed(event(0), secret="other")).status == 401
    assert receiver.events == {}


@pytest.mark.parametrize("body", [b"", b"[", b"[1]", b"{} {}", b'"x"'])
def test_refuses_what_is_not_events(body: bytes) -> None:
    """A signed body that is not JSON objects is 400."""
    assert post(WebhookReceiver(now=now), body).status == 400


def test_a_delivery_id_stands_for_its_bytes() -> None:
    """The same id may come again with the same bytes, not with others."""
    receiver = WebhookReceiver(now=now)
    for expected, body in ((200, event(0)), (200, event(0)), (409, event(1))):
        assert post(receiver, body, x_truthlocks_delivery="dlv_1").status == expected
    assert receiver.duplicates == {"evt_0000": 2}


def test_refuses_by_script_and_knows_its_route() -> None:
    """A refused event spoils its request; other paths and methods do not exist."""
    receiver = WebhookReceiver(now=now)
    answer = receiver.respond(signed(event(0)), Refuse(lambda _: True, status=422))
    assert answer.status == 422
    assert receiver.events == {}
    assert receiver.respond(call("/other", event(0))).status == 404
    assert receiver.respond(call(PATH, method="GET")).status == 405
