"""What the first connection of a transport came to, step by step, for a test of a destination.

Filled in where connections are made: a request over one that stands pays nothing for it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping


class Trace:
    """None where a step has not been taken. Over TLS ``connected_ms`` is that of TCP and TLS together."""

    def __init__(self) -> None:
        self.resolved_ms: float | None = None
        self.resolving_failed = False
        self.connected_ms: float | None = None
        self.certificate: Certificate | None = None


class Certificate:
    """Of the peer, as it was verified."""

    def __init__(self, peer: Mapping[str, object]) -> None:
        self.issuer = _issuer(peer)
        ends = peer.get("notAfter")
        self.ends_at_s = float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else None


def certificate_of(transport: asyncio.BaseTransport) -> Certificate | None:
    """None without TLS, and where it was not verified."""
    secured = transport.get_extra_info("ssl_object")
    peer = secured.getpeercert() if secured is not None else None
    return Certificate(peer) if peer else None


def _issuer(peer: Mapping[str, object]) -> str:
    """Its organization, else its common name."""
    issuer = peer.get("issuer")
    parts = dict(pair for names in issuer for pair in names) if isinstance(issuer, tuple) else {}
    return str(parts.get("organizationName") or parts.get("commonName") or "an unnamed authority")
