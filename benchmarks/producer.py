"""Load, from processes of their own: requests made in advance, many connections, raw sockets under epoll.

*Pushed* load sends the next request of a connection when the last is answered. *Paced* load is open: each request is
due at a moment that does not depend on any answer, and is timed from that moment, so a slow answer hides nothing
behind it (no coordinated omission).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe

import msgspec

from benchmarks.events import Form, Pool

_ANSWERED = b"HTTP/1.1 20"
_RECEIVE_BYTES = 1 << 16
_PAUSE_S = 0.05
_STEPS_S = 60.0


class Target(msgspec.Struct, frozen=True):
    """Where events go in, and how. ``head`` is what a request begins with, ``{length}`` for that of its body."""

    port: int
    form: Form = Form.NDJSON
    head: str = ""


class Load(msgspec.Struct, frozen=True):
    """``requests`` of ``per_request`` events, numbered from ``first``. ``rate``: requests a second, 0 for pushed."""

    per_request: int
    requests: int
    first: int = 0
    connections: int = 8
    tenants: int = 1
    rate: float = 0.0

    @property
    def events(self) -> int:
        return self.requests * self.per_request


class Sent(msgspec.Struct, frozen=True):
    """``answers_us`` says how long each answer took from when its request was sent or, when paced, was due."""

    seconds: float
    cpu_s: float
    refused: int
    answers_us: list[int]


def http_head(path: str, *headers: str) -> str:
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "Content-Length: {length}")
    return "\r\n".join(lines) + "\r\n\r\n"


class Producers:
    """Started and ready to send, so that making requests is not measured. Use ``produce`` for the usual case."""

    def __init__(self, target: Target, load: Load, processes: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._workers = []
        for part in _parts(load, processes):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_work, args=(target, part, theirs), daemon=True)
            worker.start()
            self._pipes.append(ours)
            self._workers.append(worker)
        for pipe in self._pipes:
            pipe.recv()

    def start(self) -> None:
        for pipe in self._pipes:
            pipe.send("go")

    def result(self) -> Sent:
        """Wait until everything is answered."""
        results = [pipe.recv() for pipe in self._pipes]
        for worker in self._workers:
            worker.join()
        return Sent(
            max(sent.seconds for sent in results),
            sum(sent.cpu_s for sent in results),
            sum(sent.refused for sent in results),
            [answer for sent in results for answer in sent.answers_us],
        )


def produce(target: Target, load: Load, processes: int = 1) -> Sent:
    producers = Producers(target, load, processes)
    producers.start()
    return producers.result()


def _parts(load: Load, processes: int) -> Iterator[Load]:
    """Each process its own numbers and its share of connections and rate."""
    first = load.first
    for index in range(processes):
        requests = load.requests // processes + (index < load.requests % processes)
        yield msgspec.structs.replace(
            load,
            requests=requests,
            first=first,
            connections=max(1, load.connections // processes),
            rate=load.rate / processes,
        )
        first += requests


def _work(target: Target, load: Load, pipe: Pipe) -> None:
    pool = Pool(load.per_request, load.tenants, target.form, target.head, timed=load.rate > 0)
    wire = _Wire(target, pool, load)
    pipe.send("ready")
    pipe.recv()
    cpu_s, began_s = time.process_time(), time.monotonic()
    if target.form is Form.LINES:
        wire.pour()
    elif load.rate:
        wire.pace()
    else:
        wire.push()
    pipe.send(Sent(time.monotonic() - began_s, time.process_time() - cpu_s, wire.refused, wire.answers_us.tolist()))


class _Connection:
    """One socket and the request that it carries."""

    __slots__ = ("answer_bytes", "began_ns", "inbox", "number", "outbox", "receive_some", "send_some", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send_some, self.receive_some = self.socket.send, self.socket.recv
        self.outbox = memoryview(b"")
        self.inbox = b""
        self.answer_bytes = 0  # of the last one that was whole
        self.number = -1
        self.began_ns = 0

    def begin(self, data: bytes) -> bool:
        """Whether everything has gone."""
        try:
            sent = self.send_some(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self.outbox = memoryview(data)[sent:]
        return self.send()

    def send(self) -> bool:
        """Whether everything has gone."""
        with contextlib.suppress(BlockingIOError):
            while self.outbox:
                self.outbox = self.outbox[self.send_some(self.outbox) :]
        return not self.outbox

    def receive(self) -> int:
        """The status of a whole answer; 0 while it is not whole."""
        data = self.receive_some(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("what is measured closed a connection")
        if len(data) == self.answer_bytes and not self.inbox and data.startswith(_ANSWERED):
            return int(data[9:12])  # as the one before: nearly all are, and nothing is looked for in them
        self.inbox = data = self.inbox + data if self.inbox else data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0 or len(data) < head_end + 4 + _length(data[:head_end]):
            return 0
        self.inbox = b""
        self.answer_bytes = len(data)
        return int(data[9:12])


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class _Wire:
    """All connections of one process. One of ``push``, ``pace`` and ``pour`` is called, once."""

    def __init__(self, target: Target, pool: Pool, load: Load) -> None:
        self._pool, self._load = pool, load
        self._epoll = select.epoll()
        self._connections = {}
        for _ in range(load.connections):
            connection = _Connection(target.port)
            self._connections[connection.socket.fileno()] = connection
        self.refused = 0
        self.answers_us = array("L")
        self._again: deque[int] = deque()

    def push(self) -> None:
        numbers = iter(range(self._load.first, self._load.first + self._load.requests))
        idle = self._listening()
        while len(self.answers_us) < self._load.requests:
            for connection in idle:
                if (number := self._next(numbers)) is not None:
                    self._begin(connection, number, 0)
            idle = self._answered(_PAUSE_S)

    def pace(self) -> None:
        load = self._load
        idle = deque(self._listening())
        began_ns, interval_ns = time.monotonic_ns(), 1e9 / load.rate
        sent = 0
        while len(self.answers_us) < load.requests:
            now_ns = time.monotonic_ns()
            while sent < load.requests and idle and (due_ns := began_ns + int(sent * interval_ns)) <= now_ns:
                self._begin(idle.popleft(), load.first + sent, due_ns)
                sent += 1
            wait_s = _STEPS_S
            if sent < load.requests and idle:
                wait_s = max(0.0, (began_ns + int(sent * interval_ns) - time.monotonic_ns()) / 1e9)
            # select waits to the microsecond, epoll only to the millisecond
            if select.select([self._epoll.fileno()], [], [], wait_s)[0]:
                idle.extend(self._answered(0))

    def pour(self) -> None:
        """Lines without answers, one connection after another."""
        connections = list(self._connections.values())
        for number in range(self._load.first, self._load.first + self._load.requests):
            began_ns = time.monotonic_ns()
            connections[number % len(connections)].socket.sendall(
                self._pool.request(number, began_ns if self._load.rate else 0)
            )
            self.answers_us.append((time.monotonic_ns() - began_ns) // 1000)
            if self._load.rate:
                time.sleep(1 / self._load.rate)
        for connection in connections:
            connection.socket.close()

    def _listening(self) -> list[_Connection]:
        for number, connection in self._connections.items():
            connection.socket.setblocking(False)
            self._epoll.register(number, select.EPOLLIN)
        return list(self._connections.values())

    def _next(self, numbers: Iterator[int]) -> int | None:
        return self._again.popleft() if self._again else next(numbers, None)

    def _begin(self, connection: _Connection, number: int, due_ns: int) -> None:
        connection.number = number
        data = self._pool.request(number, due_ns)
        connection.began_ns = due_ns or time.monotonic_ns()
        if not connection.begin(data):
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _answered(self, wait_s: float) -> list[_Connection]:
        """Those whose answer is there now."""
        done = []
        for number, happened in self._epoll.poll(wait_s):
            connection = self._connections[number]
            if happened & select.EPOLLOUT and connection.send():
                self._epoll.modify(number, select.EPOLLIN)
            if happened & ~select.EPOLLOUT and (status := connection.receive()):
                self._note(connection, status)
                done.append(connection)
        return done

    def _note(self, connection: _Connection, status: int) -> None:
        if 200 <= status < 300:
            self.answers_us.append((time.monotonic_ns() - connection.began_ns) // 1000)
        elif status in {429, 503}:
            self.refused += 1
            self._again.append(connection.number)
            time.sleep(_PAUSE_S)
        else:
            raise RuntimeError(f"what is measured answered {status}")
