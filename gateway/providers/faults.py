"""What goes wrong between us and a destination, by our own names and in words for whoever set the destination up."""

from __future__ import annotations

import os
import ssl

import aiohttp
from yarl import URL

from gateway.errors import ConnectFailed, EgressBlocked, TimedOut, TlsFailed, TransportError
from gateway.providers.egress import ForbiddenAddress


def explain(error: Exception, url: URL, *, timeout_s: float, connect_timeout_s: float) -> TransportError:
    """Our name for what the client library, the system or the TLS library raised.

    The words name the host as the user wrote it, but neither an address that it resolved to nor a path, where tokens
    may stand.
    """
    host = f"{url.raw_host}:{url.port}"
    kind: type[TransportError] = ConnectFailed
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind, words = (
                TimedOut,
                f"no connection to {host} within {connect_timeout_s:g} s; check address and firewall",
            )
        case TimeoutError():
            kind, words = TimedOut, f"no answer from {host} within {timeout_s:g} s"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            kind, words = TlsFailed, _tls_words(error, host)
        case aiohttp.InvalidURL():
            kind, words = EgressBlocked, f"{url.raw_host} is not a host name or an address in its usual form"
        case aiohttp.ClientConnectorDNSError():
            words = f"the host name {url.raw_host} cannot be resolved; check its spelling and the name servers"
        case aiohttp.ClientConnectorError():
            kind = EgressBlocked if isinstance(error.os_error, ForbiddenAddress) else ConnectFailed
            words = f"cannot connect to {host}: {_system_words(error.os_error)}"
        case aiohttp.ClientResponseError():
            words = f"{host} does not answer in HTTP that can be understood; check the port and the scheme"
        case aiohttp.ClientPayloadError():
            words = f"{host} broke off in the middle of its answer"
        case aiohttp.ServerDisconnectedError() | OSError():
            words = f"{host} closed the connection before it answered"
        case _:
            words = f"the connection to {host} failed"
    return kind(words)


def _tls_words(error: Exception, host: str) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message.rstrip(".")
        return f"the certificate of {host} is not valid: {reason}; options.ca or delivery.ca_file can name an authority"
    if getattr(cause, "reason", None) == "WRONG_VERSION_NUMBER":
        return f"{host} does not speak TLS; check the port, or whether the endpoint is http://"
    reason = str(getattr(cause, "reason", None) or "handshake failed").replace("_", " ").lower()
    return f"no secure connection to {host}: {reason}"


def _system_words(error: OSError) -> str:
    """The system's words for the error number alone: the library's text holds the resolved address."""
    return os.strerror(error.errno).lower() if error.errno else "none of its addresses can be reached"
