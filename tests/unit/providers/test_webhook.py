from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from gateway.errors import RequestRejected
from gateway.providers.codec import Batch, Context, Delivered, Misconfigured, Outcome, Request, Retry, Split
from gateway.providers.webhook import delivery_id, signature, standard_signature
from tests.provider_cases import CHANNEL, CONTEXT, EVENT, NOW_S, codec, event, headers, reply, signed

T = 1_782_822_900


def requests(*lines: bytes, **options: object) -> tuple[Request, ...]:
    made = codec("webhook", options)
    return tuple(signed(made, request) for request in made.encode(Batch(lines), CONTEXT).requests)


def verdict(status: int, body: object = b"", **fields: str) -> Outcome:
    return codec("webhook").classify(requests(EVENT)[0], reply(status, body, **fields), CONTEXT)


def test_signature_vector() -> None:
    """The signature of the reference event is the one that was worked out elsewhere."""
    (request,) = requests(EVENT)
    assert headers(request)["x-truthlocks-signature"] == (
        "t=1782822900,v1=b88453e051bf3e0d9835f6b1d41ff06e7b17d6f58fdef6c441f0b231c58bba93"
    )
    assert request.url == "https://hooks.example.com/audit?source=gateway"
    assert request.body == EVENT
    assert not request.gzip


def test_standard_webhooks_vector() -> None:
    """A secret in the standard's form is decoded first."""
    secrets = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",)
    signed = standard_signature(secrets, "dlv_01JZ0000000000000000000000", T, EVENT)
    assert signed == "v1,pmTNllkrERgfVhNEoxE1DZQFLhGIO03wqpG/FPd1WBw="


def test_standard_headers_stand_beside_our_own() -> None:
    """They carry the same id and time; a secret in no special form is the key as it is."""
    (request,) = requests(EVENT)
    sent = headers(request)
    assert sent["webhook-id"] == sent["x-truthlocks-delivery"]
    assert sent["webhook-timestamp"] == str(T)
    signed = f"{sent['webhook-id']}.{T}.".encode() + EVENT
    digest = hmac.new(b"whsec_test_secret", signed, hashlib.sha256).digest()
    assert sent["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_delivery_keeps_its_id_and_renews_its_time() -> None:
    """The same bytes have the same id on every attempt; other bytes have another."""
    later = Context(now_s=NOW_S + 60.9, channel=CHANNEL, instance="other")
    (first,) = requests(EVENT)
    again = signed(codec("webhook"), codec("webhook").encode(Batch([EVENT]), later).requests[0], later)
    assert headers(first)["x-truthlocks-delivery"] == headers(again)["x-truthlocks-delivery"] == delivery_id(EVENT)
    assert headers(again)["x-truthlocks-signature"].startswith("t=1782822960,v1=")
    assert delivery_id(EVENT) != delivery_id(EVENT + b" ")
    assert len(delivery_id(EVENT)) >= 30


def test_during_a_change_both_secrets_sign() -> None:
    """Receivers may know either of them."""
    changing = codec("webhook", credentials={"previous_secret": "old"})
    (request,) = changing.encode(Batch([EVENT]), CONTEXT).requests
    sent = headers(signed(changing, request))
    assert sent["x-truthlocks-signature"] == signature(("whsec_test_secret", "old"), T, EVENT)
    assert sent["x-truthlocks-signature"].count("v1=") == 2
    assert sent["webhook-signature"].count("v1,") == 2


@pytest.mark.parametrize(
    ("chosen", "content_type", "bodies"),
    [
        ("single", "application/json", [EVENT, EVENT]),
        ("array", "application/json", [b"[" + EVENT + b"," + EVENT + b"]"]),
        ("ndjson", "application/x-ndjson", [EVENT + b"\n" + EVENT + b"\n"]),
    ],
)
def test_formats(chosen: str, content_type: str, bodies: list[bytes]) -> None:
    """One event for each request, an array of all, or one on each line; what is signed is what is sent."""
    made = requests(EVENT, EVENT, format=chosen)
    assert [request.body for request in made] == bodies
    for request in made:
        assert headers(request)["content-type"] == content_type
        assert headers(request)["x-truthlocks-signature"] == signature(("whsec_test_secret",), T, request.body)
    assert [at for request in made for at in request.positions] == [0, 1]


@pytest.mark.parametrize("chosen", ["array", "ndjson"])
def test_batches_stay_small(chosen: str) -> None:
    """No batch is above 256 kB, unless it is one event."""
    lines = [event(metadata={"pad": "x" * 9_000})] * 60 + [event(metadata={"pad": "x" * 300_000})]
    made = requests(*lines, format=chosen)
    assert [at for request in made for at in request.positions] == list(range(61))
    assert all(len(request.body) <= 256_000 or len(request.positions) == 1 for request in made)


def test_own_headers_are_sent() -> None:
    """A user's headers come along, in their spelling."""
    (request,) = requests(EVENT, headers={"X-Team": " audit ", "Authorization": "Bearer x"})
    assert headers(request)["x-team"] == "audit"
    assert headers(request)["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    "chosen",
    [
        {"X-Truthlocks-Signature": "x"},
        {"Webhook-Id": "x"},
        {"content-type": "x"},
        {"Transfer-Encoding": "chunked"},
        {"HOST": "x"},
        {"X-A": "a\r\nX-B: b"},
        {"X A": "a"},
        {"": "a"},
        {"X-A": 5},
        {"X-A": "é"},
        {f"X-{at}": "a" for at in range(33)},
        "X-A: b",
    ],
)
def test_headers_that_are_refused(chosen: object) -> None:
    """The gateway's own, those of the connection, and what is no header."""
    with pytest.raises(RequestRejected, match=r"options\.headers"):
        codec("webhook", {"headers": chosen})


@pytest.mark.parametrize(
    ("status", "kind", "throttled"),
    [
        (200, Delivered, None),
        (204, Delivered, None),
        (302, Misconfigured, None),
        (401, Misconfigured, None),
        (403, Misconfigured, None),
        (404, Misconfigured, None),
        (405, Misconfigured, None),
        (406, Misconfigured, None),
        (408, Retry, False),
        (410, Misconfigured, None),
        (413, Split, None),
        (415, Misconfigured, None),
        (425, Retry, False),
        (429, Retry, True),
        (500, Retry, False),
        (501, Retry, False),
        (502, Retry, True),
        (503, Retry, True),
        (504, Retry, True),
    ],
)
def test_statuses(status: int, kind: type[Outcome], throttled: bool | None) -> None:
    """The table of a webhook's answers."""
    outcome = verdict(status, b"words", retry_after="3")
    assert isinstance(outcome, kind)
    if isinstance(outcome, Retry):
        assert (outcome.throttled, outcome.after_s) == (throttled, 3.0)


def test_an_endpoint_that_is_gone_is_said_to_be() -> None:
    """410 means that the receiver wants no more of it."""
    outcome = verdict(410)
    assert isinstance(outcome, Misconfigured)
    assert "gone" in outcome.reason


@pytest.mark.parametrize("status", [400, 422])
def test_refused_events_are_tried_before_they_are_suspected(status: int) -> None:
    """A receiver's 400 may be its own fault: three tries, then halves, and a lone event is only a suspect."""
    outcome = verdict(status, b"no such tenant")
    assert isinstance(outcome, Split)
    assert (outcome.tries, outcome.alone) == (3, "suspect")
    assert "no such tenant" in outcome.reason


def test_a_secret_that_is_repeated_is_not_shown() -> None:
    """A receiver may print what it compared with."""
    outcome = verdict(401, b"expected whsec_test_secret")
    assert isinstance(outcome, Misconfigured)
    assert "test_secret" not in outcome.reason
