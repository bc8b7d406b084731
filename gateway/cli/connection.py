"""Which gateway the client commands talk to, and with which key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from gateway.cli.failure import WrongUse

DEFAULT_URL = "http://127.0.0.1:8080"
_LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class Connection(msgspec.Struct, frozen=True):
    """``url`` has no path; ``socket`` is the path of a unix socket or empty. ``key`` is empty when there is none.

    ``ca_file`` and ``certificate_file`` are for ``https://``; empty where the system's authorities and no client
    certificate will do.
    """

    url: str
    socket: str
    key: str
    ca_file: str = ""
    certificate_file: str = ""

    def __repr__(self) -> str:  # key is a secret
        return f"Connection({self.socket or self.url})"


def connection(environment: Mapping[str, str]) -> Connection:
    """From GATEWAY_URL, GATEWAY_API_KEY, GATEWAY_CA_FILE and GATEWAY_CLIENT_CERTIFICATE.

    Without a key, the operator's key that ``serve`` left in the data directory is read, but only for a gateway on this
    machine: it must not travel to another one unasked. Raises WrongUse.
    """
    text = environment.get("GATEWAY_URL") or DEFAULT_URL
    key = environment.get("GATEWAY_API_KEY", "").strip()
    if not key.isascii() or not key.isprintable():
        raise WrongUse("GATEWAY_API_KEY is no key: it holds characters that a key cannot have")
    if text.startswith("unix:"):
        return Connection("http://localhost", text.removeprefix("unix:"), key or _kept_key(environment))
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _has_port(parts):
        raise WrongUse(f"GATEWAY_URL must be http://HOST:PORT, https://HOST or unix:PATH, not {text!r}")
    if not key and parts.hostname in _LOCAL_HOSTS:
        key = _kept_key(environment)
    files = environment.get("GATEWAY_CA_FILE", ""), environment.get("GATEWAY_CLIENT_CERTIFICATE", "")
    return Connection(text.rstrip("/"), "", key, *files)


def _has_port(parts: SplitResult) -> bool:
    """Whether the port is one or left out."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _kept_key(environment: Mapping[str, str]) -> str:
    path = Path(environment.get("GATEWAY_DATA_DIR") or "./data") / "bootstrap-key"
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
