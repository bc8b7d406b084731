"""What the first connection of a transport came to, step by step, for a test of a destination.

Filled in by the client library's connector and resolver, which are wrapped where a trace is asked for and nowhere else:
deliveries pay nothing for it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


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


class TracedResolver(AbstractResolver):
    def __init__(self, resolver: AbstractResolver, trace: Trace) -> None:
        self._resolver = resolver
        self._trace = trace

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        began_s = _now_s()
        self._trace.resolving_failed = True
        found = await self._resolver.resolve(host, port, family)
        self._trace.resolving_failed = False
        self._trace.resolved_ms = _since_ms(began_s)
        return found

    async def close(self) -> None:
        await self._resolver.close()


class TracedConnector(aiohttp.TCPConnector):
    """The first connection that it makes is the one that is traced."""

    trace = Trace()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[aiohttp.tracing.Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        began_s = _now_s()
        connection = await super().connect(req, traces, timeout)
        if self.trace.connected_ms is None:
            self.trace.connected_ms = round(_since_ms(began_s) - (self.trace.resolved_ms or 0.0), 3)
            secured = connection.transport.get_extra_info("ssl_object") if connection.transport is not None else None
            peer = secured.getpeercert() if secured is not None else None
            self.trace.certificate = Certificate(peer) if peer else None
        return connection


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _since_ms(began_s: float) -> float:
    return round((_now_s() - began_s) * 1000, 3)


def _issuer(peer: Mapping[str, object]) -> str:
    """Its organization, else its common name."""
    issuer = peer.get("issuer")
    parts = dict(pair for names in issuer for pair in names) if isinstance(issuer, tuple) else {}
    return str(parts.get("organizationName") or parts.get("commonName") or "an unnamed authority")
