"""Exchanges over real sockets, on both event loops: what an answer is, and when a connection is used again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import ConnectFailed, EgressBlocked, TimedOut
from gateway.providers.codec import Reply, Request
from gateway.providers.http1.connection import Answer, Connection, Exchange
from gateway.providers.http1.pool import Key, Pool
from gateway.providers.tls import tls_context
from tests.certificates import make_certificate
from tests.unit.providers.http1.test_any_bytes import Socket
from tests.unit.providers.test_transport import LOCAL, OK, answering, listening, names, request, transport

ANSWER = OK + b"\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Check = Callable[[], bool]


class Server:
    """Counts connections and requests. ``replies`` are those of the first connection, then of the second, and so on."""

    def __init__(self, *replies: list[bytes]) -> None:
        self.replies = list(replies)
        self.connections = 0
        self.requests: list[bytes] = []
        self.ended = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        replies = self.replies.pop(0)
        try:
            await answering(*replies, requests=self.requests)(reader, writer)
            await reader.read()
        finally:
            self.ended += 1


def both_ends(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of a server that is siem.example, and of who trusts it."""
    made = make_certificate(folder, "siem.example")
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(made.chain_file)
    return theirs, tls_context(str(made.ca_file))


async def until(check: Check) -> None:
    while not check():
        await asyncio.sleep(0.001)


async def exchange(reply: bytes, *, then: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None) -> Reply:
    """What comes of one request that is answered so. The server closes after it, or does what ``then`` says."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(reply)(reader, writer)
        if then is not None:
            await then(writer)

    async with listening(handle) as port, transport() as sender:
        return await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)


class TestAnswers:
    async def test_in_chunks(self) -> None:
        """Put together; extensions and trailers are read over, and are no headers."""
        reply = CHUNKED + b"2;x=y\r\nab\r\n3\r\ncde\r\n0\r\nX-Late: 1\r\n\r\n"
        answer = await exchange(reply)
        assert (answer.body, answer.truncated) == (b"abcde", False)
        assert "x-late" not in answer.headers

    async def test_in_many_small_chunks_take_the_room_of_one(self) -> None:
        """A server does not choose how much memory a byte of its answer costs."""
        reply = CHUNKED + b"2\r\nok\r\n" * 200_000 + b"0\r\n\r\n"
        tracemalloc.start()
        try:
            answer = await exchange(reply)
            grown = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert answer.body == b"ok" * 200_000
        assert grown < 6 << 20, grown

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: gzip\r\n"])
    async def test_that_last_until_the_connection_ends(self, head: bytes) -> None:
        """Without a length the end of the connection is the end of the body."""
        assert (await exchange(head + b"\r\nall of it")).body == b"all of it"

    @pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
    async def test_of_the_interim_are_skipped(self, status: bytes) -> None:
        """What they say is not taken for what the answer says."""
        interim = b"HTTP/1.1 " + status + b"\r\nX-Early: 1\r\nSet-Cookie: early=1\r\n\r\n"
        async with listening(answering(interim * 3 + ANSWER)) as port, transport() as sender:
            answer = await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
            assert sender._cookies is None
        assert (answer.status, answer.body) == (200, b"ok")
        assert "x-early" not in answer.headers

    @pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
    async def test_without_a_body_have_none(self, status: bytes) -> None:
        """Whatever length they name, nobody waits for it."""
        server = Server([b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n", ANSWER])
        async with listening(server) as port, transport() as sender:
            first = await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
            second = await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
        assert (first.body, second.body, server.connections) == (b"", b"ok", 1)

    async def test_to_head_have_no_body(self) -> None:
        """The length that they name is that of a body which does not come."""
        server = Server([b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
        async with listening(server) as port, transport() as sender:
            asked = Request(f"http://127.0.0.1:{port}/", (), b"", method="HEAD")
            answer = await sender.send(asked, timeout_s=5)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "500")
        assert b"Content-Length" not in server.requests[0]

    async def test_that_come_byte_by_byte(self) -> None:
        """Where the network cuts them makes no difference."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for at in range(len(reply)):
                writer.write(reply[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0)

        reply = b"HTTP/1.1 429 Slow Down\r\nRetry-After:  7 \r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok"
        async with listening(handle) as port, transport() as sender:
            answer = await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)
        assert (answer.status, answer.body) == (429, b"ok")
        assert answer.headers == {"retry-after": "7", "x-empty": "", "content-length": "2"}

    async def test_with_a_header_twice_say_the_last(self) -> None:
        """As a mapping can."""
        assert (await exchange(OK + b"X-A: 1\r\nx-a: 2\r\n\r\nok")).headers["x-a"] == "2"

    async def test_with_lines_that_end_as_they_should_not(self) -> None:
        """A bare line feed, and a size with a space behind it, are understood, also the second time."""
        loose = [b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", CHUNKED + b"2 \r\nok\r\n0\r\n\r\n"]
        server = Server(loose * 2)
        async with listening(server) as port, transport() as sender:
            for _ in range(4):
                assert (await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)).body == b"ok"
        assert server.connections == 1

    async def test_that_offer_another_protocol_are_answers(self) -> None:
        """A server may name what else it speaks, and nobody has to go there."""
        reply = OK + b"Upgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\n\r\nok"
        assert (await exchange(reply)).body == b"ok"

    @pytest.mark.parametrize(
        ("reply", "words"),
        [
            (b"", "closed the connection before"),
            (b"HTTP/1.1 200 OK\r\nContent-", "closed the connection before"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "closed the connection before"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "broke off"),
            (CHUNKED + b"5\r\nok", "broke off"),
            (CHUNKED + b"2\r\nok\r\n", "broke off"),
            (CHUNKED + b"nonsense\r\n", "does not answer in HTTP"),
            (b"HTTP/1.1 101 Switching\r\nUpgrade: h2\r\nConnection: Upgrade\r\n\r\n", "does not answer in HTTP"),
            (
                OK + b"Transfer-Encoding: chunked\r\n\r\nok",
                "does not answer in HTTP",
            ),
            (OK + b"Content-Length: 3\r\n\r\nok", "does not answer in HTTP"),
            (b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok", "does not answer in HTTP"),
            (b"HTTP/1.1 200 " + b"x" * 100_000, "does not answer in HTTP"),
            (OK + b"".join(b"X-%d: %b\r\n" % (at, b"x" * 1_000) for at in range(70)) + b"\r\nok", "in HTTP"),
            (CHUNKED + b"2\r\nok\r\n0\r\nX-Late: " + b"x" * 400_000, "in HTTP"),
        ],
    )
    async def test_that_are_none(self, reply: bytes, words: str) -> None:
        """An end too early, lengths that contradict each other, and another protocol each have their words."""
        with pytest.raises(ConnectFailed, match=words):
            await exchange(reply)


class TestUse:
    @pytest.mark.parametrize(
        ("first", "connections"),
        [
            (ANSWER, 1),
            (CHUNKED + b"2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n", 1),
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 1),
            (OK + b"Connection: close\r\n\r\nok", 2),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 2),
            (ANSWER + b"more", 2),
            (ANSWER + ANSWER, 2),
        ],
        ids=["length", "chunks", "1.0 keep-alive", "close", "1.0", "junk behind it", "two answers"],
    )
    async def test_a_connection_is_used_again_after_a_whole_answer(self, first: bytes, connections: int) -> None:
        """If the server keeps it, and nothing came behind the answer, which the next request would take for its own."""
        last = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        server = Server([first, last], [last])
        async with listening(server) as port, transport() as sender:
            statuses = [(await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)) for _ in range(2)]
        assert [answer.status for answer in statuses] == [200, 202]
        assert statuses[1].headers == {"content-length": "0"}
        assert server.connections == connections

    async def test_requests_at_once_have_a_connection_each(self) -> None:
        """And the next one takes one of those."""
        server = Server(*[[ANSWER, ANSWER]] * 3)
        async with listening(server) as port, transport() as sender:
            asked = request(f"http://127.0.0.1:{port}/")
            await asyncio.gather(*[sender.send(asked, timeout_s=5) for _ in range(3)])
            await sender.send(asked, timeout_s=5)
        assert (server.connections, len(server.requests)) == (3, 4)

    async def test_bytes_that_nobody_asked_for_close_it(self) -> None:
        """A server that says something on an idle connection is not understood as the answer to the next request."""
        go = asyncio.Event()
        server = Server([], [ANSWER])

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if server.connections:
                await server(reader, writer)
                return
            server.connections += 1
            server.replies.pop(0)
            await answering(ANSWER)(reader, writer)
            await go.wait()
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await reader.read()
            server.ended += 1

        async with listening(handle) as port, transport() as sender:
            asked = request(f"http://127.0.0.1:{port}/")
            await sender.send(asked, timeout_s=5)
            go.set()
            await until(lambda: server.ended == 1)
            assert (await sender.send(asked, timeout_s=5)).status == 200
        assert server.connections == 2

    @pytest.mark.parametrize("is_secured", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize("unasked", [ANSWER, b""], ids=["an answer", "the end"])
    async def test_bytes_that_the_loop_has_not_read_are_no_answer(
        self, tmp_path: Path, is_secured: bool, unasked: bytes
    ) -> None:
        """They came before the request, whenever a busy loop comes to read them."""
        go, said = threading.Event(), threading.Event()
        theirs, ours = await asyncio.to_thread(both_ends, tmp_path)

        def accepted(listener: socket.socket) -> socket.socket:
            made, _ = listener.accept()
            return theirs.wrap_socket(made, server_side=True) if is_secured else made

        def serve(listener: socket.socket) -> None:
            with contextlib.suppress(OSError), accepted(listener) as first:
                first.recv(65536)
                first.sendall(ANSWER)
                go.wait()
                first.sendall(unasked)
                if not unasked:
                    first.shutdown(socket.SHUT_WR)
                said.set()
                with accepted(listener) as second:
                    second.recv(65536)
                    second.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(asyncio.to_thread(serve, listener))
            async with transport(tls=ours, lookup=names(siem_example=["127.0.0.1"])) as sender:
                asked = request(f"http{'s' * is_secured}://siem.example:{listener.getsockname()[1]}/")
                try:
                    first = await sender.send(asked, timeout_s=5)
                    go.set()
                    said.wait()  # and the loop reads nothing meanwhile
                    second = await sender.send(asked, timeout_s=5)
                finally:
                    listener.shutdown(socket.SHUT_RDWR)
                    await serving
        assert (first.status, second.status) == (200, 202)

    @pytest.mark.parametrize("is_known", [False, True], ids=["no socket", "a closed one"])
    async def test_one_whose_socket_has_gone_is_not_used(self, is_known: bool) -> None:
        """Also while its end is still to be told."""
        closed = socket.socket()
        closed.close()

        class Gone(Socket):
            def get_extra_info(self, name: str, default: object = None) -> object:
                return closed if is_known and name == "socket" else default

        pool = Pool(asyncio.get_running_loop(), idle_s=30)
        key = Key("https", "siem.example", 443, None)
        connection = pool.make()
        connection.connection_made(Gone())
        pool.add(connection)
        pool.give_back(key, connection)
        assert pool.take(key) is None
        assert not connection.is_open
        pool.close()

    async def test_one_that_the_server_closed_is_not_used(self) -> None:
        """Once that is known; the request goes out on a new one."""
        server = Server([ANSWER], [ANSWER])

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.connections += 1
            await answering(*server.replies.pop(0))(reader, writer)

        async with listening(handle) as port, transport() as sender:
            asked = request(f"http://127.0.0.1:{port}/")
            await sender.send(asked, timeout_s=5)
            wire = sender._wire
            assert wire is not None
            await until(lambda: not wire.pool._all)
            assert (await sender.send(asked, timeout_s=5)).status == 200
        assert server.connections == 2

    async def test_one_that_has_just_been_closed_is_not_used(self) -> None:
        """Also before the loop has told of its end."""
        server = Server([ANSWER], [ANSWER])
        async with listening(server) as port, transport() as sender:
            asked = request(f"http://127.0.0.1:{port}/")
            await sender.send(asked, timeout_s=5)
            wire = sender._wire
            assert wire is not None
            for connection in wire.pool._all:
                connection.close()
            assert (await sender.send(asked, timeout_s=5)).status == 200
        assert server.connections == 2

    async def test_a_request_is_never_sent_twice(self) -> None:
        """A connection that ends under a request leaves open whether it arrived: the caller decides."""
        server = Server()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.connections += 1
            await answering(ANSWER, requests=server.requests)(reader, writer)
            server.requests.append(await reader.readuntil(b"\r\n\r\n"))

        async with listening(handle) as port, transport() as sender:
            asked = request(f"http://127.0.0.1:{port}/")
            await sender.send(asked, timeout_s=5)
            with pytest.raises(ConnectFailed, match="closed the connection"):
                await sender.send(asked, timeout_s=5)
        assert (server.connections, len(server.requests)) == (1, 2)

    @pytest.mark.parametrize(
        ("is_secured", "body_bytes"),
        [(False, 20_000_000), (True, 20_000_000), (True, 100_000)],
        ids=["plain", "tls", "tls, in the buffers"],
    )
    async def test_an_answer_to_half_a_request_is_the_last_of_its_connection(
        self, tmp_path: Path, is_secured: bool, body_bytes: int
    ) -> None:
        """The server may take the rest of the body for another request."""
        seen = Server()
        theirs, ours = await asyncio.to_thread(both_ends, tmp_path)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.connections += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await asyncio.Event().wait()

        async with (
            listening(handle, tls=theirs if is_secured else None) as port,
            transport(tls=ours, lookup=names(siem_example=["127.0.0.1"])) as sender,
        ):
            for _ in range(2):
                asked = request(f"http{'s' * is_secured}://siem.example:{port}/", b"x" * body_bytes)
                assert (await sender.send(asked, timeout_s=5)).status == 413
        assert seen.connections == 2

    async def test_a_refusal_of_a_small_request_is_not_the_last_over_tls(self, tmp_path: Path) -> None:
        """A server that has enough for now does not cost a handshake for each event."""
        server = Server([b"HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n"] * 2)
        theirs, ours = await asyncio.to_thread(both_ends, tmp_path)
        async with (
            listening(server, tls=theirs) as port,
            transport(tls=ours, lookup=names(siem_example=["127.0.0.1"])) as sender,
        ):
            for _ in range(2):
                assert (await sender.send(request(f"https://siem.example:{port}/"), timeout_s=5)).status == 429
        assert server.connections == 1

    @pytest.mark.parametrize("is_secured", [False, True], ids=["plain", "tls"])
    async def test_a_large_body_arrives_whole(self, tmp_path: Path, is_secured: bool) -> None:
        """Head and body in two writes are one request, and the next follows on the same connection."""
        body = bytes(range(256)) * 12_000
        got: list[bytes] = []
        opened: list[object] = []
        theirs, ours = await asyncio.to_thread(both_ends, tmp_path)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            opened.append(writer)
            for _ in range(2):
                await reader.readuntil(b"\r\n\r\n")
                got.append(await reader.readexactly(len(body)))
                writer.write(ANSWER)
                await writer.drain()

        async with (
            listening(handle, tls=theirs if is_secured else None) as port,
            transport(tls=ours, lookup=names(siem_example=["127.0.0.1"])) as sender,
        ):
            asked = request(f"http{'s' * is_secured}://siem.example:{port}/", body)
            for _ in range(2):
                assert (await sender.send(asked, timeout_s=5)).status == 200
        assert (got, len(opened)) == ([body, body], 1)


class TestEnds:
    async def test_an_idle_connection_is_closed_after_its_time(self) -> None:
        """No server has to do it for us; one that is in use then is not touched."""
        server = Server([ANSWER, ANSWER], [ANSWER])
        async with listening(server) as port, transport(idle_s=0.02) as sender:
            asked = request(f"http://127.0.0.1:{port}/")
            await sender.send(asked, timeout_s=5)
            await until(lambda: server.ended == 1)
            wire = sender._wire
            assert wire is not None
            await until(lambda: wire.pool._timer is None)
            assert (await sender.send(asked, timeout_s=5)).status == 200
        assert server.connections == 2

    async def test_who_waits_longer_than_an_idle_connection_may_is_not_cut_off(self) -> None:
        """The time of idle connections is none of a request under way."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await answering(ANSWER)(reader, writer)
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.1)
            writer.write(ANSWER)
            await writer.drain()

        async with listening(handle) as port, transport(idle_s=0.02) as sender:
            for _ in range(2):
                assert (await sender.send(request(f"http://127.0.0.1:{port}/"), timeout_s=5)).status == 200

    @pytest.mark.parametrize("how", ["cancelled", "late"])
    async def test_a_request_that_is_given_up_closes_its_connection(self, how: str) -> None:
        """The answer that may still come belongs to nobody."""
        server = Server([])
        async with listening(server) as port, transport() as sender:
            asked = request(f"http://127.0.0.1:{port}/")
            sending = asyncio.ensure_future(sender.send(asked, timeout_s=0.05 if how == "late" else 5))
            await until(lambda: server.connections == 1)
            if how == "cancelled":
                sending.cancel()
            with pytest.raises(asyncio.CancelledError if how == "cancelled" else TimedOut):
                await sending
            await until(lambda: server.ended == 1)

    async def test_closing_ends_connections_that_are_being_made(self) -> None:
        """At once, not after the time for connecting."""
        asked = asyncio.Event()

        async def lookup(host: str, port: int, family: object) -> list[str]:
            asked.set()
            await asyncio.Event().wait()
            return []

        async with transport(lookup=lookup) as sender:
            sending = asyncio.ensure_future(sender.send(request("http://siem.example/"), timeout_s=60))
            await asked.wait()
            await sender.close()
            with pytest.raises(ConnectFailed, match="are closed"):
                await sending

    async def test_closing_ends_a_handshake(self) -> None:
        """And lets go of its socket."""
        server = Server([])
        async with listening(server) as port, transport() as sender:
            sending = asyncio.ensure_future(sender.send(request(f"https://127.0.0.1:{port}/"), timeout_s=60))
            await until(lambda: server.connections == 1)
            await sender.close()
            with pytest.raises(ConnectFailed, match="are closed"):
                await sending

    async def test_the_whole_time_covers_connecting(self) -> None:
        """A request that has less time than connecting may take has no more."""

        async def lookup(host: str, port: int, family: object) -> list[str]:
            await asyncio.Event().wait()
            return []

        async with transport(lookup=lookup) as sender:
            with pytest.raises(TimedOut, match=r"no answer from siem\.example:80 within 0\.05 s"):
                await sender.send(request("http://siem.example/"), timeout_s=0.05)

    async def test_the_time_for_connecting_is_taken_from_the_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The answer has what is left of it."""
        left_s: list[float] = []
        ask = Connection.ask

        def noted(self: Connection, exchange: Exchange, timeout_s: float) -> asyncio.Future[Answer]:
            left_s.append(timeout_s)
            return ask(self, exchange, timeout_s)

        async def lookup(host: str, port: int, family: object) -> list[str]:
            await asyncio.sleep(0.05)
            return ["127.0.0.1"]

        monkeypatch.setattr(Connection, "ask", noted)
        async with listening(answering(ANSWER, ANSWER)) as port, transport(lookup=lookup) as sender:
            for _ in range(2):
                await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)
        assert left_s[0] < 4.96
        assert left_s[1] == 5


class TestDialling:
    async def test_goes_on_with_the_next_address(self) -> None:
        """Where nobody listens at the first."""
        async with (
            listening(answering(ANSWER)) as port,
            transport(lookup=names(siem_example=["127.0.0.2", "127.0.0.1"])) as sender,
        ):
            assert (await sender.send(request(f"http://siem.example:{port}/"), timeout_s=5)).status == 200

    async def test_a_name_that_no_name_can_be_does_not_resolve(self) -> None:
        """The system's resolver refuses a label of more than 63 characters by an error of its own kind."""
        async with transport() as sender:
            with pytest.raises(ConnectFailed, match="cannot be resolved"):
                await sender.send(request(f"http://{'x' * 64}.example/"), timeout_s=5)

    async def test_a_name_that_cannot_be_decoded_is_a_name(self) -> None:
        """Nobody has to read what it stands for to look it up."""
        async with (
            listening(answering(ANSWER)) as port,
            transport(lookup=names(**{"xn--a": ["127.0.0.1"]})) as sender,
        ):
            assert (await sender.send(request(f"http://xn--a:{port}/"), timeout_s=5)).status == 200

    async def test_reaches_an_ipv6_address(self) -> None:
        """And names it in brackets."""
        server = Server([ANSWER])
        async with listening(server, host="::1") as port, transport() as sender:
            assert (await sender.send(request(f"http://[::1]:{port}/"), timeout_s=5)).status == 200
        assert f"\r\nHost: [::1]:{port}\r\n".encode() in server.requests[0]

    async def test_a_server_that_hangs_up_in_the_handshake(self) -> None:
        """Is not taken for one whose certificate is wrong."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.transport.abort()

        async with listening(handle) as port, transport() as sender:
            with pytest.raises(ConnectFailed, match=r"cannot connect to 127\.0\.0\.1"):
                await sender.send(request(f"https://127.0.0.1:{port}/"), timeout_s=5)

    async def test_nothing_goes_out_where_a_header_cannot(self) -> None:
        """Not even a connection."""
        server = Server([])
        async with listening(server) as port, transport(LOCAL) as sender:
            asked = Request(f"http://127.0.0.1:{port}/", (("Authorization", "Splunk a\r\nX-Admin: 1"),), b"")
            with pytest.raises(EgressBlocked, match="line break"):
                await sender.send(asked, timeout_s=5)
        assert server.connections == 0
