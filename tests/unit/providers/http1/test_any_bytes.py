"""Whatever a server sends, in whatever pieces, a request ends in an answer or in a fault with a name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.faults import WireFault
from gateway.providers.http1.connection import Connection, Exchange

PIECES = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No\r\n"),
        *(b"HTTP/1.1 000 OK\r\n", b"HTTP/1.1 101 Switch\r\n", b"Content-Length: 2\r\n", b"Connection: close\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Upgrade: h2\r\n", b"Set-Cookie: a=b\r\n", b"\r\n", b"ok", b"2\r\n"),
        *(b"ok\r\n", b"0\r\n\r\n", b"0\r\nX-Late: 1\r\n\r\n", b"\n", b"\0", b":", b"HTTP/1.1 200 OK\r\n\r\n"),
    ]
)


class Socket(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@given(
    stream=st.lists(PIECES | st.binary(min_size=1, max_size=8), max_size=12).map(b"".join),
    cuts=st.lists(st.integers(1, 40), min_size=1),
    answer_bytes_max=st.sampled_from([0, 1, 100]),
    end=st.sampled_from([None, ConnectionResetError()]),
    is_head=st.booleans(),
)
def test_a_request_ends(
    loop: asyncio.AbstractEventLoop,
    stream: bytes,
    cuts: list[int],
    answer_bytes_max: int,
    end: Exception | None,
    is_head: bool,
) -> None:
    """Once; what is not whole closes the connection, and a connection that is lost leaves nothing behind."""
    lost: list[Connection] = []
    connection, there = Connection(loop, lost.append), Socket()
    connection.connection_made(there)
    waiter = connection.ask(Exchange(b"", b"", answer_bytes_max, is_head), 5)
    at = 0
    for cut in cuts * len(stream):
        if at >= len(stream) or there.is_aborted:
            break
        connection.data_received(stream[at : at + cut])
        at += cut
    if not there.is_aborted:
        assert waiter.done() is connection.is_idle
    connection.connection_lost(end)
    assert waiter.done()
    fault = waiter.exception()
    if fault is None:
        answer = waiter.result()
        assert answer.status >= 200
        assert answer.is_cut is (len(answer.body) > answer_bytes_max)
    else:
        assert isinstance(fault, WireFault | ConnectionResetError)
        assert there.is_aborted
    assert not connection.is_open
    assert lost == [connection]
