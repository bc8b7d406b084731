"""What a provider is: plain functions between events and wire bytes, and values for what came of them.

A ``Codec`` is built from one destination's endpoint, credentials and options. ``encode`` turns a batch into requests,
``classify`` turns an answer into an ``Outcome``. Neither waits, reads a clock, logs or keeps state: whatever they need
to know of the moment stands in ``Context``. The worker owns the state, the transport owns the socket.

Events are spliced into the provider's envelope as the bytes that came in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

REPLY_BYTES_MAX = 1 << 20


class Batch:
    """Events of one attempt, each one line of JSON that begins with ``{``; positions count from 0."""

    __slots__ = ("lines", "payload")

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self.payload = b"\n".join(lines)

    def __len__(self) -> int:
        return len(self.lines)


class Context(msgspec.Struct, frozen=True):
    """The moment of an attempt. ``channel`` is a UUID that the worker keeps until it must be renewed.

    ``age_max_s`` is how old an event may be by what the provider's answers have told; None: they have told nothing.
    """

    now_s: float
    channel: str
    instance: str
    clock_offset_s: float = 0.0
    age_max_s: float | None = None


class Limits(msgspec.Struct, frozen=True):
    """How much to hand to ``encode`` at once. ``encode`` still cuts where the provider counts otherwise."""

    events_max: int
    bytes_max: int


class Request(msgspec.Struct, frozen=True):
    """One HTTP request. ``positions`` are the events it carries, in the order of the wire.

    ``gzip`` asks the sender to compress the body as one member and to name the encoding.
    """

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    positions: Sequence[int] = ()
    method: str = "POST"
    gzip: bool = False
    reply_bytes_max: int = REPLY_BYTES_MAX

    def __repr__(self) -> str:  # headers carry credentials, the body carries events
        return f"Request({self.method}, {len(self.body)} bytes, {len(self.positions)} events)"


class Reply(msgspec.Struct, frozen=True):
    """What came back. Header names are lower-case; ``body`` is cut at the request's ``reply_bytes_max``."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False

    def __repr__(self) -> str:  # some servers repeat what they were sent
        return f"Reply({self.status}, {len(self.body)} bytes)"


class Refusal(msgspec.Struct, frozen=True):
    """The provider will never take this event: its code and its words."""

    position: int
    code: str
    reason: str


class Encoded(msgspec.Struct, frozen=True):
    """Requests to send, one after another, and events that cannot be sent at all."""

    requests: tuple[Request, ...]
    refused: tuple[Refusal, ...] = ()


class Delivered(msgspec.Struct, frozen=True, tag=True):
    """Every event of the request has arrived. ``slow_down`` passes on a provider's early warning."""

    warning: str = ""
    slow_down: bool = False


class Partial(msgspec.Struct, frozen=True, tag=True):
    """The provider told events apart. Each position of the request stands in exactly one of the three.

    ``misconfigured`` says that what is in ``retry`` waits for an operator (an index that may not be written);
    ``retry_at_once`` that nothing is wrong with it: the provider works and has not judged it yet. ``age_max_s`` is what
    the answer tells of how old an event may be.
    """

    delivered: Sequence[int]
    retry: Sequence[int] = ()
    refused: tuple[Refusal, ...] = ()
    reason: str = ""
    code: str = ""
    throttled: bool = False
    misconfigured: bool = False
    retry_at_once: bool = False
    age_max_s: float | None = None


class Retry(msgspec.Struct, frozen=True, tag=True):
    """Not now. ``after_s`` is the provider's wish; ``throttled`` asks for less concurrency too.

    ``new_channel`` asks for a fresh channel (Splunk), ``clock_offset_s`` corrects our idea of the provider's time.
    """

    reason: str
    code: str = ""
    after_s: float | None = None
    throttled: bool = False
    new_channel: bool = False
    clock_offset_s: float | None = None


class Split(msgspec.Struct, frozen=True, tag=True):
    """Something in the request is refused: halve it and send both halves; one event left alone is dead-lettered.

    ``tries`` is how often the same events are to be tried whole before that. ``alone`` says what a single refused event
    means when nothing else of the same batch was taken: ``refuse`` it, ``degrade`` the destination (the request as a
    whole may be wrong), or ``suspect`` it (refused only when the destination is known to take other events).
    """

    reason: str
    code: str = ""
    tries: int = 1
    alone: Literal["refuse", "degrade", "suspect"] = "refuse"


class Misconfigured(msgspec.Struct, frozen=True, tag=True):
    """Credentials or configuration are wrong: keep everything, say so, probe slowly until an operator mends it."""

    reason: str
    code: str = ""


class AwaitAck(msgspec.Struct, frozen=True, tag=True):
    """Received, but delivered only once the provider confirms this id on this channel; else as ``Delivered``."""

    ack_id: int
    slow_down: bool = False


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Send this request first (create a stream), then the refused one again. See ``Preparing``."""

    request: Request
    reason: str = ""


Outcome = Delivered | Partial | Retry | Split | Misconfigured | AwaitAck | Prepare


class Codec(Protocol):
    """One destination's wire format. Immutable; safe to use from any task."""

    @property
    def limits(self) -> Limits: ...

    def encode(self, batch: Batch, context: Context) -> Encoded: ...

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome: ...


@runtime_checkable
class Preparing(Protocol):
    """A codec whose requests may need another one first."""

    def classify_prepared(self, reply: Reply) -> Retry | Misconfigured | None:
        """What the answer to ``Prepare.request`` means. None: done, send the refused request again."""


@runtime_checkable
class Signing(Protocol):
    """A codec whose requests tell, under a signature, when they are sent, which their receiver compares with its clock.

    ``encode`` leaves that out: the last request of a batch may go out long after the first.
    """

    def sign(self, request: Request, context: Context) -> Request:
        """The request as it goes out now."""


class AckReport(msgspec.Struct, frozen=True):
    """``confirmed`` ids are delivered. ``disabled``: the token gives no acknowledgements, their 200 was the word."""

    confirmed: frozenset[int]
    disabled: bool = False


@runtime_checkable
class Acknowledging(Protocol):
    """A codec whose provider confirms later. A true is reported once: record it before anything else."""

    @property
    def ack_poll_s(self) -> float: ...

    @property
    def ack_timeout_s(self) -> float: ...

    def encode_ack_poll(self, ack_ids: Sequence[int], context: Context) -> Request: ...

    def classify_ack_poll(self, reply: Reply) -> AckReport | Retry | Misconfigured: ...


class Field(msgspec.Struct, frozen=True):
    """One entry of a destination's form: validation, OpenAPI, masking and the console come from it.

    ``where`` says where a value lives: a credential beside the endpoint, or a member of ``options``. ``pattern`` is to
    match the whole value, in a spelling that JavaScript understands too; ``minimum`` and ``maximum`` bound an integer.
    ``multiline`` text may have line breaks, and be as long as a chain of certificates.
    """

    name: str
    label: str
    where: Literal["credential", "option"]
    type: Literal["string", "integer", "boolean", "array", "object", "enum"] = "string"
    required: bool = False
    default: str | int | bool | list[str] | dict[str, str] | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    secret: bool = False
    multiline: bool = False
    help: str = ""


class Secret:
    """A credential in clear. Shows as ``***`` wherever it is printed; ``reveal`` is for the codec's hands alone."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class Settings(msgspec.Struct, frozen=True):
    """What a user chose for one destination, already validated against the provider's fields."""

    endpoint: str
    credentials: Mapping[str, Secret]
    options: Mapping[str, object]


class Provider(msgspec.Struct, frozen=True):
    """A row of the provider table.

    ``normalise_endpoint`` returns the address as it will be used, or raises RequestRejected with what is wrong with it.
    ``build`` makes the codec; it raises RequestRejected when options contradict each other or the endpoint.
    ``window_s`` is how old an event may be when it arrives, None where the provider takes any.
    """

    name: str
    label: str
    fields: tuple[Field, ...]
    endpoint_help: str
    credentials_help: str
    example_endpoint: str
    normalise_endpoint: NormaliseEndpoint
    build: BuildCodec
    window_s: float | None = None


class NormaliseEndpoint(Protocol):
    def __call__(self, endpoint: str) -> str: ...


class BuildCodec(Protocol):
    def __call__(self, settings: Settings) -> Codec: ...
