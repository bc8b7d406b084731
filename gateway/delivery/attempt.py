"""One request on its way: send it, classify the answer, measure and log it. The only place where delivery touches the
wire.
"""

from __future__ import annotations

import uuid
from typing import Protocol, cast

import msgspec
import structlog
from prometheus_client import Counter, Histogram

from gateway.clock import Clock
from gateway.delivery.health import Attempt
from gateway.errors import EgressBlocked, TimedOut, TlsFailed, TransportError
from gateway.providers.codec import (
    AwaitAck,
    Codec,
    Context,
    Delivered,
    Misconfigured,
    Outcome,
    Partial,
    Prepare,
    Preparing,
    Reply,
    Request,
    Retry,
    Signing,
    Split,
)
from gateway.telemetry import Event, Metrics, plain_code

WORDS_MAX = 500
TIMED_OUT = "timeout"  # the code of a request that was not answered in time


class Transport(Protocol):
    """Safe to use from any number of tasks at once. A cancelled ``send`` closes its connection."""

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        """Raises TransportError when no usable answer came back, which is not to say that the request did not arrive;
        EgressBlocked before anything is sent.
        """


class Sent(msgspec.Struct, frozen=True):
    """What came of a request. ``started_at_s`` is monotonic; ``reply`` is None when there was none."""

    outcome: Outcome
    reply: Reply | None
    started_at_s: float
    duration_s: float


class Sender:
    """Sends for one destination; keeps the channel, the clock offset and the age of events that its provider's answers
    ask for.
    """

    def __init__(
        self,
        codec: Codec,
        transport: Transport,
        *,
        destination_id: str,
        instance: str,
        clock: Clock,
        metrics: Metrics,
        timeout_s: float,
    ) -> None:
        self._codec = codec
        self._signing = codec if isinstance(codec, Signing) else None
        self._transport = transport
        self._destination_id = destination_id
        self._instance = instance
        self._clock = clock
        self._metrics = metrics
        self._seconds: Histogram | None = None  # both are looked up once: that costs more than counting
        self._decided: dict[str, Counter] = {}
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
        self._timeout_s = timeout_s
        self._channel = str(uuid.uuid4())
        self._clock_offset_s = 0.0
        self._age_max_s: float | None = None

    @property
    def channel(self) -> str:
        return self._channel

    def renew_channel(self) -> None:
        self._channel = str(uuid.uuid4())

    def context(self, channel: str | None = None) -> Context:
        return Context(
            now_s=self._clock.time_s(),
            channel=channel or self._channel,
            instance=self._instance,
            clock_offset_s=self._clock_offset_s,
            age_max_s=self._age_max_s,
        )

    async def send(self, request: Request, context: Context) -> tuple[Sent, Attempt]:
        """Never raises for what a destination does; a request that must be prepared is prepared and sent once more."""
        sent = await self._send_once(request, context)
        if isinstance(sent.outcome, Prepare):
            sent = await self._prepare_and_send(sent.outcome, request, context)
        if isinstance(sent.outcome, Retry):
            if sent.outcome.new_channel:
                self.renew_channel()
            if sent.outcome.clock_offset_s is not None:
                self._clock_offset_s = sent.outcome.clock_offset_s
        if isinstance(sent.outcome, Partial) and sent.outcome.age_max_s is not None:
            known_s = self._age_max_s
            self._age_max_s = sent.outcome.age_max_s if known_s is None else min(known_s, sent.outcome.age_max_s)
        return sent, self._report(request, sent)

    async def exchange(self, request: Request) -> Reply | TransportError:
        """Send a request that carries no events."""
        return await self._exchange(request, self.context())

    async def _exchange(self, request: Request, context: Context) -> Reply | TransportError:
        if self._signing is not None:
            request = self._signing.sign(request, context)
        try:
            return await self._transport.send(request, timeout_s=self._timeout_s)
        except TransportError as error:
            return error

    async def _send_once(self, request: Request, context: Context) -> Sent:
        """Of ``context`` the channel counts: when the batch was encoded may be minutes ago."""
        context = self.context(context.channel)
        started_at_s = self._clock.monotonic_s()
        answer = await self._exchange(request, context)
        duration_s = self._clock.monotonic_s() - started_at_s
        if isinstance(answer, TransportError):
            return Sent(outcome_of(answer), None, started_at_s, duration_s)
        return Sent(self._codec.classify(request, answer, context), answer, started_at_s, duration_s)

    async def _prepare_and_send(self, prepare: Prepare, request: Request, context: Context) -> Sent:
        preparing = cast("Preparing", self._codec)  # only such a codec answers Prepare
        started_at_s = self._clock.monotonic_s()
        answer = await self.exchange(prepare.request)
        if isinstance(answer, TransportError):
            return Sent(outcome_of(answer), None, started_at_s, self._clock.monotonic_s() - started_at_s)
        refused = preparing.classify_prepared(answer)
        if refused is not None:
            return Sent(refused, answer, started_at_s, self._clock.monotonic_s() - started_at_s)
        sent = await self._send_once(request, context)
        if isinstance(sent.outcome, Prepare):
            return msgspec.structs.replace(sent, outcome=Retry(sent.outcome.reason, code="still_missing"))
        return sent

    def _report(self, request: Request, sent: Sent) -> Attempt:
        decision, words = describe(sent.outcome)
        attempt = Attempt(
            at_s=self._clock.time_s() - sent.duration_s,
            events=len(request.positions),
            bytes=len(request.body),
            duration_ms=round(sent.duration_s * 1000, 3),
            response_code=sent.reply.status if sent.reply is not None else None,
            decision=decision,
            message=words[:WORDS_MAX],
            code=getattr(sent.outcome, "code", ""),
        )
        self._count(decision, sent.duration_s)
        self._log.info(
            Event.DELIVERY_ATTEMPTED,
            destination=self._destination_id,
            decision=decision,
            events=attempt.events,
            bytes=attempt.bytes,
            duration_ms=attempt.duration_ms,
            status=attempt.response_code,
            code=plain_code(attempt.code),
        )
        return attempt

    def _count(self, decision: str, duration_s: float) -> None:
        if self._seconds is None:
            self._seconds = self._metrics.attempt_seconds.labels(self._destination_id)
        counter = self._decided.get(decision)
        if counter is None:
            counter = self._decided[decision] = self._metrics.attempts.labels(self._destination_id, decision)
        self._seconds.observe(duration_s)
        counter.inc()


def outcome_of(error: TransportError) -> Outcome:
    """What a failed exchange means: a forbidden address or a broken certificate waits for an operator, the rest is
    tried again.
    """
    match error:
        case EgressBlocked():
            return Misconfigured(str(error), code="egress_blocked")
        case TlsFailed():
            return Misconfigured(str(error), code="tls")
        case TimedOut():
            return Retry(str(error), code=TIMED_OUT, throttled=True)
        case _:
            return Retry(str(error), code="connection")


def describe(outcome: Outcome) -> tuple[str, str]:
    """The name of what was decided, and the words that explain it."""
    match outcome:
        case Delivered():
            return "delivered", outcome.warning
        case AwaitAck():
            return "awaiting_ack", ""
        case Partial():
            return "partial", outcome.reason or (outcome.refused[0].reason if outcome.refused else "")
        case _:
            return _DECISIONS[type(outcome)] if not _is_throttle(outcome) else "throttled", outcome.reason


def _is_throttle(outcome: Outcome) -> bool:
    return isinstance(outcome, Retry) and outcome.throttled


_DECISIONS: dict[type, str] = {Retry: "retry", Split: "split", Misconfigured: "misconfigured", Prepare: "prepare"}
