"""A local server that behaves as one provider's does: what the five have in common.

A kind says in ``respond`` what the real server answers and stores, as a plain function of the request; here is the
HTTP around it, the log of requests, and the faults of the script.
"""

from __future__ import annotations

import abc
import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Self, TypedDict, Unpack

import msgspec
from aiohttp import web
from isal import isal_zlib

from gateway.demo.receivers.script import (
    NORMAL,
    Fault,
    Hang,
    HugeReply,
    Refuse,
    Reset,
    Respond,
    Script,
    Slow,
    in_turn,
)
from gateway.demo.receivers.stored import Stored

BODY_BYTES_MAX = 256 << 20
REQUESTS_KEPT = 10_000

_GZIP_WINDOW_BITS, _DEFLATE_WINDOW_BITS = 31, 15


class Call(msgspec.Struct, frozen=True):
    """One request. Header names are lower-case; ``body`` is as it came, compressed or not."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Arrival(msgspec.Struct, frozen=True):
    """A request in the log. ``status`` is None when it was not answered; ``body`` is kept only when asked for."""

    method: str
    path: str
    headers: Mapping[str, str]
    size_bytes: int
    status: int | None
    body: bytes | None = None


class ReceiverSettings(TypedDict, total=False):
    """What every kind can be made with. ``now`` gives seconds since the epoch; ``tls`` makes it an https server."""

    script: Script | Iterable[Fault] | None
    count_only: bool
    keep_bodies: bool
    now: Callable[[], float]
    tls: ssl.SSLContext | None


class Receiver(abc.ABC):
    """``script`` may be changed at any time; it is asked for each request that carries events, numbered from 0.

    Use as ``async with``, or ``start`` and ``stop``. A stopped receiver may be started again, on the same port, and
    still has what it had stored.
    """

    provider: ClassVar[str]

    def __init__(self, **settings: Unpack[ReceiverSettings]) -> None:
        script = settings.get("script")
        self.script: Script | None = script if callable(script) or script is None else in_turn(script)
        self.stored = Stored(count_only=settings.get("count_only", False))
        self.requests: deque[Arrival] = deque(maxlen=REQUESTS_KEPT)
        self.sends = 0
        self._keep_bodies = settings.get("keep_bodies", False)
        self._now = settings.get("now", time.time)
        self._tls = settings.get("tls")
        self._port = 0
        self._runner: web.ServerRunner | None = None
        self._stopping = asyncio.Event()

    @property
    @abc.abstractmethod
    def credentials(self) -> dict[str, str]:
        """What a destination for this receiver must be created with."""

    @property
    def options(self) -> dict[str, object]:
        """Options that a destination for this receiver needs."""
        return {}

    @property
    @abc.abstractmethod
    def endpoint(self) -> str: ...

    @abc.abstractmethod
    def carries_events(self, call: Call) -> bool:
        """Whether this request is one that the script decides about. ``call.body`` is not there yet."""

    @abc.abstractmethod
    def respond(self, call: Call, refuse: Refuse | None = None) -> Answer:
        """Store what the real server would store and answer what it would answer."""

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._port}"

    @property
    def events(self) -> dict[str, bytes]:
        return self.stored.events

    @property
    def duplicates(self) -> dict[str, int]:
        return self.stored.duplicates

    async def wait_for(self, events: int, *, timeout_s: float = 10.0) -> None:
        await self.stored.wait_for(events, timeout_s=timeout_s)

    async def start(self) -> None:
        self._stopping.clear()
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes the port and breaks what hangs."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in http.headers.items()}
        call = Call(http.method, http.rel_url.raw_path, dict(http.query), headers)
        fault: Fault = NORMAL
        if self.carries_events(call):
            number, self.sends = self.sends, self.sends + 1
            fault = self.script(number) if self.script is not None else NORMAL
        if isinstance(fault, Reset) and fault.at in {"request", "body"}:
            return await self._break_early(http, call, fault)
        call = msgspec.structs.replace(call, body=await _read(http))
        answer = await self._act(call, fault)
        self._log(call, answer.status if answer is not None else None)
        if answer is None:
            return _aborted(http)
        if isinstance(fault, Reset):
            return await _break_reply(http, answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _act(self, call: Call, fault: Fault) -> Answer | None:
        """None: no answer at all."""
        match fault:
            case Respond(stores=stores):
                if stores:
                    self.respond(call)
                return Answer(fault.status, fault.body, fault.headers)
            case Refuse():
                return self.respond(call, fault)
            case Reset():
                answer = self.respond(call)
                return answer if fault.at == "reply" else None
            case HugeReply():
                self.respond(call)
                return Answer(200, b"x" * fault.size_bytes)
            case Hang():
                await self._stopping.wait()
                return None
            case Slow():
                await self._pause(fault)
        return self.respond(call)

    async def _pause(self, fault: Slow) -> None:
        await asyncio.sleep(fault.delay_s)
        if fault.until is not None:
            await fault.until.wait()

    async def _break_early(self, http: web.BaseRequest, call: Call, fault: Reset) -> web.StreamResponse:
        if fault.at == "body":
            await http.content.readany()
        self._log(call, None)
        return _aborted(http)

    def _log(self, call: Call, status: int | None) -> None:
        body = call.body if self._keep_bodies else None
        self.requests.append(Arrival(call.method, call.path, call.headers, len(call.body), status, body))


def answer_json(status: int, content: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, msgspec.json.encode(content), {"Content-Type": "application/json", **(headers or {})})


def decode_body(call: Call, accepted: frozenset[str]) -> bytes | None:
    """The body without its compression; None for an encoding that is not accepted. Raises ValueError when damaged.

    Only the first gzip member is read, as Netty and others do: what a sender puts behind it is lost.
    """
    encoding = call.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return call.body
    if encoding not in accepted:
        return None
    try:
        decoder = isal_zlib.decompressobj(_GZIP_WINDOW_BITS if encoding == "gzip" else _DEFLATE_WINDOW_BITS)
        body = bytes(decoder.decompress(call.body))
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # isal's stub takes the class for an instance
        raise ValueError("the compressed body is damaged") from error
    if not decoder.eof:
        raise ValueError("the compressed body is cut off")
    return body


async def _read(http: web.BaseRequest) -> bytes:
    pieces, size = [], 0
    async for piece in http.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > BODY_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(BODY_BYTES_MAX, size)
    return b"".join(pieces)


def _aborted(http: web.BaseRequest) -> web.Response:
    if http.transport is not None:
        http.transport.abort()
    return web.Response()


async def _break_reply(http: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send the head and half of a body, and break off."""
    body = answer.body or b"{}"
    reply = web.StreamResponse(status=answer.status, headers=answer.headers)
    reply.content_length = len(body) + 1
    await reply.prepare(http)
    await reply.write(body[: len(body) // 2 + 1])
    if http.transport is not None:
        http.transport.abort()
    return reply
