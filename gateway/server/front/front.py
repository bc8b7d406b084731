"""All connections: how many there may be, what they share, and the stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from itertools import chain
from typing import Protocol

from gateway.destinations.store import ApiKey, Scope
from gateway.errors import QueueUnavailable
from gateway.event import Rules
from gateway.server.answers import Answer, told
from gateway.server.auth import admitted
from gateway.server.body import Source
from gateway.server.call import Parts
from gateway.server.front import head as heads
from gateway.server.front.head import Head
from gateway.server.front.phase import LINGER_S, Phase
from gateway.server.front.turn import Awaited, Turn
from gateway.server.front.wire import Wire
from gateway.server.handler import ApiHandler
from gateway.server.ingest import Accepted, rules_for, take_in
from gateway.server.problems import answer_to_any, problem_answer

HEADS_KEPT_MAX = 2_048
_HEAD_KEPT_BYTES_MAX = 2 << 10
_LEAVING_SHARE = 32  # of the idle connections one in so many goes when there are too many
_REFUSED_MAX = 256  # connections beyond the bound that are told so at a time
_RETRY_AFTER_S = 5.0
_LOOK_AGAIN_S = 0.1  # when all connections were busy


class Idler(Protocol):
    """A connection that may have to make room, whoever serves it."""

    @property
    def idle_since_s(self) -> float | None:
        """Since when nothing is under way; None while something is."""

    def abort(self) -> None: ...


class Member(Idler, Protocol):
    """A connection of the front's own, as far as it has to know it."""

    def stop(self) -> None:
        """What is under way is answered, then the connection ends."""


class Front:
    """``make_handler`` makes aiohttp's protocol for one connection and is given what to call at its end.

    All of it belongs to the event loop.
    """

    def __init__(
        self, parts: Parts, make_handler: Callable[[Callable[[], None]], ApiHandler], *, connections_max: int
    ) -> None:
        self.parts = parts
        self.loop = asyncio.get_running_loop()
        self.wire = Wire(parts.clock.time_s)
        self.held_bytes = 0
        server = parts.server
        self.limits_s = {
            Phase.IDLE: server.keep_alive_s,
            Phase.HEAD: server.head_timeout_s,
            Phase.BODY: server.body_timeout_s,
            Phase.BUSY: server.keep_alive_s,
            Phase.STUCK: server.body_timeout_s,
            Phase.SKIPPING: LINGER_S,
            Phase.CLOSING: LINGER_S,
        }
        self.turn = Turn(parts, self.rules)
        self._make_handler = make_handler
        self._connections_max = connections_max
        self._connections: set[Member] = set()
        self._handed_over: set[ApiHandler] = set()
        self._heads: dict[bytes, Head] = {}
        self._rules: dict[str, Rules] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._look_again_s = 0.0
        self._empty = asyncio.Event()
        self._empty.set()

    async def stop(self) -> None:
        """Return once every connection has ended; what is under way is answered. Cancelled: the rest is cut off."""
        self._stopping = True
        for connection in list(self._connections):
            connection.stop()
        try:
            await self._empty.wait()
        finally:
            for connection in list(self._connections):
                connection.abort()
            for task in self._tasks:
                task.cancel()

    # -- for connections

    def admit(self, connection: Member) -> None:
        """Raises QueueUnavailable when there are too many, and none that is idle could make room."""
        self._connections.add(connection)
        self._empty.clear()
        excess = len(self._connections) + len(self._handed_over) - self._connections_max
        if self._stopping:
            raise QueueUnavailable("the gateway is stopping", retry_after_s=_RETRY_AFTER_S)
        if excess > 0 and not self._make_room(connection):
            if excess > _REFUSED_MAX:
                connection.abort()
            raise QueueUnavailable(
                "there are too many connections; use one for many requests", retry_after_s=_RETRY_AFTER_S
            )

    def forget(self, connection: Member) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def check_room(self) -> None:
        """Raises QueueUnavailable when what all connections hold of requests that are not complete is too much."""
        if self.held_bytes > self.parts.ingest.buffered_bytes_max:
            raise QueueUnavailable("too much is being sent at once; send it again", retry_after_s=_RETRY_AFTER_S)

    def head(self, raw: bytes) -> Head | None:
        """What the bytes say, None for empty lines. Producers send the same head again and again: it is kept."""
        known = self._heads.get(raw)
        if known is not None:
            return known
        if not raw.strip(b"\r\n"):
            return None
        read = heads.read(raw)
        if read.is_small and len(raw) <= _HEAD_KEPT_BYTES_MAX and not read.request_id:
            if len(self._heads) >= HEADS_KEPT_MAX:
                del self._heads[next(iter(self._heads))]
            self._heads[raw] = read
        return read

    def rules(self, tenant_id: str) -> Rules:
        known = self._rules.get(tenant_id)
        if known is None:
            known = self._rules[tenant_id] = rules_for(self.parts, tenant_id)
        return known

    def spawn(self, serving: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def make_handler(self) -> ApiHandler:
        handler = self._make_handler(lambda: self._handed_over.discard(handler))
        self._handed_over.add(handler)
        return handler

    async def answer(self, head: Head, source: Source, proceed: Callable[[], None]) -> Answer:
        """The long way of ``POST /v1/audit/events``. ``proceed`` asks the client to send the body."""
        caller = admitted(head.key_digest, self.parts.keys, Scope.EVENTS_WRITE)
        if not isinstance(caller, ApiKey):
            return caller
        if head.expect:
            if head.expect != "100-continue":
                return problem_answer(417, "Expect may be 100-continue, and nothing else")
            proceed()
        return await take_in(self.parts, source, self.rules(caller.tenant_id), caller)

    def settled(self, awaited: Awaited, error: BaseException | None, *, closes: bool) -> bytes:
        """The answer to a small request whose events are durable, or could not be stored."""
        head = awaited.head
        request_id = self.wire.request_id(head)
        if error is None:
            answer = told(Accepted(awaited.events), 202)
        else:
            assert isinstance(error, Exception)
            answer = answer_to_any(error, request_id=request_id)
            self.parts.counts.add(answer.status)
        return self.wire.encode(answer, request_id, closes=closes, is_http_1_0=head.is_http_1_0)

    def _make_room(self, newcomer: Member) -> bool:
        """Let those that have been idle longest go, some at a time, so that looking for them is rare."""
        if self.loop.time() < self._look_again_s:
            return False
        everybody: Iterable[Idler] = chain(self._connections, self._handed_over)
        idle = [
            (since_s, id(member), member)
            for member in everybody
            if member is not newcomer and (since_s := member.idle_since_s) is not None
        ]
        if not idle:
            self._look_again_s = self.loop.time() + _LOOK_AGAIN_S
        for _, _, member in sorted(idle)[: 1 + len(idle) // _LEAVING_SHARE]:
            member.abort()
        return bool(idle)
