"""AWS Signature Version 4 for the one shape that CloudWatch Logs needs: ``POST /`` without a query.

Plain and small, so that CloudWatch goes through the same transport and the same egress guard as every other provider.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import msgspec


class SigningKey(msgspec.Struct, frozen=True):
    access_key_id: str
    secret_access_key: str
    region: str
    service: str

    def __repr__(self) -> str:
        return "SigningKey(…)"


def sign_post(
    key: SigningKey, host: str, headers: tuple[tuple[str, str], ...], body: bytes, now_s: float
) -> tuple[tuple[str, str], ...]:
    """``headers`` with ``X-Amz-Date`` and ``Authorization``. ``host`` is what the Host header will say."""
    moment = datetime.fromtimestamp(now_s, UTC)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    dated = (*headers, ("X-Amz-Date", stamp))
    names, request_digest = _canonical_digest(host, dated, body)
    scope = f"{stamp[:8]}/{key.region}/{key.service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{request_digest}"
    signature = hmac.digest(_derived_key(key, stamp[:8]), to_sign.encode(), "sha256").hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return (*dated, ("Authorization", authorization))


def _canonical_digest(host: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[str, str]:
    """The names of the signed headers, and the digest of the canonical request."""
    signed = sorted([("host", host), *((name.lower(), " ".join(value.split())) for name, value in headers)])
    names = ";".join(name for name, _ in signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed)
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    return names, hashlib.sha256(canonical.encode()).hexdigest()


def _derived_key(key: SigningKey, day: str) -> bytes:
    derived = f"AWS4{key.secret_access_key}".encode()
    for part in (day, key.region, key.service, "aws4_request"):
        derived = hmac.digest(derived, part.encode(), "sha256")
    return derived
