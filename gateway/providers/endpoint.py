"""The address of a destination as a user types it, taken apart and made safe to use.

Whether ``http://`` or a private address is allowed is not decided here, but by the destination service and the egress
guard.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import SplitResult, quote, urlsplit

import msgspec
from yarl import URL

from gateway.errors import RequestRejected

ENDPOINT_CHARS_MAX = 2048

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._\-]*[a-z0-9_.])?")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Endpoint(msgspec.Struct, frozen=True):
    """``authority`` is what a Host header says: the port is left out where it is the scheme's own.

    ``path`` and ``query`` are percent-encoded; ``query`` has no question mark.
    """

    scheme: str
    host: str
    port: int | None
    authority: str
    path: str
    query: str

    @property
    def base(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def address(self) -> str:
        """The whole of it, as one text."""
        return f"{self.base}{self.path}" + (f"?{self.query}" if self.query else "")


def endpoint_error(message: str) -> RequestRejected:
    return RequestRejected(f"endpoint: {message}", errors=(("endpoint", message),))


def parse_endpoint(text: str) -> Endpoint:
    """Trim, default to ``https``, drop the fragment. Raises RequestRejected for what is not a plain web address."""
    text = text.strip()
    _check_characters(text)
    parts = _split(text if _SCHEME.match(text) else f"https://{text}")
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise endpoint_error(f"the scheme {scheme!r} is not supported; use https://")
    if "@" in parts.netloc:
        raise endpoint_error("user names and passwords in the address are not supported; use the credential fields")
    host, port = _host(parts), _port(parts, scheme)
    return Endpoint(
        scheme=scheme,
        host=host,
        port=port,
        authority=host if port is None else f"{host}:{port}",
        path=quote(parts.path, safe=_PATH_SAFE),
        query=quote(parts.query, safe=_PATH_SAFE + "?"),
    )


def strip_path_suffix(path: str, suffixes: tuple[str, ...]) -> str:
    """``path`` without a last slash and without the first of ``suffixes`` that it ends with."""
    path = path.rstrip("/")
    for suffix in suffixes:
        if path.endswith(suffix):
            return path.removesuffix(suffix).rstrip("/")
    return path


def _check_characters(text: str) -> None:
    if not text:
        raise endpoint_error("an address is required")
    if len(text) > ENDPOINT_CHARS_MAX:
        raise endpoint_error(f"the address is longer than {ENDPOINT_CHARS_MAX} characters")
    if "\\" in text or not text.isprintable() or any(character.isspace() for character in text):
        raise endpoint_error("spaces, control characters and backslashes are not allowed in an address")


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise endpoint_error("this is not a web address") from None


def _host(parts: SplitResult) -> str:
    try:
        name = parts.hostname or ""
        if ":" in name:
            return f"[{IPv6Address(name)}]"
        host = name.encode("idna").decode("ascii").lower()
        _check_coded(host)
    except (ValueError, UnicodeError):
        raise endpoint_error("the host name is not valid") from None
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise endpoint_error("the host name is not valid" if host else "the address has no host name")
    return host


def _check_coded(host: str) -> None:
    """Raises UnicodeError for a label that says it stands for others than ASCII and for none that there are."""
    for label in host.split("."):
        if label.startswith("xn--"):
            _ = URL(f"https://{label}.example").host  # alone, one that ends in a digit is passed over as an address


def _port(parts: SplitResult, scheme: str) -> int | None:
    try:
        port = parts.port
    except ValueError:
        raise endpoint_error("the port is not a number from 1 to 65535") from None
    if port == 0:
        raise endpoint_error("the port is not a number from 1 to 65535")
    return None if port == _DEFAULT_PORTS[scheme] else port
