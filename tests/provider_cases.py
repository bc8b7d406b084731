"""The reference event, and one of each destination, for tests of codecs."""

from __future__ import annotations

import json
from typing import Any

from gateway.providers import PROVIDERS
from gateway.providers.codec import Codec, Context, Reply, Request, Secret, Settings, Signing

EVENT = (
    b'{"id":"evt_abc123","timestamp":"2026-06-30T12:34:56.789Z","tenant_id":"tenant-uuid","actor_type":"USER",'
    b'"actor_id":"user-uuid","action":"attestation.mint","resource_type":"attestation","resource_id":"attestation-uuid",'
    b'"service":"trust-registry","outcome":"SUCCESS","metadata":{"issuer_id":"issuer-uuid","subject":"user:12345",'
    b'"claim":"email_verified"},"integrity_hash":"sha256:abc123..."}'
)
EVENT_TIME_MS = 1_782_822_896_789
NOW_S = 1_782_822_900.0  # 2026-06-30T12:35:00Z, just over three seconds after the event
CHANNEL = "8c2f3f0e-3b1c-4f43-9f0a-6f1d0e2f7a55"
CONTEXT = Context(now_s=NOW_S, channel=CHANNEL, instance="gw-01")

ENDPOINTS = {
    "splunk": "https://hec.splunk.example.com:8088/services/collector",
    "datadog": "https://http-intake.logs.datadoghq.com/api/v2/logs",
    "cloudwatch": "https://logs.us-east-1.amazonaws.com",
    "elastic": "https://es.example.com:9200",
    "webhook": "https://hooks.example.com/audit?source=gateway",
}
CREDENTIALS = {
    "splunk": {"token": "3b0e6f1a-hec-token"},
    "datadog": {"token": "dd0123456789abcdef"},
    "cloudwatch": {
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    },
    "elastic": {"token": "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"},
    "webhook": {"secret": "whsec_test_secret"},
}


def settings(
    name: str,
    options: dict[str, object] | None = None,
    *,
    endpoint: str = "",
    credentials: dict[str, str] | None = None,
) -> Settings:
    chosen = {**CREDENTIALS[name], **(credentials or {})}
    return Settings(
        endpoint=endpoint or ENDPOINTS[name],
        credentials={key: Secret(value) for key, value in chosen.items()},
        options=options or {},
    )


def codec(
    name: str,
    options: dict[str, object] | None = None,
    *,
    endpoint: str = "",
    credentials: dict[str, str] | None = None,
) -> Codec:
    return PROVIDERS[name].build(settings(name, options, endpoint=endpoint, credentials=credentials))


def signed(made: Codec, request: Request, context: Context = CONTEXT) -> Request:
    """The request as it goes out."""
    return made.sign(request, context) if isinstance(made, Signing) else request


def event(**members: object) -> bytes:
    """The reference event with these members changed or added."""
    known: dict[str, Any] = json.loads(EVENT)
    return json.dumps({**known, **members}, separators=(",", ":"), ensure_ascii=False).encode()


def reply(status: int, body: object = b"", **headers: str) -> Reply:
    """``body`` as bytes, or as what they are to say in JSON; underscores in header names stand for hyphens."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}
