"""TLS of one destination: its authorities, a client certificate, a pinned server name, verification switched off.

The fields here belong to every provider. What was asked for is kept or nothing is sent: a client certificate that
cannot be used, or an endpoint without TLS, refuses the request, and is never passed over in silence. What is wrong is
found when a destination is saved (``check_tls``); at an attempt the same fault is TlsFailed, which waits for an
operator.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NoReturn

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from gateway.clock import Clock
from gateway.config import Egress
from gateway.errors import ConfigError, RequestRejected, TlsFailed
from gateway.providers.client_key import UnusableKey, read_client_key
from gateway.providers.codec import Field, Provider, Settings
from gateway.providers.endpoint import parse_endpoint

LABEL_CHARS_MAX = 63  # of DNS

CA = Field(
    "ca",
    "Certificate authority",
    "option",
    multiline=True,
    help="Certificates (PEM) of the authorities to trust for this destination, instead of the system's.",
)
SERVER_NAME = Field(
    "server_name",
    "Server name",
    "option",
    pattern=r"^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,250}[A-Za-z0-9])?$",
    help="The name that the server's certificate must have, where it is not the host of the endpoint.",
)
VERIFY = Field(
    "tls_verify",
    "Verify the server",
    "option",
    type="boolean",
    default=True,
    help="false: take any certificate. Only where the operator allows it, and whoever is in between reads along.",
)
CLIENT_CERTIFICATE = Field(
    "client_certificate",
    "Client certificate",
    "credential",
    secret=True,
    multiline=True,
    help="Certificate (PEM) to show to the server, with the chain behind it. Needs client_key.",
)
CLIENT_KEY = Field(
    "client_key",
    "Client key",
    "credential",
    secret=True,
    multiline=True,
    help="Private key (PEM, without a passphrase) of the client certificate.",
)
FIELDS = (CA, SERVER_NAME, VERIFY, CLIENT_CERTIFICATE, CLIENT_KEY)

_NEEDS_HTTPS = "needs an https:// endpoint: nothing is sent without what it asks for"
_NOT_ALLOWED = "not verifying the server is not allowed; the operator can permit it with egress.allow_insecure_tls"
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END \1-----")


class Tls(msgspec.Struct, frozen=True):
    """What one destination asks of TLS; as it stands here it asks for nothing. PEM has its line breaks back."""

    ca: str = ""
    server_name: str = ""
    verify: bool = True
    client_certificate: str = ""
    client_key: str = ""

    def __repr__(self) -> str:  # client_key is a secret
        return "Tls(…)"


def with_tls(provider: Provider) -> Provider:
    """The provider with the fields of TLS behind its own."""
    return msgspec.structs.replace(provider, fields=(*provider.fields, *FIELDS))


def tls_of(settings: Settings) -> Tls:
    options, credentials = settings.options, settings.credentials
    certificate, key = credentials.get("client_certificate"), credentials.get("client_key")
    return Tls(
        ca=_rewrapped(str(options.get("ca") or "")),
        server_name=str(options.get("server_name") or ""),
        verify=options.get("tls_verify") is not False,
        client_certificate=_rewrapped(certificate.reveal()) if certificate is not None else "",
        client_key=_rewrapped(key.reveal()) if key is not None else "",
    )


def check_tls(settings: Settings, *, policy: Egress, clock: Clock) -> None:
    """Raises RequestRejected with what is wrong and in which field, so that a destination is not saved with it."""
    tls = tls_of(settings)
    if tls == Tls():
        return
    if parse_endpoint(settings.endpoint).scheme != "https":
        _refuse(_first_wish(tls), _NEEDS_HTTPS)
    if not tls.verify and not policy.allow_insecure_tls:
        _refuse("options.tls_verify", _NOT_ALLOWED)
    if tls.ca:
        _check_authorities(tls.ca)
    _check_server_name(tls.server_name)
    _check_client(tls, clock.time_s())


def warnings(endpoint: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """What someone who looks at a destination should know of its connection."""
    found = []
    if options.get("tls_verify") is False:
        found.append("The server's certificate is not verified: options.tls_verify is false.")
    if endpoint.lower().startswith("http://"):
        found.append("The connection is not encrypted: the endpoint is http://.")
    return tuple(found)


class Security(msgspec.Struct, frozen=True):
    """What a connection is made with. ``server_name`` is None where the endpoint's host stands in the certificate."""

    context: ssl.SSLContext
    server_name: str | None
    wish: str
    valid_until_s: float

    def check(self, scheme: str, now_s: float) -> None:
        """Raises TlsFailed when a request now would go without what was asked for."""
        if scheme != "https":
            raise TlsFailed(f"{self.wish} {_NEEDS_HTTPS}")
        if now_s >= self.valid_until_s:
            raise TlsFailed("client_certificate has expired: give a new one")


def security_for(tls: Tls, *, policy: Egress, ca_file: str, now_s: float) -> Security:
    """Blocks. Raises TlsFailed where what ``tls`` asks cannot be done."""
    if not tls.verify and not policy.allow_insecure_tls:
        raise TlsFailed(f"options.tls_verify is false: {_NOT_ALLOWED}")
    try:
        _check_server_name(tls.server_name)
        context = ssl.create_default_context(cadata=tls.ca) if tls.ca else tls_context(ca_file)
        valid_until_s = _check_client(tls, now_s)
        if tls.client_key:
            _load_client(context, tls)
    except RequestRejected as error:
        raise TlsFailed(error.detail) from error
    except (OSError, ValueError, ConfigError) as error:  # ssl.SSLError is an OSError
        raise TlsFailed("the destination's ca or client_certificate cannot be used; give them again") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return Security(context, tls.server_name or None, _first_wish(tls), valid_until_s)


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """Verify against the system's authorities, and those in ``ca_file`` too. Reads files. Raises ConfigError."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "it holds no certificate in PEM form"
            raise ConfigError(f"delivery.ca_file: {ca_file} cannot be read: {reason}") from error
    return context


def _first_wish(tls: Tls) -> str:
    places = {
        "client_certificate": tls.client_certificate,
        "client_key": tls.client_key,
        "options.ca": tls.ca,
        "options.server_name": tls.server_name,
    }
    return next((place for place, value in places.items() if value), "options.tls_verify")


def _refuse(place: str, message: str) -> NoReturn:
    raise RequestRejected(f"{place}: {message}", errors=((place, message),))


def _check_authorities(pem: str) -> None:
    if "PRIVATE KEY" in pem:
        _refuse("options.ca", "holds a private key, and options are shown: give certificates alone")
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        _refuse("options.ca", "holds no certificate in PEM form")


def _check_server_name(name: str) -> None:
    if name and not all(0 < len(label) <= LABEL_CHARS_MAX for label in name.split(".")):
        _refuse("options.server_name", f"between its dots a name has from 1 to {LABEL_CHARS_MAX} characters")


def _check_client(tls: Tls, now_s: float) -> float:
    """The certificate and its key belong together, can be used, and are valid now. Returns until when they are."""
    if not tls.client_certificate and not tls.client_key:
        return float("inf")
    if not tls.client_key:
        _refuse("client_key", "a value is required: the private key of client_certificate")
    if not tls.client_certificate:
        _refuse("client_certificate", "a value is required: the certificate of client_key")
    certificate = _read_certificate(tls.client_certificate)
    try:
        key = read_client_key(tls.client_key)
    except UnusableKey as error:
        _refuse("client_key", str(error))
    if _public_key(certificate) != key.public_key():
        _refuse("client_key", "does not belong to client_certificate")
    now = datetime.fromtimestamp(now_s, UTC)
    if now >= certificate.not_valid_after_utc:
        _refuse("client_certificate", f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        _refuse("client_certificate", f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}")
    return certificate.not_valid_after_utc.timestamp()


def _read_certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem.encode())[0]
    except ValueError:
        _refuse("client_certificate", "is not a certificate in PEM form")


def _public_key(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        _refuse("client_certificate", "has a kind of key that cannot be used here")


def _load_client(context: ssl.SSLContext, tls: Tls) -> None:
    """Python's interface takes files only: this one has no name in any file system and is gone when it returns."""
    with os.fdopen(os.memfd_create("client", os.MFD_CLOEXEC), "wb") as file:
        file.write(f"{tls.client_key}\n{tls.client_certificate}\n".encode())
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


def _rewrapped(pem: str) -> str:
    """A form with a field of one line takes the line breaks out of what is pasted; PEM cannot be read without."""
    blocks = _PEM_BLOCK.findall(pem)
    if not blocks or len(blocks) != pem.count("-----BEGIN"):
        return pem  # is refused as it is: what cannot be read must not turn into nothing asked for
    return "".join(f"-----BEGIN {name}-----\n{_lines(body)}-----END {name}-----\n" for name, body in blocks)


def _lines(base64: str) -> str:
    text = "".join(base64.split())
    return "".join(f"{text[at : at + 64]}\n" for at in range(0, len(text), 64))
