"""The listener's TLS: who gets in, and what happens when its files change."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.config import Server
from gateway.errors import ConfigError
from gateway.server.tls import ListenerTls, server_context
from tests.certificates import Certificate, make_certificate


@pytest.fixture
async def made(tmp_path: Path) -> Certificate:
    return await asyncio.to_thread(make_certificate, tmp_path, "localhost")


@pytest.fixture
async def other(tmp_path: Path) -> Certificate:
    """Of another authority, for the same name."""
    (tmp_path / "other").mkdir()
    return await asyncio.to_thread(make_certificate, tmp_path / "other", "localhost")


def settings(made: Certificate, *, clients: Certificate | None = None) -> Server:
    chain = str(made.chain_file)
    return Server(tls_certificate=chain, tls_key=chain, tls_client_ca=str(clients.ca_file) if clients else "")


async def listener(given: Server, *, look_s: float = 10.0) -> ListenerTls:
    return await asyncio.to_thread(ListenerTls, given, look_s=look_s)


def trusting(made: Certificate, *, shown: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(made.ca_file))
    if shown is not None:
        context.load_cert_chain(shown.chain_file)
    return context


@contextlib.asynccontextmanager
async def echoing(tls: ListenerTls) -> AsyncIterator[int]:
    writers: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls.context)
    running = asyncio.create_task(tls.run())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        running.cancel()
        await asyncio.wait([running])
        server.close()
        for writer in writers:
            writer.transport.abort()


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, text: bytes) -> bytes:
        self.writer.write(text + b"\n")
        return await self.reader.readline()


@contextlib.asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def gets_in(port: int, context: ssl.SSLContext) -> bool:
    try:
        async with connected(port, context) as line:
            return await line.says(b"x") == b"x\n"
    except (ssl.SSLError, ConnectionError):
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def replaced(by: Certificate, at: Certificate) -> None:
    """As certificate tools do: another file is moved to the place."""
    new = at.chain_file.with_suffix(".new")
    await asyncio.to_thread(shutil.copy, by.chain_file, new)
    await asyncio.to_thread(new.replace, at.chain_file)


async def test_a_changed_certificate_is_taken_up_and_connections_live_on(made: Certificate, other: Certificate) -> None:
    """New handshakes get the new certificate; who is connected notices nothing."""
    tls = await listener(settings(made), look_s=0.01)
    async with echoing(tls) as port, connected(port, trusting(made)) as before:
        assert await before.says(b"hello") == b"hello\n"
        with structlog.testing.capture_logs() as logs:
            await replaced(other, made)
            await until(lambda: bool(logs))
        assert logs[0]["event"] == "tls.reloaded"
        assert await gets_in(port, trusting(other))
        assert not await gets_in(port, trusting(made))
        assert await before.says(b"still here") == b"still here\n"


async def test_files_that_cannot_be_used_change_nothing(made: Certificate) -> None:
    """What was there before stays in use, and the log names the file once."""
    tls = await listener(settings(made), look_s=0.01)
    trusted = trusting(made)
    async with echoing(tls) as port:
        with structlog.testing.capture_logs() as logs:
            await asyncio.to_thread(made.chain_file.write_text, "half a certifi")
            await until(lambda: bool(logs))
            await asyncio.sleep(0.05)
        assert [line["event"] for line in logs] == ["tls.reload_failed"]
        assert str(made.chain_file) in logs[0]["error"]
        assert await gets_in(port, trusted)


async def test_a_reload_can_be_asked_for(made: Certificate, other: Certificate) -> None:
    """Without waiting for the next look, as SIGHUP does."""
    tls = await listener(settings(made), look_s=3_600)
    async with echoing(tls) as port:
        await replaced(other, made)
        assert not await gets_in(port, trusting(other))
        with structlog.testing.capture_logs() as logs:
            tls.reload_soon()
            await until(lambda: bool(logs))
        assert await gets_in(port, trusting(other))


async def test_client_certificates_are_asked_for(tmp_path: Path, made: Certificate, other: Certificate) -> None:
    """Only who shows one of the authority gets in; other authorities and those that have run out do not."""
    tls = await listener(settings(made, clients=other))
    (tmp_path / "old").mkdir()
    expired = await asyncio.to_thread(make_certificate, tmp_path / "old", "old", valid=timedelta(days=-1))
    async with echoing(tls) as port:
        assert await gets_in(port, trusting(made, shown=other))
        assert not await gets_in(port, trusting(made))
        assert not await gets_in(port, trusting(made, shown=made))
        assert not await gets_in(port, trusting(made, shown=expired))


async def test_authorities_of_clients_can_be_taken_back(made: Certificate, other: Certificate) -> None:
    """A changed file of authorities replaces those before, for new connections."""
    tls = await listener(settings(made, clients=other), look_s=0.01)
    async with echoing(tls) as port:
        assert await gets_in(port, trusting(made, shown=other))
        with structlog.testing.capture_logs() as logs:
            await asyncio.to_thread(shutil.copy, made.ca_file, other.ca_file)
            await until(lambda: bool(logs))
        assert not await gets_in(port, trusting(made, shown=other))
        assert await gets_in(port, trusting(made, shown=made))


async def test_old_versions_of_tls_get_nowhere(made: Certificate) -> None:
    """1.2 is the least."""
    assert server_context(settings(made)).minimum_version == ssl.TLSVersion.TLSv1_2


def with_passphrase(made: Certificate) -> None:
    key = load_pem_private_key(made.key.encode(), password=None)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame")).decode()
    made.chain_file.with_name("locked.pem").write_text(text)


async def test_files_that_cannot_be_used_stop_the_start(made: Certificate, other: Certificate) -> None:
    """One line names the setting and the file; a key with a passphrase is refused and not asked about."""
    chain, stranger, absent = str(made.chain_file), str(other.chain_file), str(made.chain_file.with_name("absent.pem"))
    await asyncio.to_thread(with_passphrase, made)
    locked = str(made.chain_file.with_name("locked.pem"))
    for given, words in (
        (Server(tls_certificate=absent, tls_key=chain), r"server\.tls_certificate: .*absent\.pem cannot be read"),
        (Server(tls_certificate=chain, tls_key=absent), r"server\.tls_key: .*absent\.pem cannot be read"),
        (Server(tls_certificate=chain, tls_key=stranger), "do not belong together"),
        (Server(tls_certificate=str(made.ca_file), tls_key=str(made.ca_file)), "cannot be used"),
        (Server(tls_certificate=chain, tls_key=locked), "without a passphrase"),
        (
            Server(tls_certificate=chain, tls_key=chain, tls_client_ca=absent),
            r"server\.tls_client_ca: .*cannot be read",
        ),
        (Server(tls_certificate=chain, tls_key=chain, tls_client_ca=locked), "holds no certificate"),
    ):
        with pytest.raises(ConfigError, match=words):
            await asyncio.to_thread(server_context, given)
