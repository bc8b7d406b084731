"""Splunk's HTTP Event Collector: ``/services/collector/event``, with indexer acknowledgement where it is asked for.

Objects stand one after another in a body. Splunk reads them in turn and stops at the first that it refuses, so an error
names how many before it are indexed. Wire facts: HEC reply codes 0-28 as of Splunk Enterprise 10.4 and Cloud 10.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from gateway.providers.choices import ENVELOPE_TEXT, credential, text_option, whole_option
from gateway.providers.codec import (
    AckReport,
    AwaitAck,
    Batch,
    Codec,
    Context,
    Delivered,
    Encoded,
    Field,
    Limits,
    Misconfigured,
    Outcome,
    Partial,
    Provider,
    Refusal,
    Reply,
    Request,
    Retry,
    Settings,
    Split,
)
from gateway.providers.endpoint import Endpoint, parse_endpoint, strip_path_suffix
from gateway.providers.framing import GZIP_BYTES_MIN, bodies
from gateway.providers.reply import by_status, read_json, retry_after_s, shown
from gateway.providers.timestamp import epoch_micros

BODY_BYTES_MAX = 1_000_000
EVENTS_MAX = 1_000
SECONDS_KEPT = 1_024  # what a time to the second means is worked out once for all destinations

_LIMITS = Limits(events_max=EVENTS_MAX, bytes_max=880_000)  # leaves room for 1,000 envelopes

INDEX = Field(
    "index",
    "Index",
    "option",
    help="Index to write to. Empty: the default index of the token.",
    pattern=r"^[a-z0-9_][a-z0-9_-]{0,254}$",
)
SOURCE = Field(
    "source",
    "Source",
    "option",
    default="truthlocks:audit",
    pattern=ENVELOPE_TEXT,
    help="Splunk's source of every event, up to 255 characters.",
)
SOURCETYPE = Field(
    "sourcetype",
    "Source type",
    "option",
    default="_json",
    pattern=ENVELOPE_TEXT,
    help="Splunk's source type of every event, up to 255 characters.",
)
HOST = Field(
    "host",
    "Host",
    "option",
    default="truthlocks",
    pattern=ENVELOPE_TEXT,
    help="Splunk's host of every event, up to 255 characters.",
)
ACK = Field(
    "ack",
    "Indexer acknowledgement",
    "option",
    type="boolean",
    default=False,
    help="Count events as delivered only once Splunk confirms that they are indexed. The token must have it enabled.",
)
ACK_POLL = Field(
    "ack_poll_seconds",
    "Acknowledgement interval",
    "option",
    type="integer",
    default=10,
    minimum=1,
    maximum=60,
    help="Seconds between two questions for acknowledgements, 1 to 60.",
)
ACK_TIMEOUT = Field(
    "ack_timeout_seconds",
    "Acknowledgement timeout",
    "option",
    type="integer",
    default=300,
    minimum=10,
    maximum=3600,
    help="Seconds after which unconfirmed events are sent again, 10 to 3600.",
)
TOKEN = Field(
    "token",
    "HEC token",
    "credential",
    required=True,
    secret=True,
    help="Token value of the HTTP Event Collector, such as 11111111-2222-3333-4444-555555555555.",
)

_SUFFIXES = (
    "/services/collector/health/1.0",
    "/services/collector/event/1.0",
    "/services/collector/raw/1.0",
    "/services/collector/health",
    "/services/collector/event",
    "/services/collector/raw",
    "/services/collector/ack",
    "/services/collector",
)

_PORT_HINTS = {
    8000: "port 8000 is usually Splunk's web interface; the HTTP Event Collector listens on 8088 or 443",
    8089: "port 8089 is usually Splunk's management API; the HTTP Event Collector listens on 8088 or 443",
}

_ACCEPTED, _NEAR_CAPACITY = 0, frozenset({24, 25})
_PREFIX_INDEXED = frozenset({6, 12, 13, 15})
_THROTTLED = frozenset({9, 18, 19, 20, 26, 27})
_RETRIED = frozenset({8, 23})
_NO_DATA, _ACK_DISABLED = 5, 14
_OPERATOR_NEEDED = {
    1: "Splunk says that the token is disabled; enable it",
    2: "Splunk got no token; set the destination's token",
    3: "Splunk does not accept the authorization; set the destination's token again",
    4: "Splunk does not know the token; set a valid one",
    7: "the index does not exist or the token may not write to it; change the token's indexes or options.index",
    10: "Splunk misses the data channel",
    11: "Splunk does not accept the data channel",
    14: "the token has no indexer acknowledgement; enable it there or set options.ack to false",
    16: "Splunk sees a token in the query string, which it does not allow",
    21: "Splunk does not know the token; set a valid one",
    22: "Splunk says that the token is disabled; enable it",
    28: "Splunk misses the data channel; the load balancer before it needs sticky sessions",
}


class _Members(msgspec.Struct, gc=False):
    timestamp: str


class _HecReply(msgspec.Struct):
    code: int
    text: str = ""
    invalid_event_number: int | None = msgspec.field(default=None, name="invalid-event-number")
    ack_id: int | None = msgspec.field(default=None, name="ackId")


class _AckReply(msgspec.Struct):
    acks: dict[str, bool]


_decode_members = msgspec.json.Decoder(_Members).decode_lines


class SplunkCodec:
    """Every 200 is final: what Splunk has received counts as delivered."""

    limits = _LIMITS
    _waits_for_ack = False

    def __init__(self, settings: Settings) -> None:
        endpoint = parse_endpoint(settings.endpoint)
        self._token = _bare_token(credential(settings, "token"))
        self._collector = collector_url(endpoint)
        self._hint = _PORT_HINTS.get(endpoint.port or 0, "")
        self._metadata = _metadata(settings)

    def encode(self, batch: Batch, context: Context) -> Encoded:
        columns = (_times(batch), self._metadata, batch.lines, b"}\n")
        cut_up = bodies(columns, len(batch), last=b"}", bytes_max=BODY_BYTES_MAX, events_max=EVENTS_MAX)
        return Encoded(
            tuple(self._request("event", body, context, positions=range(start, stop)) for start, stop, body in cut_up)
        )

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        said = read_json(reply.body, _HecReply)
        if 200 <= reply.status < 300:
            return self._accepted(said)
        if said is None:
            return by_status(reply, context.now_s, hint=self._hint)
        return self._refused(request, reply, said, context)

    def _request(self, path: str, body: bytes, context: Context, positions: Sequence[int] = ()) -> Request:
        return Request(
            url=f"{self._collector}/{path}",
            headers=(
                ("Authorization", f"Splunk {self._token}"),
                ("Content-Type", "application/json"),
                ("X-Splunk-Request-Channel", context.channel),
            ),
            body=body,
            positions=positions,
            gzip=len(body) >= GZIP_BYTES_MIN,
        )

    def _accepted(self, said: _HecReply | None) -> Outcome:
        if said is None:
            return Retry(
                "Splunk answered 200 without a HEC reply; check that the endpoint is a HEC endpoint",
                code="hec_unreadable",
            )
        if said.code != _ACCEPTED and said.code not in _NEAR_CAPACITY:
            return Retry(f"Splunk answered 200 with code {said.code}: {self._words(said)}", code=f"hec_{said.code}")
        if self._waits_for_ack and said.ack_id is not None:
            return AwaitAck(said.ack_id, slow_down=said.code in _NEAR_CAPACITY)
        if said.code in _NEAR_CAPACITY:
            return Delivered(warning=self._words(said), slow_down=True)
        return Delivered()

    def _refused(self, request: Request, reply: Reply, said: _HecReply, context: Context) -> Outcome:
        code, words = f"hec_{said.code}", self._words(said)
        if said.code in _PREFIX_INDEXED:
            return self._cut_at_bad_event(request, said)
        if said.code in _OPERATOR_NEEDED:
            return Misconfigured(f"{_OPERATOR_NEEDED[said.code]} (HTTP {reply.status}): {words}", code=code)
        if said.code in _THROTTLED or said.code in _RETRIED:
            after_s = retry_after_s(reply, context.now_s)
            return Retry(f"Splunk: {words}", code=code, after_s=after_s, throttled=said.code in _THROTTLED)
        if said.code == _NO_DATA:
            return Split(f"Splunk saw no data in the request: {words}", code=code, tries=2)
        return by_status(reply, context.now_s, words=words, hint=self._hint)

    def _cut_at_bad_event(self, request: Request, said: _HecReply) -> Outcome:
        """Objects before the named one are indexed, it and those after it are not."""
        code, words, bad = f"hec_{said.code}", self._words(said), said.invalid_event_number
        positions = request.positions
        if bad is None or not 0 <= bad < len(positions):
            return Split(f"Splunk refuses an event and does not say which: {words}", code=code)
        if bad == 0 and said.code == 6 and len(request.body) > BODY_BYTES_MAX:
            return Split(f"Splunk refuses a request that may be too large: {words}", code=code)
        refused = (Refusal(positions[bad], code, f"Splunk refuses the event: {words}"),)
        before, after = positions[:bad], positions[bad + 1 :]
        if self._waits_for_ack:  # the indexed ones are not acknowledged: rather twice than not at all
            before, after = (), [*before, *after]
        return Partial(before, retry=after, refused=refused, reason=words, code=code, retry_at_once=True)

    def _words(self, said: _HecReply) -> str:
        return shown(said.text, (self._token,))


class AcknowledgingSplunkCodec(SplunkCodec):
    """A 200 with an ``ackId`` counts only once Splunk confirms it; a token without acknowledgement gives none."""

    _waits_for_ack = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._ack_poll_s = float(whole_option(settings, ACK_POLL))
        self._ack_timeout_s = float(whole_option(settings, ACK_TIMEOUT))

    @property
    def ack_poll_s(self) -> float:
        return self._ack_poll_s

    @property
    def ack_timeout_s(self) -> float:
        return self._ack_timeout_s

    def encode_ack_poll(self, ack_ids: Sequence[int], context: Context) -> Request:
        return self._request("ack", msgspec.json.encode({"acks": list(ack_ids)}), context)

    def classify_ack_poll(self, reply: Reply) -> AckReport | Retry | Misconfigured:
        if 200 <= reply.status < 300:
            acks = read_json(reply.body, _AckReply)
            if acks is None:
                return Retry("Splunk's answer about acknowledgements cannot be read", code="hec_unreadable")
            return AckReport(frozenset(int(name) for name, done in acks.acks.items() if done and _is_id(name)))
        said = read_json(reply.body, _HecReply)
        if said is not None and said.code == _ACK_DISABLED:
            return AckReport(frozenset(), disabled=True)
        if said is not None and said.code in _OPERATOR_NEEDED:
            return Misconfigured(f"{_OPERATOR_NEEDED[said.code]} (HTTP {reply.status})", code=f"hec_{said.code}")
        outcome = by_status(reply, 0.0, hint=self._hint)
        if isinstance(outcome, Retry | Misconfigured):
            return outcome
        return Retry(
            f"Splunk refuses to tell about acknowledgements (HTTP {reply.status})", code=f"http_{reply.status}"
        )


def collector_url(endpoint: Endpoint) -> str:
    """``…/services/collector`` for any form in which users paste a HEC address."""
    return f"{endpoint.base}{strip_path_suffix(endpoint.path, _SUFFIXES)}/services/collector"


def _normalise_endpoint(endpoint: str) -> str:
    """The address without its query, where tokens are found. Its path stays as it was typed."""
    return msgspec.structs.replace(parse_endpoint(endpoint), query="").address


def _build(settings: Settings) -> Codec:
    return AcknowledgingSplunkCodec(settings) if settings.options.get("ack") is True else SplunkCodec(settings)


def _bare_token(token: str) -> str:
    scheme, _, rest = token.partition(" ")
    return rest.strip() if scheme.lower() == "splunk" and rest.strip() else token


def _metadata(settings: Settings) -> bytes:
    """Envelope members after the time, up to where the event begins. Splunk refuses keys that it does not know."""
    chosen = {field.name: text_option(settings, field) for field in (HOST, SOURCE, SOURCETYPE, INDEX)}
    pairs = (f'"{name}":{msgspec.json.encode(value).decode()}' for name, value in chosen.items() if value)
    return f'{",".join(pairs)},"event":'.encode()


def _times(batch: Batch) -> list[bytes]:
    """For each event, the envelope up to behind its time. The more events a second brings, the more share theirs."""
    texts = [event.timestamp for event in _decode_members(batch.payload)]
    members = {text: _time_member(text) for text in set(texts)}
    return [members[text] for text in texts]


def _time_member(timestamp: str) -> bytes:
    opened, fraction = _second_opened(timestamp[:19]), timestamp[19:-1]
    usual = fraction[:1] == "." and len(fraction) < 8 and fraction[1:].isdigit() and timestamp[-1] == "Z"
    if usual and opened and timestamp.isascii():
        return f"{opened}{fraction},".encode()
    return _opened_slowly(timestamp).encode()


@lru_cache(SECONDS_KEPT)
def _second_opened(text: str) -> str:
    """Empty for what is no time in UTC since 1970."""
    micros = epoch_micros(f"{text}Z")
    return "" if micros is None or micros < 0 else f'{{"time":{micros // 1_000_000}'


def _opened_slowly(timestamp: str) -> str:
    """For whole seconds, an offset, a finer fraction, a time before 1970."""
    micros = epoch_micros(timestamp)
    if micros is None or micros < 0:
        return "{"  # Splunk then takes the time of receipt
    seconds, rest = divmod(micros, 1_000_000)
    fraction = f".{rest:06}".rstrip("0") if rest else ""
    return f'{{"time":{seconds}{fraction},'


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= 19


SPLUNK = Provider(
    name="splunk",
    label="Splunk",
    fields=(TOKEN, INDEX, SOURCE, SOURCETYPE, HOST, ACK, ACK_POLL, ACK_TIMEOUT),
    endpoint_help="HTTP Event Collector address, with or without /services/collector. Splunk Cloud: "
    "https://http-inputs-<stack>.splunkcloud.com:443.",
    credentials_help="In Splunk, go to Settings > Data Inputs > HTTP Event Collector, create a new token with the main "
    "index, and copy the HEC endpoint URL and the token.",
    example_endpoint="https://hec.splunk.example.com:8088/services/collector",
    normalise_endpoint=_normalise_endpoint,
    build=_build,
)
