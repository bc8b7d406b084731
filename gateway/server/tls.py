"""TLS of the gateway's own listener: certificate, key and the authorities of client certificates, exchanged as it runs.

``ListenerTls.context`` is what a server is given. Each handshake takes the newest files that could be read; connections
that stand go on with what they were made with. Files that cannot be used change nothing: those before them stay, and a
log line says why.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import structlog

from gateway.config import Server
from gateway.errors import ConfigError
from gateway.telemetry import Event

LOOK_S = 10.0

_Stamp = tuple[int, int, int]


class ListenerTls:
    """Building it reads the files, which blocks; raises ConfigError that names the setting and the file."""

    def __init__(self, settings: Server, *, look_s: float = LOOK_S) -> None:
        self._settings = settings
        self._look_s = look_s
        self._asked = asyncio.Event()
        self._stamps = self._look()
        self._context = _NewestContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.newest = server_context(settings)

    @property
    def context(self) -> ssl.SSLContext:
        return self._context

    def reload_soon(self) -> None:
        """Have ``run`` take up the files now, changed or not."""
        self._asked.set()

    async def run(self) -> None:
        """Take up files that have changed, within ``look_s``. Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._look_s):
                    await self._asked.wait()
            except TimeoutError:
                if await asyncio.to_thread(self._look) == self._stamps:
                    continue
            self._asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        """Take up the files as they are now, or say in the log why that cannot be."""
        stamps = await asyncio.to_thread(self._look)
        try:
            self._context.newest = await asyncio.to_thread(server_context, self._settings)
        except ConfigError as error:
            structlog.get_logger().error(Event.TLS_RELOAD_FAILED, error=str(error))
        else:
            structlog.get_logger().info(Event.TLS_RELOADED)
        self._stamps = stamps  # of files that cannot be used too: once is enough to say so

    def _look(self) -> list[_Stamp | None]:
        """What tells a file from the one that was there before, links followed."""
        settings = self._settings
        return [_stamp(path) for path in (settings.tls_certificate, settings.tls_key, settings.tls_client_ca) if path]


class _NewestContext(ssl.SSLContext):
    """Hands every handshake to ``newest``. Event loops make each connection's TLS by ``wrap_bio`` and nothing else."""

    newest: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.newest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def server_context(settings: Server) -> ssl.SSLContext:
    """TLS 1.2 or newer; with ``tls_client_ca`` nobody gets in without a certificate of these authorities. Blocks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _require("server.tls_certificate", settings.tls_certificate)
    _require("server.tls_key", settings.tls_key)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = (
            "they do not belong together" if _reason(error) == "KEY_VALUES_MISMATCH" else "they are not what they say"
        )
        raise ConfigError(
            f"server.tls_certificate and server.tls_key cannot be used: {reason} ({settings.tls_certificate}, "
            f"{settings.tls_key}); give a certificate chain and its key without a passphrase, in PEM"
        ) from error
    if settings.tls_client_ca:
        _require("server.tls_client_ca", settings.tls_client_ca)
        try:
            context.load_verify_locations(cafile=settings.tls_client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"server.tls_client_ca: {settings.tls_client_ca} holds no certificate in PEM form"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _require(setting: str, path: str) -> None:
    """OpenSSL does not say which of two files it could not open."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from error


def _no_passphrase() -> str:
    """Instead of a question on the terminal, which would hold the gateway up."""
    raise ValueError("the key has a passphrase")


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or ""


def _stamp(path: str) -> _Stamp | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
