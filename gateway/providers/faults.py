"""What goes wrong between us and a destination, by our own names and in words for whoever set the destination up."""

from __future__ import annotations

import os
import re
import ssl

from yarl import URL

from gateway.errors import ConnectFailed, EgressBlocked, TimedOut, TlsFailed, TransportError
from gateway.providers.egress import ForbiddenAddress

_ANY_REFUSAL = "SSLV3_ALERT_HANDSHAKE_FAILURE"  # in the handshake it may also be about ciphers
_REFUSAL = re.compile(rf"[A-Z0-9]+_ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)|{_ANY_REFUSAL}")


class WireFault(Exception):
    """What our client says of a request that came to nothing, beside what the system and the TLS library say."""


class UnusualHost(WireFault):
    """An address in a spelling that not every reader takes for the same."""


class NotResolved(WireFault):
    pass


class NotConnected(WireFault):
    """``error`` is the system's, with its number or without."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class NotConnectedInTime(WireFault):
    pass


class NotHttp(WireFault):
    """What came is no answer, or none that anybody should have to read."""


class BrokenOff(WireFault):
    """The answer began and did not end as it should."""


def explain(error: Exception, url: URL, *, timeout_s: float, connect_timeout_s: float) -> TransportError:
    """Our name for what our client, the system or the TLS library raised.

    The words name the host as the user wrote it, but neither an address that it resolved to nor a path, where tokens
    may stand.
    """
    host = f"{url.raw_host}:{url.port}"
    kind: type[TransportError] = ConnectFailed
    match error:
        case NotConnectedInTime():
            kind, words = (
                TimedOut,
                f"no connection to {host} within {connect_timeout_s:g} s; check address and firewall",
            )
        case TimeoutError():
            kind, words = TimedOut, f"no answer from {host} within {timeout_s:g} s"
        case ssl.SSLError():
            kind, words = TlsFailed, _tls_words(error, host)
        case UnusualHost() | UnicodeError():
            kind, words = EgressBlocked, f"{url.raw_host} is not a host name or an address in its usual form"
        case NotResolved():
            words = f"the host name {url.raw_host} cannot be resolved; check its spelling and the name servers"
        case NotConnected():
            kind = EgressBlocked if isinstance(error.error, ForbiddenAddress) else ConnectFailed
            words = f"cannot connect to {host}: {_system_words(error.error)}"
        case NotHttp():
            words = f"{host} does not answer in HTTP that can be understood; check the port and the scheme"
        case BrokenOff():
            words = f"{host} broke off in the middle of its answer"
        case OSError():
            words = f"{host} closed the connection before it answered"
        case _:
            words = f"the connection to {host} failed"
    return kind(words)


def refuses_certificate(error: Exception | None) -> bool:
    """Whether the server, once the handshake was over for us, would not have us with the certificate we showed, or
    without one. TLS 1.3 has no other time to say so, and in 1.2 the handshake itself fails.
    """
    return isinstance(error, ssl.SSLError) and _REFUSAL.fullmatch(error.reason or "") is not None


def _tls_words(error: ssl.SSLError, host: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return f"the certificate of {host} is not valid: {reason}; options.ca or delivery.ca_file can name an authority"
    if error.reason == "WRONG_VERSION_NUMBER":
        return f"{host} does not speak TLS; check the port, or whether the endpoint is http://"
    if refuses_certificate(error) and error.reason != _ANY_REFUSAL:
        return f"{host} refuses the client certificate or lacks one: {_plain(error)}; check client_certificate"
    return f"no secure connection to {host}: {_plain(error)}"


def _plain(error: ssl.SSLError) -> str:
    return str(error.reason or "handshake failed").replace("_", " ").lower()


def _system_words(error: OSError) -> str:
    """The system's words for the error number alone: the system's text may hold the resolved address."""
    if error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, ConnectionError):
        return "it closes new connections at once"
    return "none of its addresses can be reached"
