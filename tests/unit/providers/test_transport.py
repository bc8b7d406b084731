"""The wire's client: what it sends, what it reads, what it refuses, and what it calls each fault."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from yarl import URL

from gateway.config import Egress
from gateway.demo.receivers import Fault, HugeReply, Reset, Respond, Slow, SplunkReceiver, always, redirect
from gateway.errors import ConfigError, ConnectFailed, EgressBlocked, TimedOut, TlsFailed
from gateway.providers.codec import Request
from gateway.providers.egress import GuardedResolver, Lookup, SocketPlace, place_of
from gateway.providers.faults import WireFault, explain
from gateway.providers.http1.dial import Dialler
from gateway.providers.tls import tls_context
from gateway.providers.transport import USER_AGENT, HttpTransport, compress
from tests.certificates import make_certificate

LOCAL = Egress(allow_http=True, allow_private=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(
    handler: Handler, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A bare server, for replies that no decent one would give. Closes what is left open."""
    open_ones: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            open_ones.discard(writer)

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_ones:
            writer.close()


def answering(*replies: bytes, requests: list[bytes] | None = None) -> Handler:
    """One reply for each request of a connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            head = await reader.readuntil(b"\r\n\r\n")
            if requests is not None:
                requests.append(head)
            writer.write(reply)
            await writer.drain()

    return handle


@contextlib.asynccontextmanager
async def transport(policy: Egress = LOCAL, **more: object) -> AsyncIterator[HttpTransport]:
    made = HttpTransport(policy, **more)  # type: ignore[arg-type]  # each test passes what it needs
    try:
        yield made
    finally:
        await made.close()


def request(url: str, body: bytes = b"", **more: object) -> Request:
    return Request(url, (("X-Token", "sesame"),), body, **more)  # type: ignore[arg-type]  # as above


def names(**hosts: list[str]) -> Lookup:
    async def lookup(host: str, port: int, family: object) -> list[str]:
        return hosts[host.replace(".", "_")]

    return lookup


async def test_sends_what_it_is_given_and_returns_what_came() -> None:
    """Method, headers and body go out as they are; status, lower-case headers and body come back."""
    seen: list[bytes] = []
    reply = b"HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nRetry-AFTER: 7\r\n\r\nshort"
    async with listening(answering(reply, requests=seen)) as port, transport() as sender:
        answer = await sender.send(request(f"http://127.0.0.1:{port}/a%2Fb?x=items.*.y,z&q=%20", b"hello"), timeout_s=5)
    assert (answer.status, answer.body, answer.truncated) == (418, b"short", False)
    assert answer.headers["retry-after"] == "7"
    head = seen[0].decode()
    assert head.startswith("POST /a%2Fb?x=items.*.y,z&q=%20 HTTP/1.1\r\n")
    assert f"\r\nUser-Agent: {USER_AGENT}\r\n" in head
    assert "\r\nAccept-Encoding: identity\r\n" in head
    assert "\r\nX-Token: sesame\r\n" in head
    assert "\r\nContent-Length: 5\r\n" in head
    assert "Content-Encoding" not in head


@pytest.mark.parametrize("size", [100, 40_000, 3_000_000])
async def test_compresses_into_one_gzip_member(size: int) -> None:
    """Small bodies at once, large ones in the pool it was given; the header says so."""
    body = b'{"event":{"id":"evt_1","text":"' + b"x" * size + b'"}}'
    with ThreadPoolExecutor(1) as pool:
        async with SplunkReceiver(keep_bodies=True) as receiver, transport(executor=pool) as sender:
            headers = (("Authorization", f"Splunk {receiver.credentials['token']}"),)
            answer = await sender.send(Request(receiver.endpoint, headers, body, gzip=True), timeout_s=10)
            arrival = receiver.requests[0]
    assert answer.status == 200
    assert arrival.headers["content-encoding"] == "gzip"
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(arrival.body or b"") == body
    assert decoder.eof
    assert decoder.unused_data == b""


async def test_sends_large_bodies_as_they_are() -> None:
    """A body of several megabytes arrives whole, with its length and without a warning."""
    body = b'{"event":{"id":"evt_1","text":"' + b"x" * 4_000_000 + b'"}}'
    async with SplunkReceiver(keep_bodies=True) as receiver, transport() as sender:
        headers = (("Authorization", f"Splunk {receiver.credentials['token']}"),)
        assert (await sender.send(Request(receiver.endpoint, headers, body), timeout_s=10)).status == 200
        assert receiver.requests[0].body == body
        assert receiver.requests[0].headers["content-length"] == str(len(body))


async def test_reuses_its_connection() -> None:
    """Requests one after another share a connection."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(*[OK + b"\r\nok"] * 3)(reader, writer)

    async with listening(handle) as port, transport() as sender:
        for _ in range(3):
            await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
    assert connections == 1


async def test_does_not_follow_redirects() -> None:
    """A redirect is an answer like any other; nothing goes to where it points."""
    async with (
        SplunkReceiver() as elsewhere,
        SplunkReceiver(script=always(redirect(elsewhere.endpoint))) as receiver,
        transport() as sender,
    ):
        answer = await sender.send(request(receiver.endpoint, b"{}"), timeout_s=5)
        assert (answer.status, answer.headers["location"]) == (307, elsewhere.endpoint)
        assert list(elsewhere.requests) == []


async def test_ignores_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect for us, to where the guard cannot see."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with listening(answering(OK + b"\r\nok")) as port, transport() as sender:
        assert (await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)).status == 200


class TestReplies:
    async def test_are_cut_where_the_request_says(self) -> None:
        """What is beyond the cap is not read: the connection is closed, and the next request has a new one."""
        async with SplunkReceiver(script=[HugeReply(50_000_000)]) as receiver, transport() as sender:
            answer = await sender.send(request(receiver.endpoint, b"{}", reply_bytes_max=1_000), timeout_s=5)
            assert (answer.status, answer.body, answer.truncated) == (200, b"x" * 1_000, True)
            assert (await sender.send(request(receiver.endpoint, b"{}"), timeout_s=5)).status == 401

    async def test_of_exactly_the_cap_are_whole(self) -> None:
        """The cap itself is not beyond the cap."""
        async with SplunkReceiver(script=[HugeReply(1_000)]) as receiver, transport() as sender:
            answer = await sender.send(request(receiver.endpoint, b"{}", reply_bytes_max=1_000), timeout_s=5)
            assert (len(answer.body), answer.truncated) == (1_000, False)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP"])
    async def test_are_decoded_when_compressed_unasked(self, encoding: str) -> None:
        """A proxy that compresses regardless is understood."""
        content = zlib.compress(b'{"code":0}') if encoding == "deflate" else gzip.compress(b'{"code":0}')
        script = always(Respond(200, content, {"Content-Encoding": encoding}))
        async with SplunkReceiver(script=script) as receiver, transport() as sender:
            answer = await sender.send(request(receiver.endpoint, b"{}"), timeout_s=5)
            assert (answer.body, answer.truncated) == (b'{"code":0}', False)

    @pytest.mark.parametrize(
        ("encoding", "content", "body"),
        [
            ("gzip", gzip.compress(b'{"code"') + gzip.compress(b":0}"), b'{"code":0}'),
            ("gzip", gzip.compress(b'{"code":0}') + bytes(8), b'{"code":0}'),
            ("deflate", zlib.compress(b'{"code":0}', wbits=-zlib.MAX_WBITS), b'{"code":0}'),
            ("gzip", b"", b""),
        ],
        ids=["two members", "padded", "raw deflate", "empty"],
    )
    async def test_are_decoded_in_every_form_that_is_met(self, encoding: str, content: bytes, body: bytes) -> None:
        """A reply that says that the events were taken is not misread, or they would be sent again and again."""
        script = always(Respond(200, content, {"Content-Encoding": encoding}))
        async with SplunkReceiver(script=script) as receiver, transport() as sender:
            answer = await sender.send(request(receiver.endpoint, b"{}"), timeout_s=5)
            assert (answer.body, answer.truncated) == (body, False)

    @pytest.mark.parametrize(
        ("content", "body"),
        [
            (gzip.compress(b"0" * 600) + gzip.compress(b"0" * 600), b"0" * 1_000),
            (gzip.compress(b"0" * 1_000) + gzip.compress(b"0"), b"0" * 1_000),
            (gzip.compress(b"") * 10_000 + gzip.compress(b"0"), b""),
        ],
        ids=["beyond the cap", "one beyond the cap", "of ever more members"],
    )
    async def test_are_cut_over_all_members(self, content: bytes, body: bytes) -> None:
        """A member more does not begin the cap anew, and thousands of empty ones do not hold up the others."""
        reply = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content) + content
        async with listening(answering(reply)) as port, transport() as sender:
            asked = request(f"http://127.0.0.1:{port}/", reply_bytes_max=300_000 if not body else 1_000)
            answer = await sender.send(asked, timeout_s=5)
        assert (answer.body, answer.truncated) == (body, True)

    async def test_do_not_swell_beyond_the_cap(self) -> None:
        """A small compressed reply that stands for a huge one is cut like the huge one."""
        bomb = gzip.compress(b"0" * 20_000_000)
        script = always(Respond(200, bomb, {"Content-Encoding": "gzip"}))
        async with SplunkReceiver(script=script) as receiver, transport() as sender:
            answer = await sender.send(request(receiver.endpoint, b"{}", reply_bytes_max=50_000), timeout_s=5)
            assert (answer.body, answer.truncated) == (b"0" * 50_000, True)

    @pytest.mark.parametrize(
        "endless",
        [
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 100,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;" + b"x" * 1_000,
        ],
        ids=["interim answers", "headers", "trailers", "chunk extensions"],
    )
    async def test_without_an_end_end_in_time(self, endless: bytes) -> None:
        """A server that goes on for ever with whatever HTTP allows before, around and behind a body costs a request its
        time and no memory.
        """
        sent = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            head, _, tail = endless.partition(b"X: y\r\n")
            writer.write(head)
            piece = b"X: y\r\n" * 1_000 if tail else b"x" * 10_000 if b"1;" in head else head
            while True:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                await asyncio.sleep(0)

        async with listening(handle) as port, transport() as sender:
            tracemalloc.start()
            try:
                with contextlib.suppress(TimedOut, ConnectFailed):
                    await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=0.5)
                grown = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert grown < 8 << 20, (grown, sent)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    async def test_with_damaged_compression_are_no_answer(self, encoding: str) -> None:
        """Bytes that claim to be gzip and are not cannot be read."""
        script = always(Respond(200, b"not gzip", {"Content-Encoding": encoding}))
        async with SplunkReceiver(script=script) as receiver, transport() as sender:
            with pytest.raises(ConnectFailed):
                await sender.send(request(receiver.endpoint, b"{}"), timeout_s=5)


class TestCookies:
    async def test_come_back_to_their_host(self) -> None:
        """A load balancer finds its client again, also at an endpoint without a name."""
        seen: list[bytes] = []
        first = OK + b"Set-Cookie: backend=7; Path=/\r\n\r\nok"
        async with listening(answering(first, OK + b"\r\nok", requests=seen)) as port, transport() as sender:
            for _ in range(2):
                await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
        assert b"Cookie:" not in seen[0]
        assert b"Cookie: backend=7" in seen[1]

    @pytest.mark.parametrize(
        "cookie",
        [
            *(b"AWSALB=mB7h3/0Jq+Zk2Q==", b'GCLB="CO/x=="', b"a=b,c", b'a={"k":1}', b"a=b\\x", b"a="),
            "a=é".encode(),
        ],
    )
    async def test_come_back_as_they_came(self, cookie: bytes) -> None:
        """Base64, quotes and other text that Python would write in another way: a balancer compares the bytes."""
        seen: list[bytes] = []
        first = OK + b"Set-Cookie: " + cookie + b"; Path=/\r\n\r\nok"
        async with listening(answering(first, OK + b"\r\nok", requests=seen)) as port, transport() as sender:
            for _ in range(2):
                await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
        assert b"\r\nCookie: " + cookie + b"\r\n" in seen[1]

    async def test_stay_within_one_transport(self) -> None:
        """Another destination at the same host is another client."""
        seen: list[bytes] = []
        reply = OK + b"Connection: close\r\nSet-Cookie: backend=7; Path=/\r\n\r\nok"
        async with listening(answering(reply, requests=seen)) as port:
            for _ in range(2):
                async with transport() as sender:
                    await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
        assert len(seen) == 2
        assert b"Cookie:" not in seen[1]

    async def test_do_not_pile_up(self) -> None:
        """A server that sets ever new cookies does not fill the memory or the requests."""
        seen: list[bytes] = []
        replies = [
            OK + b"".join(b"Set-Cookie: c%d=1; Path=/\r\n" % (40 * turn + at) for at in range(40)) + b"\r\nok"
            for turn in range(5)
        ]
        async with listening(answering(*replies, requests=seen)) as port, transport() as sender:
            for _ in replies:
                await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
        assert max(head.count(b"=1") for head in seen) <= 50


class TestEgress:
    async def test_the_resolved_address_is_what_is_connected(self) -> None:
        """The guard's answer decides where the connection goes, and the Host header keeps the name."""
        seen: list[bytes] = []
        async with (
            listening(answering(OK + b"\r\nok", requests=seen)) as port,
            transport(lookup=names(siem_example=["127.0.0.1"])) as sender,
        ):
            answer = await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)
        assert answer.status == 200
        assert f"Host: siem.example:{port}\r\n".encode() in seen[0]

    async def test_only_permitted_addresses_of_a_name_are_connected(self) -> None:
        """Of two addresses that both listen, the forbidden one sees nothing."""
        policy = Egress(allow_http=True, allow_networks=("127.0.0.1/32",))
        forbidden: list[bytes] = []
        reached: list[bytes] = []
        async with listening(answering(OK + b"\r\nok", requests=reached)) as port:
            server = await asyncio.start_server(lambda *_: forbidden.append(b"connected"), "127.0.0.2", port)
            async with server, transport(policy, lookup=names(siem_example=["127.0.0.2", "127.0.0.1"])) as sender:
                await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)
        assert len(reached) == 1
        assert forbidden == []

    async def test_a_name_that_resolves_inside_is_not_connected(self) -> None:
        """The name is blocked with the settings that permit it, before a socket is opened."""
        policy = Egress(allow_http=True)
        seen: list[bytes] = []
        async with (
            listening(answering(OK + b"\r\nok", requests=seen)) as port,
            transport(policy, lookup=names(siem_example=["127.0.0.1"])) as sender,
        ):
            with pytest.raises(EgressBlocked, match=r"siem\.example .*egress\.allow_private") as caught:
                await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)
        assert "127.0.0.1" not in str(caught.value)
        assert seen == []

    async def test_a_name_is_looked_up_once_for_a_connection(self) -> None:
        """A name server that answers well when it is asked first and with an address inside when it is asked again
        is not asked again: what was judged is what is connected, and reused.
        """
        policy = Egress(allow_http=True, allow_networks=("127.0.0.1/32",))
        asked: list[str] = []
        seen: list[bytes] = []

        async def lookup(host: str, port: int, family: object) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

        async with (
            listening(answering(*[OK + b"\r\nok"] * 2, requests=seen)) as port,
            transport(policy, lookup=lookup) as sender,
        ):
            for _ in range(2):
                assert (await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)).status == 200
        assert (asked, len(seen)) == (["siem.example"], 2)

    async def test_what_the_resolver_lets_through_is_stopped_at_the_socket(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Were an address to come from elsewhere, there would be no socket for it."""

        async def careless(self: GuardedResolver, host: str, port: int) -> list[SocketPlace]:
            return [place_of(address, port) for address in ("127.0.0.1", "127.0.0.2")]

        monkeypatch.setattr(GuardedResolver, "resolve", careless)
        seen: list[bytes] = []
        async with (
            listening(answering(OK + b"\r\nok", requests=seen)) as port,
            transport(Egress(allow_http=True)) as sender,
        ):
            with pytest.raises(EgressBlocked):
                await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)
        assert seen == []

    async def test_a_name_is_judged_anew_when_it_changes(self) -> None:
        """A name that pointed outside and now points inside is blocked at the next connection."""
        policy = Egress(allow_http=True, allow_networks=("127.0.0.1/32",))
        found = [["127.0.0.1"], ["127.0.0.2"]]

        async def lookup(host: str, port: int, family: object) -> list[str]:
            return found.pop(0)

        async with listening(answering(OK + b"Connection: close\r\n\r\nok")) as port:
            for policy_holds in (True, False):
                async with transport(policy, lookup=lookup) as sender:
                    sending = sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)
                    if policy_holds:
                        assert (await sending).status == 200
                    else:
                        with pytest.raises(EgressBlocked):
                            await sending

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "127\u30020\u30020\u30021",
            "\uff11\uff12\uff17.0.0.1",
        ],
    )
    async def test_literal_addresses_are_judged_too(self, host: str) -> None:
        """An address is not resolved, so it is judged before."""
        seen: list[bytes] = []
        async with (
            listening(answering(OK + b"\r\nok", requests=seen)) as port,
            transport(Egress(allow_http=True)) as sender,
        ):
            with pytest.raises(EgressBlocked):
                await sender.send(request(f"http://{host}:{port}/"), timeout_s=5)
        assert seen == []

    async def test_plain_http_needs_permission(self) -> None:
        """Without the setting, an ``http://`` endpoint is not even resolved."""
        async with transport(Egress(), lookup=names()) as sender:
            with pytest.raises(EgressBlocked, match=r"egress\.allow_http"):
                await sender.send(request("http://siem.example/"), timeout_s=5)

    async def test_odd_spellings_of_permitted_addresses_are_refused_clearly(self) -> None:
        """Only canonical addresses are connected to."""
        async with transport() as sender:
            with pytest.raises(EgressBlocked, match="usual form"):
                await sender.send(request("http://127.1:9/"), timeout_s=5)


class TestTls:
    @staticmethod
    def server(chain_file: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain_file)
        return context

    async def test_an_authority_of_the_operator_is_trusted(self, tmp_path: Path) -> None:
        """With its certificate in the CA file, a private server is verified by the name in the endpoint."""
        made = await asyncio.to_thread(make_certificate, tmp_path, "siem.example")
        context = tls_context(str(made.ca_file))
        async with (
            listening(answering(OK + b"\r\nok"), tls=self.server(made.chain_file)) as port,
            transport(tls=context, lookup=names(siem_example=["127.0.0.1"])) as sender,
        ):
            assert (await sender.send(request(f"https://siem.example:{port}/"), timeout_s=5)).status == 200

    @pytest.mark.parametrize(
        ("name", "valid", "trusted", "words"),
        [
            ("siem.example", timedelta(days=1), False, "unable to get local issuer certificate"),
            ("other.example", timedelta(days=1), True, "Hostname mismatch"),
            ("siem.example", timedelta(days=-1), True, "certificate has expired"),
        ],
    )
    async def test_a_certificate_must_be_valid(
        self, tmp_path: Path, name: str, valid: timedelta, trusted: bool, words: str
    ) -> None:
        """An unknown authority, another name and an old date are each refused by their name."""
        made = await asyncio.to_thread(make_certificate, tmp_path, name, valid=valid)
        context = tls_context(str(made.ca_file) if trusted else "")
        async with (
            listening(answering(OK + b"\r\nok"), tls=self.server(made.chain_file)) as port,
            transport(tls=context, lookup=names(siem_example=["127.0.0.1"])) as sender,
        ):
            with pytest.raises(TlsFailed, match=words) as caught:
                await sender.send(request(f"https://siem.example:{port}/"), timeout_s=5)
        assert "delivery.ca_file" in str(caught.value)

    async def test_a_server_without_tls_is_told_apart(self) -> None:
        """An https endpoint on a plain port says so."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()

        async with listening(handle) as port, transport() as sender:
            with pytest.raises(TlsFailed, match="does not speak TLS"):
                await sender.send(request(f"https://127.0.0.1:{port}/"), timeout_s=5)

    def test_a_ca_file_must_be_readable(self, tmp_path: Path) -> None:
        """A missing file and one without a certificate are configuration errors that name it."""
        with pytest.raises(ConfigError, match=r"delivery\.ca_file: .*absent\.pem cannot be read: No such file"):
            tls_context(str(tmp_path / "absent.pem"))
        (tmp_path / "empty.pem").write_text("nothing")
        with pytest.raises(ConfigError, match=r"empty\.pem"):
            tls_context(str(tmp_path / "empty.pem"))


class TestFaults:
    @pytest.mark.parametrize("at", ["request", "body", "stored", "reply"])
    async def test_a_lost_connection(self, at: Literal["request", "body", "stored", "reply"]) -> None:
        """Wherever a connection breaks, it is ConnectFailed with the host and nothing else; the next attempt is new."""
        async with SplunkReceiver(script=[Reset(at)]) as receiver, transport() as sender:
            body = b"x" * 1_000_000
            with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1:\d+ (closed|broke off)") as caught:
                await sender.send(request(receiver.endpoint + "/event?secret=1", body), timeout_s=5)
            assert "secret" not in str(caught.value)
            assert "sesame" not in str(caught.value)
            assert (await sender.send(request(receiver.endpoint, body), timeout_s=5)).status == 401

    async def test_nobody_listens(self) -> None:
        """A refused connection says so, without the address that the name resolved to."""
        async with listening(answering()) as port:
            pass
        async with transport(lookup=names(siem_example=["127.0.0.1"])) as sender:
            with pytest.raises(ConnectFailed, match=f"siem.example:{port}: connection refused") as caught:
                await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)
        assert "127.0.0.1" not in str(caught.value)

    async def test_a_name_does_not_resolve(self) -> None:
        """The name is named."""

        async def lookup(host: str, port: int, family: object) -> list[str]:
            raise OSError(-2, "Name or service not known")

        async with transport(lookup=lookup) as sender:
            with pytest.raises(ConnectFailed, match=r"host name siem\.example cannot be resolved"):
                await sender.send(request("http://siem.example/"), timeout_s=5)

    async def test_no_answer_in_time(self) -> None:
        """A server that takes the request and says nothing runs into the time given."""
        async with SplunkReceiver(script=always(Slow(until=asyncio.Event()))) as receiver, transport() as sender:
            with pytest.raises(TimedOut, match=r"no answer from 127\.0\.0\.1:\d+ within 0\.05 s"):
                await sender.send(request(receiver.endpoint, b"{}"), timeout_s=0.05)

    async def test_no_end_of_the_answer_in_time(self) -> None:
        """The time given covers the last byte of the reply, not only the first."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
            await reader.read()

        async with listening(handle) as port, transport() as sender:
            with pytest.raises(TimedOut):
                await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=0.05)

    async def test_no_connection_in_time(self) -> None:
        """A handshake that does not end runs into the time for connecting."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with listening(handle) as port, transport(connect_timeout_s=0.05) as sender:
            with pytest.raises(TimedOut, match=r"no connection to 127\.0\.0\.1:\d+ within 0\.05 s"):
                await sender.send(request(f"https://127.0.0.1:{port}/"), timeout_s=5)

    @pytest.mark.parametrize(
        "reply",
        [
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X" * 100_000 + b": y\r\n\r\n",
        ],
    )
    async def test_what_is_not_http(self, reply: bytes) -> None:
        """A server of another protocol, or one with monstrous headers, gives no usable answer."""
        async with listening(answering(reply)) as port, transport() as sender:
            with pytest.raises(ConnectFailed, match="does not answer in HTTP"):
                await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)

    async def test_an_early_answer_to_an_unread_body(self) -> None:
        """A server that refuses a body by its length, before reading it, is heard."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            await reader.read()

        async with listening(handle) as port, transport() as sender:
            answer = await sender.send(request(f"http://127.0.0.1:{port}/", b"x" * 20_000_000), timeout_s=5)
        assert answer.status == 413

    async def test_a_name_that_cannot_be_coded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever it comes to light, the request is refused by a name of ours, which its worker knows."""

        async def dial(*_given: object, **_named: object) -> None:
            raise UnicodeError

        monkeypatch.setattr(Dialler, "dial", dial)
        async with transport() as sender:
            with pytest.raises(EgressBlocked, match=r"siem\.example is not a host name"):
                await sender.send(request("https://siem.example/"), timeout_s=5)

    def test_every_other_fault_has_a_name_too(self) -> None:
        """What the libraries may raise beyond the above still becomes one of ours, without their words."""
        url = URL("http://siem.example/path?secret")
        for error in (WireFault("10.0.0.1"), RuntimeError("10.0.0.1"), OSError("10.0.0.1")):
            ours = explain(error, url, timeout_s=1, connect_timeout_s=1)
            assert isinstance(ours, ConnectFailed)
            assert "siem.example:80" in str(ours)
            assert "10.0.0.1" not in str(ours)


class TestClosing:
    async def test_costs_nothing_before_the_first_request(self) -> None:
        """A transport that never sent has nothing to close, and can be made without a loop's help."""
        sender = HttpTransport(LOCAL)
        await sender.close()
        with pytest.raises(ConnectFailed, match="closed"):
            await sender.send(request("http://127.0.0.1:9/"), timeout_s=5)

    async def test_ends_what_is_in_flight(self) -> None:
        """A request under way fails as a lost connection, at once."""
        async with SplunkReceiver(script=always(Slow(until=asyncio.Event()))) as receiver, transport() as sender:
            waiting = asyncio.ensure_future(sender.send(request(receiver.endpoint, b"{}"), timeout_s=30))
            while receiver.sends == 0:
                await asyncio.sleep(0)
            await sender.close()
            with pytest.raises(ConnectFailed):
                await waiting

    async def test_a_cancelled_request_is_cancelled(self) -> None:
        """Cancellation passes through, and the next request does not get the old one's answer."""
        go = asyncio.Event()
        script: list[Fault] = [Slow(until=go), Respond(204)]
        async with SplunkReceiver(script=script) as receiver, transport() as sender:
            waiting = asyncio.ensure_future(sender.send(request(receiver.endpoint, b"{}"), timeout_s=30))
            while receiver.sends == 0:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await sender.send(request(receiver.endpoint, b"{}"), timeout_s=5)).status == 204
            go.set()


def test_compress_makes_one_member() -> None:
    """Whatever the size, a decoder that stops after the first member has everything."""
    for body in (b"", b"x", b"abc" * 100_000):
        decoder = zlib.decompressobj(31)
        assert decoder.decompress(compress(body)) == body
        assert decoder.eof
        assert decoder.unused_data == b""
