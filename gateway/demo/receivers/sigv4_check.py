"""Verification of AWS Signature Version 4, written from its definition and apart from the gateway's own signing."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import quote

from gateway.demo.receivers.receiver import Call

SKEW_S_MAX = 300

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_UNRESERVED = "-_.~"


def signature_fault(
    call: Call, *, access_key_id: str, secret_access_key: str, region: str, service: str, now_s: float
) -> tuple[str, str] | None:
    """The name and the text of AWS's error; None when the signature is good."""
    authorization = call.headers.get("authorization")
    if not authorization:
        return "MissingAuthenticationTokenException", "Missing Authentication Token"
    parts = _AUTHORIZATION.fullmatch(authorization)
    stamp = call.headers.get("x-amz-date", "")
    if parts is None or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        return "IncompleteSignatureException", "Authorization header requires its parameters, and X-Amz-Date"
    key_id, day, scope_region, scope_service, names, signature = parts.groups()
    if key_id != access_key_id:
        return "UnrecognizedClientException", "The security token included in the request is invalid."
    expected = _signature(call, names, stamp, f"{day}/{region}/{service}", secret_access_key)
    if (day, scope_region, scope_service) != (stamp[:8], region, service):
        fault = f"Credential should be scoped to a valid region and service: {region}"
    elif not _covers(names, call):
        fault = "'Host', 'X-Amz-Date' and every x-amz header must be signed"
    elif not hmac.compare_digest(expected, signature):
        fault = "The request signature we calculated does not match the signature you provided."
    else:
        fault = _skew_fault(stamp, now_s) or ""
    return ("InvalidSignatureException", fault) if fault else None


def _covers(names: str, call: Call) -> bool:
    signed = names.split(";")
    required = {"host", *(name for name in call.headers if name.startswith("x-amz-"))}
    return signed == sorted(signed) and required <= set(signed)


def _skew_fault(stamp: str, now_s: float) -> str | None:
    moment_s = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if moment_s < now_s - SKEW_S_MAX:
        return f"Signature expired: {stamp} is now earlier than the allowed time"
    if moment_s > now_s + SKEW_S_MAX:
        return f"Signature not yet current: {stamp} is still later than the allowed time"
    return None


def _signature(call: Call, names: str, stamp: str, scope: str, secret: str) -> str:
    query = "&".join(
        sorted(f"{quote(k, safe=_UNRESERVED)}={quote(v, safe=_UNRESERVED)}" for k, v in call.query.items())
    )
    headers = "".join(f"{name}:{' '.join(call.headers.get(name, '').split())}\n" for name in names.split(";"))
    digest = hashlib.sha256(call.body).hexdigest()
    canonical = "\n".join([call.method, call.path or "/", query, headers, names, digest])
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", stamp, f"{scope}/aws4_request", hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
