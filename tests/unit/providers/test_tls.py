"""TLS of one destination: what is refused when it is saved, and what goes over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.clock import SystemClock
from gateway.config import Egress
from gateway.errors import ConnectFailed, RequestRejected, TlsFailed
from gateway.providers import PROVIDERS
from gateway.providers.codec import Request, Secret, Settings
from gateway.providers.tls import FIELDS, Tls, check_tls, tls_of, warnings
from gateway.providers.transport import HttpTransport
from tests.certificates import Certificate, make_certificate
from tests.clock import ManualClock

LOCAL = Egress(allow_http=True, allow_private=True)
LENIENT = Egress(allow_http=True, allow_private=True, allow_insecure_tls=True)
URL = "https://siem.example/"
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose, to be refused
# self-signed, with a key on the curve secp160r1, which the cryptography library does not know
UNKNOWN_CURVE = (
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBOTCB+KADAgECAhQY5IFr3g0JeIGXHG3syA+Ywzfs6zAKBggqhkjOPQQDAjAMMQowCAYDVQQDDAF4MB4XDTI2MTEyNzA0"
    "MzgwM1oXDTI2MTIyNzA0MzgwM1owDDEKMAgGA1UEAwwBeDA+MBAGByqGSM49AgEGBSuBBAAIAyoABNEHNo4OiciJd03SqRIl"
    "3vCvU9GT7sbnA2b1grhyhOeGy0NyTTKsyXijUzBRMB0GA1UdDgQWBBRX268/Pvu0pB+7VugsBqNuLIa7lTAfBgNVHSMEGDAW"
    "gBRX268/Pvu0pB+7VugsBqNuLIa7lTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCAzAAMC0CFQCHv6eFNCuSV4zlhTK2"
    "UwEuV6OEGQIUEFV1jWl8ulMTooJVLCxcUyUzExY="
    "\n-----END CERTIFICATE-----\n"
)


@pytest.fixture
async def server(tmp_path: Path) -> Certificate:
    return await asyncio.to_thread(make_certificate, tmp_path, "siem.example")


@pytest.fixture
async def client(tmp_path: Path) -> Certificate:
    return await asyncio.to_thread(make_certificate, tmp_path, "client.example")


def settings(endpoint: str = URL, *, certificate: str = "", key: str = "", **options: object) -> Settings:
    given = {"client_certificate": certificate, "client_key": key}
    credentials = {name: Secret(value) for name, value in given.items() if value}
    return Settings(endpoint, credentials, options)


def fault(given: Settings, policy: Egress = LOCAL) -> tuple[str, str]:
    """The field and the message."""
    with pytest.raises(RequestRejected) as caught:
        check_tls(given, policy=policy, clock=SystemClock())
    ((field, message),) = caught.value.errors
    assert message in caught.value.detail
    return field, message


def encoded(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, passphrase: str = "") -> str:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


class Seen:
    """What a TLS server saw of its clients."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.names: list[str | None] = []
        self.clients: list[str] = []
        self.connections = 0


@contextlib.asynccontextmanager
async def serving(made: Certificate, *, clients: Certificate | None = None) -> AsyncIterator[Seen]:
    """Answers 200. With ``clients``, asks for a certificate of that authority and refuses who has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain_file)
    seen = Seen(0)
    open_ones: set[asyncio.StreamWriter] = set()
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.ca_file)

    def named(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        seen.names.append(name)

    context.sni_callback = named

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        certificate = writer.get_extra_info("peercert")
        seen.clients += [value for ((name, value),) in certificate["subject"]] if certificate else [""]
        open_ones.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    seen.port = listening.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        listening.close()
        for writer in open_ones:
            writer.transport.abort()


def refuse(listener: socket.socket, context: ssl.SSLContext) -> None:
    """One handshake that fails, with its alert; blocks until the client has gone."""
    accepted, _ = listener.accept()
    secured = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    with contextlib.suppress(ssl.SSLError):
        secured.do_handshake()
    with socket.socket(fileno=secured.detach()) as bare, contextlib.suppress(ConnectionError):
        while bare.recv(65536):
            pass


async def lookup(_host: str, _port: int, _family: object) -> list[str]:
    return ["127.0.0.1"]


@contextlib.asynccontextmanager
async def transport(policy: Egress = LOCAL, *, ca_file: str = "") -> AsyncIterator[HttpTransport]:
    made = HttpTransport(policy, lookup=lookup, ca_file=ca_file)
    try:
        yield made
    finally:
        await made.close()


async def send(through: HttpTransport, given: Settings, port: int, host: str = "siem.example") -> int:
    scheme = "http" if given.endpoint.startswith("http://") else "https"
    request = Request(f"{scheme}://{host}:{port}/", (), b"")
    return (await through.secured(given).send(request, timeout_s=5)).status


class TestWhatIsSaved:
    def test_every_provider_has_the_fields(self) -> None:
        """Behind its own, so that the form, its checks and the console know them."""
        for provider in PROVIDERS.values():
            assert provider.fields[-len(FIELDS) :] == FIELDS

    def test_nothing_asked_for_is_nothing_to_check(self) -> None:
        """A destination without TLS fields may be http:// where the operator allows it."""
        check_tls(settings("http://siem.example/"), policy=LOCAL, clock=SystemClock())
        check_tls(settings("http://siem.example/", tls_verify=True), policy=LOCAL, clock=SystemClock())

    def test_a_pair_and_an_authority_are_taken(self, server: Certificate, client: Certificate) -> None:
        """With the chain in one text, and also where a form took the line breaks away."""
        for change in (str, lambda pem: " ".join(pem.split("\n")), lambda pem: pem.replace("\n", "\r\n")):
            given = settings(certificate=change(client.certificate), key=change(client.key), ca=change(server.ca))
            check_tls(given, policy=LOCAL, clock=SystemClock())
            assert tls_of(given) == tls_of(settings(certificate=client.certificate, key=client.key, ca=server.ca))

    @pytest.mark.parametrize(
        ("change", "field", "words"),
        [
            (lambda pair: {"certificate": pair.certificate}, "client_key", "required"),
            (lambda pair: {"key": pair.key}, "client_certificate", "required"),
            (lambda pair: {"certificate": pair.key, "key": pair.key}, "client_certificate", "not a certificate"),
            (lambda pair: {"certificate": "nonsense", "key": pair.key}, "client_certificate", "not a certificate"),
            (lambda pair: {"certificate": UNKNOWN_CURVE, "key": pair.key}, "client_certificate", "a kind of key"),
            (lambda pair: {"certificate": pair.certificate, "key": "nonsense"}, "client_key", "not a private key"),
            (
                lambda pair: {"certificate": pair.certificate, "key": pair.certificate},
                "client_key",
                "not a private key",
            ),
            (
                lambda pair: {"certificate": pair.certificate, "key": encoded(ec.generate_private_key(ec.SECP256R1()))},
                "client_key",
                "does not belong",
            ),
            (
                lambda pair: {
                    "certificate": pair.certificate,
                    "key": encoded(load_ec(pair.key), passphrase="sesame"),
                },
                "client_key",
                "encrypted",
            ),
            (
                lambda pair: {"certificate": pair.certificate, "key": encoded(WEAK)},
                "client_key",
                "too weak",
            ),
            (lambda pair: {"ca": "nonsense"}, "options.ca", "no certificate"),
            (lambda pair: {"ca": pair.key + pair.certificate}, "options.ca", "private key"),
            (lambda pair: {"server_name": "siem..example"}, "options.server_name", "from 1 to 63"),
            (lambda pair: {"server_name": "x" * 64 + ".example"}, "options.server_name", "from 1 to 63"),
            (lambda pair: {"tls_verify": False}, "options.tls_verify", "egress.allow_insecure_tls"),
        ],
    )
    def test_what_cannot_be_used_is_refused_by_its_field(
        self, client: Certificate, change: Callable[[Certificate], dict[str, str]], field: str, words: str
    ) -> None:
        """The message says what is wrong and shows nothing of a key."""
        found, message = fault(settings(**change(client)))
        assert found == field
        assert words in message
        assert "PRIVATE KEY" not in message

    @pytest.mark.parametrize("days", [-1, -0.001])
    async def test_an_expired_certificate_is_refused(self, tmp_path: Path, days: float) -> None:
        """It would be refused at the other end, or, worse, not looked at."""
        made = await asyncio.to_thread(make_certificate, tmp_path, "client.example", valid=timedelta(days=days))
        assert fault(settings(certificate=made.certificate, key=made.key))[1].startswith("has expired on 20")

    @pytest.mark.parametrize(
        ("options", "place"),
        [
            ({"server_name": "x.example"}, "options.server_name"),
            ({"ca": "x"}, "options.ca"),
            ({"tls_verify": False}, "options.tls_verify"),
            ({"certificate": "x", "key": "x"}, "client_certificate"),
        ],
    )
    def test_http_cannot_do_what_is_asked(self, options: dict[str, str], place: str) -> None:
        """Nothing that was asked for is left out in silence: the endpoint has to be https://."""
        found, message = fault(settings("http://siem.example/", **options), LENIENT)
        assert found == place
        assert "https://" in message

    def test_a_name_to_pin_may_have_long_labels(self) -> None:
        """As long as DNS lets them be."""
        check_tls(settings(server_name="x" * 63 + ".example"), policy=LOCAL, clock=SystemClock())

    def test_an_operator_may_allow_not_to_verify(self) -> None:
        """Then it is taken, and a warning stands in the destination from then on."""
        check_tls(settings(tls_verify=False), policy=LENIENT, clock=SystemClock())
        assert "not verified" in warnings(URL, {"tls_verify": False})[0]
        assert "not encrypted" in warnings("HTTP://siem.example/", {})[0]
        assert warnings(URL, {"tls_verify": True}) == ()

    def test_shows_no_key(self) -> None:
        """Not even where it is printed."""
        assert "sesame" not in repr(Tls(client_key="sesame"))


class TestOnTheWire:
    async def test_an_authority_of_the_destination_is_trusted_instead(
        self, server: Certificate, client: Certificate
    ) -> None:
        """Its own authority alone: not the operator's, and not that of another destination."""
        async with serving(server) as seen, transport(ca_file=str(server.ca_file)) as through:
            assert await send(through, settings(ca=server.ca), seen.port) == 200
            with pytest.raises(TlsFailed, match=r"options\.ca"):
                await send(through, settings(ca=client.ca), seen.port)
            assert await send(through, settings(server_name="siem.example"), seen.port) == 200

    async def test_a_pinned_name_is_asked_for_and_verified(self, server: Certificate) -> None:
        """The name goes into the handshake in place of the endpoint's host, and the certificate must have it."""
        async with serving(server) as seen, transport() as through:
            pinned = settings(ca=server.ca, server_name="siem.example")
            assert await send(through, pinned, seen.port, host="10.example") == 200
            with pytest.raises(TlsFailed, match="Hostname mismatch"):
                await send(through, settings(ca=server.ca), seen.port, host="10.example")
            with pytest.raises(TlsFailed, match="Hostname mismatch"):
                await send(through, settings(ca=server.ca, server_name="other.example"), seen.port)
        assert seen.names == ["siem.example", "10.example", "other.example"]

    async def test_a_client_certificate_is_shown(self, server: Certificate, client: Certificate) -> None:
        """The server knows who calls; a destination without a certificate does not get through on its connection."""
        async with serving(server, clients=client) as seen, transport() as through:
            shown = settings(ca=server.ca, certificate=client.certificate, key=client.key)
            assert await send(through, shown, seen.port) == 200
            stranger = settings(ca=server.ca, certificate=server.certificate, key=server.key)
            for refused in (settings(ca=server.ca), stranger):
                with pytest.raises(ConnectFailed, match=r"siem\.example"):  # asyncio's server does not say why
                    await send(through, refused, seen.port)
        assert seen.clients == ["client.example"]

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("shows_one", [True, False], ids=["of another authority", "none"])
    async def test_a_server_that_refuses_the_client_certificate_waits_for_an_operator(
        self, server: Certificate, client: Certificate, version: ssl.TLSVersion, shows_one: bool
    ) -> None:
        """Whether it says so in the handshake, as in 1.2, or after it was over for us, as in 1.3."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.chain_file)
        context.minimum_version = context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client.ca_file)
        shown = settings(
            ca=server.ca,
            certificate=server.certificate if shows_one else "",
            key=server.key if shows_one else "",
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            refusing = asyncio.create_task(asyncio.to_thread(refuse, listener, context))
            async with transport() as through:
                with pytest.raises(TlsFailed, match=r"siem\.example:\d+") as caught:
                    await send(through, shown, listener.getsockname()[1])
            await refusing
        if shows_one or version == ssl.TLSVersion.TLSv1_3:
            assert "refuses the client certificate or lacks one" in str(caught.value)

    async def test_no_certificate_is_left_in_a_file(
        self, server: Certificate, client: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key of a client goes through memory without a name, which is gone after it."""
        monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
        async with serving(server, clients=client) as seen, transport() as through:
            before = await asyncio.to_thread(os.listdir, "/proc/self/fd")
            shown = through.secured(settings(ca=server.ca, certificate=client.certificate, key=client.key))
            await through.security_of(tls_of(settings(certificate=client.certificate, key=client.key)))
            assert await asyncio.to_thread(os.listdir, "/proc/self/fd") == before
            assert (await shown.send(Request(f"https://siem.example:{seen.port}/", (), b""), timeout_s=5)).status == 200

    @pytest.mark.parametrize(
        "fields", [{"certificate": "x", "key": "x"}, {"ca": "x"}, {"key": "x"}, {"server_name": "a..b"}]
    )
    async def test_what_cannot_be_used_sends_nothing(self, server: Certificate, fields: dict[str, str]) -> None:
        """Stored by whatever way, a certificate that does not load stops the attempt before a connection is made."""
        async with serving(server) as seen, transport(ca_file=str(server.ca_file)) as through:
            with pytest.raises(TlsFailed):
                await send(through, settings(**fields), seen.port)
        assert (seen.connections, seen.names) == (0, [])

    async def test_a_certificate_that_expires_meanwhile_sends_nothing_more(
        self, server: Certificate, client: Certificate
    ) -> None:
        """Also over a connection that stands."""
        clock = ManualClock(SystemClock().time_s())
        async with serving(server, clients=client) as seen:
            through = HttpTransport(LOCAL, lookup=lookup, clock=clock)
            shown = through.secured(settings(ca=server.ca, certificate=client.certificate, key=client.key))
            request = Request(f"https://siem.example:{seen.port}/", (), b"")
            try:
                assert (await shown.send(request, timeout_s=5)).status == 200
                clock.jump_wall(2 * 86_400)
                with pytest.raises(TlsFailed, match="has expired"):
                    await shown.send(request, timeout_s=5)
            finally:
                await through.close()
        assert seen.connections == 1

    async def test_plain_http_sends_nothing_of_a_destination_with_tls(self) -> None:
        """An endpoint that became http:// does not carry on without the certificate."""
        async with transport() as through:
            with pytest.raises(TlsFailed, match="needs an https:// endpoint"):
                await send(through, settings("http://siem.example/", server_name="x.example"), 9)

    async def test_not_verifying_takes_any_certificate_where_it_is_allowed(self, server: Certificate) -> None:
        """And nowhere else: an operator who takes the permission back stops the stored destinations too."""
        given = settings(tls_verify=False)
        async with serving(server) as seen:
            async with transport(LENIENT) as through:
                assert await send(through, given, seen.port, host="other.example") == 200
                with pytest.raises(TlsFailed, match="not valid"):
                    await send(through, settings(server_name="siem.example"), seen.port)
            async with transport(LOCAL) as through:
                with pytest.raises(TlsFailed, match=r"egress\.allow_insecure_tls"):
                    await send(through, given, seen.port)
        assert seen.connections == 1

    async def test_destinations_share_no_connection_across_their_tls(
        self, server: Certificate, client: Certificate
    ) -> None:
        """A change of the certificate does not go on over the connection of the old one."""
        async with serving(server) as seen, transport() as through:
            for given in (
                settings(ca=server.ca),
                settings(ca=server.ca, certificate=client.certificate, key=client.key),
            ):
                assert await send(through, given, seen.port) == 200
        assert seen.connections == 2


def load_ec(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
