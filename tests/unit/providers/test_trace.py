"""What a transport notes of its first connection when it is asked to."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from gateway.config import Egress
from gateway.errors import ConnectFailed, EgressBlocked, TlsFailed
from gateway.providers.trace import Trace
from gateway.providers.transport import tls_context
from tests.certificates import make_certificate
from tests.unit.providers.test_transport import LOCAL, OK, answering, listening, names, request, transport

ANSWER = OK + b"\r\nok"


async def test_the_steps_of_a_connection_over_tls(tmp_path: Path) -> None:
    """How long resolving and connecting took, and whose the certificate is until when."""
    certificate = await asyncio.to_thread(make_certificate, tmp_path, "siem.test")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate.chain_file)
    ours = await asyncio.to_thread(tls_context, str(certificate.ca_file))
    trace = Trace()
    async with (
        listening(answering(ANSWER, ANSWER), tls=server) as port,
        transport(tls=ours, lookup=names(siem_test=["127.0.0.1"]), trace=trace) as sender,
    ):
        await sender.send(request(f"https://siem.test:{port}/"), timeout_s=5)
        first = trace.resolved_ms, trace.connected_ms
        await sender.send(request(f"https://siem.test:{port}/"), timeout_s=5)
    assert (trace.resolved_ms, trace.connected_ms) == first
    assert trace.resolved_ms is not None
    assert trace.connected_ms is not None
    assert trace.connected_ms > 0
    assert trace.certificate is not None
    assert trace.certificate.issuer == "test authority"
    assert trace.certificate.ends_at_s is not None


async def test_an_address_is_not_resolved() -> None:
    """And http has no certificate."""
    trace = Trace()
    async with listening(answering(ANSWER)) as port, transport(trace=trace) as sender:
        await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
    assert (trace.resolved_ms, trace.resolving_failed, trace.certificate) == (None, False, None)
    assert trace.connected_ms is not None


@pytest.mark.parametrize(
    ("policy", "addresses", "fault"),
    [(LOCAL, [], ConnectFailed), (Egress(allow_http=True), ["127.0.0.1"], EgressBlocked)],
)
async def test_a_name_without_an_address(policy: Egress, addresses: list[str], fault: type[Exception]) -> None:
    """Resolving failed, and nothing behind it was tried; so too when the name leads where nothing may go."""
    trace = Trace()
    async with transport(policy, lookup=names(siem_test=addresses), trace=trace) as sender:
        with pytest.raises(fault):
            await sender.send(request("http://siem.test:9/"), timeout_s=5)
    assert trace.resolving_failed
    assert trace.connected_ms is None


async def test_a_certificate_that_is_not_trusted_is_no_connection(tmp_path: Path) -> None:
    """The name was resolved; how far the rest came is the error's to tell."""
    certificate = await asyncio.to_thread(make_certificate, tmp_path, "siem.test")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate.chain_file)
    trace = Trace()
    async with (
        listening(answering(ANSWER), tls=server) as port,
        transport(lookup=names(siem_test=["127.0.0.1"]), trace=trace) as sender,
    ):
        with pytest.raises(TlsFailed):
            await sender.send(request(f"https://siem.test:{port}/"), timeout_s=5)
    assert trace.resolved_ms is not None
    assert (trace.connected_ms, trace.certificate) == (None, None)
