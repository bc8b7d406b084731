"""A customer's endpoint: verifies the signature over the bytes that came, then takes one event, an array or NDJSON."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, ClassVar, Unpack

import msgspec
from msgspec import Raw

from gateway.demo.receivers.receiver import Answer, Call, Receiver, ReceiverSettings, answer_json
from gateway.demo.receivers.script import Refuse

SECRET = "whsec_ZGVtbyBzZWNyZXQgb2YgdGhlIGdhdGV3YXk="  # noqa: S105 - made up for the demo
TOLERANCE_S = 300

_PATH = "/audit-events"


class WebhookReceiver(Receiver):
    """``format`` is what a destination for it is created with; it reads all three whatever it is.

    ``deliveries`` holds each X-Truthlocks-Delivery id with the digest of its bytes: the same id never has other bytes.
    """

    provider: ClassVar[str] = "webhook"

    def __init__(self, *, format: str = "single", secret: str = SECRET, **settings: Unpack[ReceiverSettings]) -> None:  # noqa: A002 - the option's name
        super().__init__(**settings)
        self.format = format
        self.deliveries: dict[str, str] = {}
        self._secret = secret

    @property
    def credentials(self) -> dict[str, str]:
        return {"secret": self._secret}

    @property
    def options(self) -> dict[str, object]:
        return {"format": self.format}

    @property
    def endpoint(self) -> str:
        return f"{self.url}{_PATH}"

    def carries_events(self, call: Call) -> bool:
        return call.method == "POST" and call.path == _PATH

    def respond(self, call: Call, refuse: Refuse | None = None) -> Answer:
        if not self.carries_events(call):
            status = 404 if call.path != _PATH else 405
            return answer_json(status, {"error": "not found" if status == 404 else "method not allowed"})
        fault = signature_fault(call, self._secret, self._now())
        if fault is not None:
            return answer_json(401, {"error": fault})
        return self._take(call, refuse)

    def _take(self, call: Call, refuse: Refuse | None) -> Answer:
        if not self._is_consistent(call):
            return answer_json(409, {"error": "this delivery id had other bytes"})
        try:
            events = _events(call)
        except ValueError:
            return answer_json(400, {"error": "not JSON, or not objects"})
        if refuse is not None and any(refuse.matches(event) for event in events):
            return answer_json(refuse.status, {"error": "refused"})
        for event in events:
            self.stored.add(event)
        return answer_json(200, {"received": len(events)})

    def _is_consistent(self, call: Call) -> bool:
        delivery = call.headers.get("x-truthlocks-delivery")
        if not delivery:
            return True
        digest = hashlib.sha256(call.body).hexdigest()
        return self.deliveries.setdefault(delivery, digest) == digest


def signature_fault(call: Call, secret: str, now_s: float) -> str | None:
    """What is wrong with ``X-Truthlocks-Signature: t=…,v1=…[,v1=…]``; None when one of its digests is right."""
    parts = [part.partition("=") for part in call.headers.get("x-truthlocks-signature", "").split(",")]
    moments = [value for name, _, value in parts if name.strip() == "t"]
    digests = [value for name, _, value in parts if name.strip() == "v1"]
    if len(moments) != 1 or not moments[0].isdigit() or not digests:
        return "the signature is missing or not of the form t=…,v1=…"
    if abs(now_s - int(moments[0])) > TOLERANCE_S:
        return "the signature is too old or from the future"
    expected = hmac.new(secret.encode(), moments[0].encode() + b"." + call.body, hashlib.sha256).hexdigest()
    if not any(hmac.compare_digest(expected, digest) for digest in digests):
        return "the signature does not match"
    return None


def _events(call: Call) -> list[bytes]:
    """Raises ValueError when something in the body is not an object."""
    call.body.decode()
    if call.headers.get("content-type", "").startswith("application/x-ndjson"):
        events = [line for line in call.body.split(b"\n") if line.strip()]
    elif call.body.lstrip()[:1] == b"[":
        events = [bytes(raw) for raw in msgspec.json.decode(call.body, type=list[Raw])]
    else:
        events = [bytes(msgspec.json.decode(call.body, type=Raw))]
    for event in events:
        msgspec.json.decode(event, type=dict[str, Any])
    return events
