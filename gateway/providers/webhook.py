"""A customer's own HTTPS endpoint, with every request signed over exactly the bytes that are sent.

``X-Truthlocks-Signature: t=<unix seconds>,v1=<hex>`` is the HMAC-SHA256 of ``<t>.<body>`` under the whole secret. The
three headers of the Standard Webhooks specification are sent too, so that its libraries can verify a delivery.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

import msgspec

from gateway.providers.choices import credential, option_error, optional_credential, text_option
from gateway.providers.codec import (
    Batch,
    Codec,
    Context,
    Encoded,
    Field,
    Limits,
    Misconfigured,
    Outcome,
    Provider,
    Reply,
    Request,
    Retry,
    Settings,
    Split,
)
from gateway.providers.endpoint import parse_endpoint
from gateway.providers.framing import cut
from gateway.providers.reply import body_words, by_status, http_code, retry_after_s

BODY_BYTES_MAX = 256_000
EVENTS_MAX = 500
TRIES_BEFORE_SPLIT = 3
HEADERS_MAX = 32

_SINGLE_LIMITS = Limits(events_max=32, bytes_max=BODY_BYTES_MAX)  # one request each, one after another
_BATCH_LIMITS = Limits(events_max=EVENTS_MAX, bytes_max=BODY_BYTES_MAX - 2 * EVENTS_MAX)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_OWN_PREFIXES = ("x-truthlocks-", "webhook-")
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

SECRET = Field(
    "secret",
    "Signing secret",
    "credential",
    required=True,
    secret=True,
    help="Shared with the receiver, which verifies the X-Truthlocks-Signature header with it.",
)
PREVIOUS_SECRET = Field(
    "previous_secret",
    "Previous signing secret",
    "credential",
    secret=True,
    help="During a change of the secret: requests are signed with this one too, until it is taken away.",
)
HEADERS = Field(
    "headers",
    "Headers",
    "option",
    type="object",
    help="Further headers of every request. They are shown to everyone who may read the destination.",
)
FORMAT = Field(
    "format",
    "Format",
    "option",
    type="enum",
    choices=("single", "array", "ndjson"),
    default="single",
    help="single: one event per request. array: a JSON array of events. ndjson: one event per line.",
)


class WebhookCodec:
    def __init__(self, settings: Settings) -> None:
        self._url = parse_endpoint(settings.endpoint).address
        secrets = [credential(settings, "secret", header=False)]
        previous = optional_credential(settings, "previous_secret", header=False)
        if previous is not None:
            secrets.append(previous)
        self._secrets = tuple(secrets)
        self._format = text_option(settings, FORMAT)
        content_type = "application/x-ndjson" if self._format == "ndjson" else "application/json"
        self._headers = (("Content-Type", content_type), *_chosen_headers(settings.options.get("headers")))

    @property
    def limits(self) -> Limits:
        return _SINGLE_LIMITS if self._format == "single" else _BATCH_LIMITS

    def encode(self, batch: Batch, context: Context) -> Encoded:
        if self._format == "single":
            lines = enumerate(batch.lines)
            return Encoded(tuple(self._request(line, range(at, at + 1)) for at, line in lines))
        sizes = [len(line) + 1 for line in batch.lines]
        ranges = cut(sizes, bytes_max=BODY_BYTES_MAX - 1, events_max=EVENTS_MAX)
        return Encoded(
            tuple(self._request(self._body(batch.lines[start:stop]), range(start, stop)) for start, stop in ranges)
        )

    def sign(self, request: Request, context: Context) -> Request:
        body, delivery, now = request.body, delivery_id(request.body), int(context.now_s)
        headers = (
            *request.headers,
            ("X-Truthlocks-Signature", signature(self._secrets, now, body)),
            ("X-Truthlocks-Delivery", delivery),
            ("webhook-id", delivery),
            ("webhook-timestamp", str(now)),
            ("webhook-signature", standard_signature(self._secrets, delivery, now, body)),
        )
        return msgspec.structs.replace(request, headers=headers)

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        status, code = reply.status, http_code(reply.status)
        words = body_words(reply, self._secrets) if status >= 300 else ""
        told = f" (HTTP {status})" + (f": {words}" if words else "")
        if status == 410:
            return Misconfigured(f"the endpoint is gone; set a new one or disable the destination{told}", code=code)
        if status in {400, 422}:
            return Split(f"the endpoint refuses the events{told}", code=code, tries=TRIES_BEFORE_SPLIT, alone="suspect")
        if status >= 500:
            throttled = status in {502, 503, 504}
            after_s = retry_after_s(reply, context.now_s)
            return Retry(f"the endpoint cannot take events now{told}", code=code, after_s=after_s, throttled=throttled)
        return by_status(reply, context.now_s, words=words)

    def _body(self, lines: Sequence[bytes]) -> bytes:
        if self._format == "ndjson":
            return b"\n".join(lines) + b"\n"
        return b"[" + b",".join(lines) + b"]"

    def _request(self, body: bytes, positions: range) -> Request:
        return Request(url=self._url, headers=self._headers, body=body, positions=positions)


def signature(secrets: tuple[str, ...], now: int, body: bytes) -> str:
    """``t=…,v1=…``, with one ``v1`` for each secret that is valid now."""
    signed = b"%d.%b" % (now, body)
    return f"t={now}," + ",".join(f"v1={hmac.digest(secret.encode(), signed, 'sha256').hex()}" for secret in secrets)


def standard_signature(secrets: tuple[str, ...], delivery: str, now: int, body: bytes) -> str:
    """Standard Webhooks, version 1: base64, over the id too, under the decoded part after ``whsec_``."""
    signed = b"%b.%d.%b" % (delivery.encode(), now, body)
    digests = (hmac.digest(_standard_key(secret), signed, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def delivery_id(body: bytes) -> str:
    """The same for the same bytes, over retries and restarts: it is made from them."""
    return f"dlv_{hashlib.sha256(body).hexdigest()[:32]}"


def _standard_key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    if encoded == secret:
        return secret.encode()
    try:
        return base64.b64decode(encoded, validate=True) or secret.encode()
    except (binascii.Error, ValueError):
        return secret.encode()


def _chosen_headers(chosen: object) -> tuple[tuple[str, str], ...]:
    """Raises RequestRejected for a header that is the gateway's own, hop-by-hop, or not a header."""
    if not chosen:
        return ()
    if not isinstance(chosen, Mapping) or len(chosen) > HEADERS_MAX:
        raise option_error(HEADERS.name, f"must be an object of at most {HEADERS_MAX} texts")
    for name, value in chosen.items():
        _check_header(name, value)
    return tuple((name, value.strip()) for name, value in chosen.items())


def _check_header(name: object, value: object) -> None:
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise option_error(HEADERS.name, "a header's name has characters that HTTP does not allow")
    if name.lower() in _OWN_HEADERS or name.lower().startswith(_OWN_PREFIXES):
        raise option_error(HEADERS.name, f"{name} is set by the gateway itself")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise option_error(HEADERS.name, f"the value of {name} must be printable ASCII text")


def _normalise_endpoint(endpoint: str) -> str:
    return parse_endpoint(endpoint).address


def _build(settings: Settings) -> Codec:
    return WebhookCodec(settings)


WEBHOOK = Provider(
    name="webhook",
    label="Custom webhook",
    fields=(SECRET, PREVIOUS_SECRET, HEADERS, FORMAT),
    endpoint_help="HTTPS address that accepts POST requests with a JSON body.",
    credentials_help="Set up an HTTPS endpoint that accepts POST requests with a JSON body and generate a shared "
    "secret. Verify the X-Truthlocks-Signature header with it: HMAC-SHA256 over <t>.<body>.",
    example_endpoint="https://hooks.example.com/audit",
    normalise_endpoint=_normalise_endpoint,
    build=_build,
)
