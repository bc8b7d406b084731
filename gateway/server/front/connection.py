"""One connection: requests come in, answers go out in their order.

Small requests are under way many at a time, and their answers come from the group commit's callbacks. Any other waits
until all before it are answered, and those behind it wait for its answer; it has a task of its own. While something
has to wait nothing more is read, so what a connection holds is bounded: a head or a small body that is not complete,
a part of a large one, and answers that the client does not read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

from gateway.errors import GatewayError, Overloaded, RequestRejected
from gateway.server.answers import Answer
from gateway.server.body import Source, cut_off, stopping
from gateway.server.front.body import Body
from gateway.server.front.framing import Chunked, Length
from gateway.server.front.front import Front
from gateway.server.front.head import CHUNKED, HEAD_BYTES_MAX, NO_HEAD, Head, refuse_if_hopeless, too_large
from gateway.server.front.phase import Phase
from gateway.server.front.turn import Awaited
from gateway.server.front.wire import CONTINUE
from gateway.server.problems import answer_to, answer_to_any

PIPELINED_MAX = 64
_EMPTY_LINE = b"\r\n\r\n"
_HELD_BACK = 1 << 62  # wanted of what is whole and waits for its turn


class Connection(asyncio.Protocol):
    __slots__ = (
        *("_answers", "_body", "_front", "_has_ended", "_held", "_is_closing", "_is_last"),
        *("_is_reading", "_is_serving", "_is_stuck", "_is_tls", "_loop", "_since_s"),
        *("_timer", "_transport", "_wanted"),
    )

    def __init__(self, front: Front) -> None:
        self._front = front
        self._loop = front.loop
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self._answers: deque[Awaited] = deque()
        self._held = b""  # what has come and was not worked through
        self._wanted = 0  # how long that must become before it is worth looking at again
        self._body: Body | None = None  # of the request that has a task
        self._is_serving = False  # such a request is not answered yet, or its body has not ended
        self._is_reading = True
        self._is_stuck = False
        self._is_last = False  # no further request is taken
        self._is_closing = False
        self._has_ended = False  # the client sends no more
        self._is_tls = False
        self._timer: asyncio.TimerHandle | None = None
        self._since_s = 0.0

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        self._wait_anew()
        try:
            self._front.admit(self)
        except Overloaded as error:
            self._refuse(error)

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        if self._body is not None:
            data = self._feed_body(self._body, data)
            if not data:
                return
        if not self._held:
            self._work(data)
            return
        data, wanted = self._held + data, self._wanted
        if len(data) < wanted:
            self._hold(data, wanted)
            if wanted != _HELD_BACK:
                self._check_room()
            return
        self._hold(b"", 0)
        self._work(data, goes_on_in_head=not wanted)

    def eof_received(self) -> bool:
        """A client that has sent all it wants to still gets its answers."""
        self._has_ended = True
        if self._body is not None and not self._body.is_complete:
            self._body.fail(cut_off())
        if self.phase is Phase.BODY:
            self._refuse(cut_off())
        return self.phase is Phase.BUSY and not self._is_tls  # there is no half of a TLS connection

    def connection_lost(self, exc: Exception | None) -> None:
        if self.phase is Phase.BODY:
            self._front.parts.counts.add(400)
        self._is_closing = True
        if self._body is not None:
            self._body.fail(cut_off())
        self._leave()

    def pause_writing(self) -> None:
        self._is_stuck = True
        self._wait_anew()

    def resume_writing(self) -> None:
        self._is_stuck = False
        self._go_on()

    # -- requests

    def _work(self, data: bytes, *, goes_on_in_head: bool = False) -> None:
        """Take as many requests as there are; hold what is left. ``goes_on_in_head``: its start is known already."""
        at, size = 0, len(data)
        while at < size and not self._is_last:
            if self._is_serving or self._is_stuck or len(self._answers) >= PIPELINED_MAX:
                self._hold_back(data[at:])
                return
            end = data.find(_EMPTY_LINE, at) + len(_EMPTY_LINE)
            if end < len(_EMPTY_LINE):
                self._await_head(data[at:], is_new=not goes_on_in_head or at > 0)
                return
            try:
                head = self._front.head(data[at:end])
            except RequestRejected as error:
                self._refuse(error)
                return
            stop = end if head is None else end + max(head.length, 0)
            if head is None:
                at = stop
            elif head.is_small and stop <= size:
                self._take(head, data[end:stop])
                at = stop
            elif head.is_small:
                self._await_body(data[at:], stop - at)
                return
            elif self._answers:
                self._hold_back(data[at:])
                return
            elif head.is_ingest:
                at = size - len(self._begin(head, data[end:]))
            else:
                self._hand_over(data[at:])
                return

    def _take(self, head: Head, body: bytes) -> None:
        """The short way: it is checked and stored with all that came in this turn of the loop."""
        awaited = Awaited(self, head, body.removesuffix(b"\n"))
        self._answers.append(awaited)
        self._is_last = not head.keeps_alive
        self._front.turn.add(awaited)

    def settle(self, awaited: Awaited, error: BaseException | None) -> None:
        """Its events are durable, or never will be."""
        head, front = awaited.head, self._front
        if error is None and not self._is_last and not head.is_http_1_0:
            awaited.answer = front.wire.accepted(head, awaited.events)
        else:
            awaited.answer = front.settled(awaited, error, closes=self._ends_with(awaited))
        if self._answers[0] is awaited:
            self._flush()

    def _ends_with(self, awaited: Awaited) -> bool:
        return self._is_last and awaited is self._answers[-1]

    def _flush(self) -> None:
        """The first answer is there: send it with those behind it that are."""
        ready: list[bytes] = []
        while self._answers and (answer := self._answers[0].answer) is not None:
            self._answers.popleft()
            ready.append(answer)
        self._since_s = self._loop.time()
        self._write(ready[0] if len(ready) == 1 else b"".join(ready))
        if not self._answers:
            self._go_on()

    # -- the long way

    def _begin(self, head: Head, data: bytes) -> bytes:
        """Serve it in a task. Returns what lies behind its body."""
        framing = Chunked() if head.length == CHUNKED else Length(head.length)
        self._body = Body(framing, self._go_on)
        self._is_serving = True
        self._is_last = not head.keeps_alive
        self._front.spawn(self._serve(head, self._body))
        return self._feed_body(self._body, data)

    async def _serve(self, head: Head, body: Body) -> None:
        request_id = self._front.wire.request_id(head)
        answer = await self._answer(head, body, request_id)
        self._is_last = self._is_last or body.fault is not None or self._front.parts.stopping()
        self._write(self._front.wire.encode(answer, request_id, closes=self._is_last, is_http_1_0=head.is_http_1_0))
        body.discard()
        if body.is_complete or self._is_last:
            self._is_serving, self._body = False, None
            self._since_s = self._loop.time()
            self._go_on()
        else:
            self._wait_anew()

    def serve_late(self, late: Sequence[Awaited]) -> None:
        """These went the short way in vain. Nothing behind them is looked at before they are answered."""
        self._is_serving = True
        self._front.spawn(self._serve_late(late))

    async def _serve_late(self, late: Sequence[Awaited]) -> None:
        for awaited in late:
            head, request_id = awaited.head, self._front.wire.request_id(awaited.head)
            body = Body(Length(len(awaited.body)), self._go_on)
            body.feed(awaited.body)
            answer = await self._answer(head, body, request_id)
            self._is_last = self._is_last or self._front.parts.stopping()
            closes, is_http_1_0 = self._ends_with(awaited), head.is_http_1_0
            awaited.answer = self._front.wire.encode(answer, request_id, closes=closes, is_http_1_0=is_http_1_0)
            if awaited is late[-1]:
                self._is_serving = False
            if self._answers[0] is awaited:
                self._flush()

    async def _answer(self, head: Head, body: Body, request_id: str) -> Answer:
        source = Source(body.read, head.content_type, head.encoding, None if head.length == CHUNKED else head.length)
        try:
            return await self._front.answer(head, source, lambda: self._write(CONTINUE))
        except Exception as error:  # noqa: BLE001 - the last line: no fault of ours may end as silence
            return answer_to_any(error, request_id=request_id, method="POST", path="/v1/audit/events")

    def _feed_body(self, body: Body, data: bytes) -> bytes:
        """What lies behind its end, once all of it has come."""
        rest = body.feed(data)
        if body.is_full:
            self._pause_reading()
        if body.is_discarded and body.is_complete:
            self._is_serving, self._body = False, None
            self._since_s = self._loop.time()
        elif body.is_discarded and body.fault is not None:
            self._close()
        return rest

    def _hand_over(self, data: bytes) -> None:
        """Another route: aiohttp's, from this request on."""
        handler = self._front.make_handler()
        self._is_closing = True  # for what is still called here
        self._leave()
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        handler.data_received(data)
        if self._has_ended and not handler.eof_received():
            self._transport.close()
        elif not self._is_reading:
            self._transport.resume_reading()

    # -- waiting

    @property
    def phase(self) -> Phase:
        if self._is_closing:
            return Phase.CLOSING
        if self._is_stuck:
            return Phase.STUCK
        if self._is_serving:
            return Phase.SKIPPING if self._body is not None and self._body.is_discarded else Phase.BUSY
        if self._answers:
            return Phase.BUSY
        if self._held:
            return Phase.BODY if self._wanted else Phase.HEAD
        return Phase.IDLE

    @property
    def idle_since_s(self) -> float | None:
        return self._since_s if self.phase in (Phase.IDLE, Phase.HEAD) else None

    def _await_head(self, start: bytes, *, is_new: bool) -> None:
        try:
            if len(start) > HEAD_BYTES_MAX:
                raise too_large()
            if is_new:
                refuse_if_hopeless(start)
        except RequestRejected as error:
            self._refuse(error)
            return
        self._hold(start, 0)
        if is_new:
            self._wait_anew()
        self._check_room()

    def _await_body(self, start: bytes, wanted: int) -> None:
        self._hold(start, wanted)
        self._wait_anew()
        self._check_room()

    def _check_room(self) -> None:
        try:
            self._front.check_room()
        except Overloaded as error:
            self._refuse(error)

    def _hold_back(self, data: bytes) -> None:
        self._hold(data, _HELD_BACK)
        self._pause_reading()

    def _hold(self, data: bytes, wanted: int) -> None:
        if data or self._held:
            self._front.held_bytes += len(data) - len(self._held)
        self._held, self._wanted = data, wanted

    def _go_on(self) -> None:
        """An answer has gone out, or there is room again: what had to wait may have its turn."""
        if self._is_closing or self._is_stuck:
            return
        if self._wanted == _HELD_BACK and not self._is_serving and not self._answers:
            data = self._held
            self._hold(b"", 0)
            self._work(data)
        self._close_or_read_on()

    def _close_or_read_on(self) -> None:
        if self._is_closing:
            return
        is_done = not self._is_serving and not self._answers
        if is_done and (self._is_last or (self._has_ended and self._wanted != _HELD_BACK)):
            self._close()
        elif self._wanted != _HELD_BACK and (self._body is None or not self._body.is_full):
            self._read_on()
            if self._held and is_done:
                self._wait_anew()

    def _pause_reading(self) -> None:
        if self._is_reading and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._is_reading and not self._transport.is_closing():
            self._is_reading = True
            self._transport.resume_reading()

    # -- time, and the end

    def _wait_anew(self) -> None:
        """The time of what is waited for now begins."""
        self._since_s = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._front.limits_s[self.phase], self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        """The one timer of the connection; what happened since it was set costs it only another round."""
        phase = self.phase
        left_s = self._since_s + self._front.limits_s[phase] - self._loop.time()
        if left_s > 0 or phase is Phase.BUSY:
            self._timer = self._loop.call_later(max(left_s, 1.0), self._look_at_the_time)
        elif phase in (Phase.HEAD, Phase.BODY):
            self._refuse(RequestRejected(f"{phase.value} did not come in time; send the request again", status=408))
        elif phase in (Phase.IDLE, Phase.SKIPPING):
            self._close()
        else:
            self._transport.abort()

    def stop(self) -> None:
        self._is_last = True
        match self.phase:
            case Phase.BODY:
                self._refuse(stopping())
            case Phase.IDLE | Phase.HEAD:
                self._transport.close()
            case Phase.STUCK | Phase.SKIPPING:
                self._close()

    def abort(self) -> None:
        self._transport.abort()

    def _refuse(self, error: GatewayError) -> None:
        """The answer to what cannot be served; behind those that are due, and the last."""
        answer, front = answer_to(error), self._front
        if self.phase is Phase.BODY:
            front.parts.counts.add(answer.status)
        self._hold(b"", 0)
        self._is_last = True
        last = front.wire.encode(answer, front.wire.new_request_id(), closes=True)
        if self._answers:
            self._answers.append(Awaited(self, NO_HEAD, b"", last))
        else:
            self._write(last)
            self._close()

    def _write(self, data: bytes) -> None:
        if not self._is_closing and not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        """Send no more, and read what still comes for a while: a client that is busy sending gets to its answer."""
        if self._is_closing:
            return
        self._is_closing = True
        self._hold(b"", 0)
        if self._is_tls or self._has_ended:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()
        self._read_on()
        self._wait_anew()

    def _leave(self) -> None:
        self._hold(b"", 0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._front.forget(self)
