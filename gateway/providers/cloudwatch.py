"""Amazon CloudWatch Logs: ``PutLogEvents`` to one stream, which is created when it is missing.

Two permissions are enough, ``logs:CreateLogStream`` and ``logs:PutLogEvents``; the log group must exist. A call fails
as a whole unless its events ascend by time, span at most 24 hours and stay within a size that counts 26 bytes for each.
Events that are too old or too new are dropped by AWS under HTTP 200, so they are seen to before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec
from yarl import URL

from gateway.providers.choices import credential, option_error, text_option
from gateway.providers.cloudwatch_reply import (
    RESOURCE_EXISTS,
    RESOURCE_MISSING,
    TOO_NEW,
    classify_error,
    classify_success,
    read_failure,
)
from gateway.providers.codec import (
    Batch,
    Codec,
    Context,
    Encoded,
    Field,
    Limits,
    Misconfigured,
    Outcome,
    Partial,
    Prepare,
    Provider,
    Refusal,
    Reply,
    Request,
    Retry,
    Settings,
)
from gateway.providers.endpoint import endpoint_error, parse_endpoint
from gateway.providers.reply import utc
from gateway.providers.sigv4 import SigningKey, sign_post
from gateway.providers.timestamp import PerSecond, epoch_micros

CALL_BYTES_MAX = 1_048_576
EVENT_OVERHEAD_BYTES = 26
EVENTS_MAX = 10_000
EVENT_BYTES_MAX = 1_000_000
SPAN_MS = 86_400_000
MARGIN_MS = 60_000  # between our judgement of an event's age and AWS's
AGE_MS_MAX = 14 * 86_400_000 - MARGIN_MS
AHEAD_MS_MAX = 2 * 3_600_000 - MARGIN_MS
RETENTION_MS_MIN = 86_400_000 - 3_600_000  # a day is the shortest, and an hour for clocks that differ

_LIMITS = Limits(
    events_max=2_000, bytes_max=990_000
)  # far below 10,000: a batch is encoded in one go on the event loop

_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+)+-\d+")
_REGIONAL_HOST = re.compile(r"(?:.+\.)?logs(?:-fips)?\.([a-z]{2,5}(?:-[a-z]+)+-\d+)\.")
_CONSOLE_HOST = re.compile(r"(?:.+\.)?console\.(?:aws\.amazon\.com|amazonaws\.cn|aws\.eu)")

ACCESS_KEY_ID = Field(
    "access_key_id",
    "Access key ID",
    "credential",
    required=True,
    secret=True,
    help="Access key ID of the IAM user, which begins with AKIA.",
)
SECRET_ACCESS_KEY = Field(
    "secret_access_key",
    "Secret access key",
    "credential",
    required=True,
    secret=True,
    help="Secret access key that AWS showed when the access key was created.",
)
REGION = Field(
    "region",
    "Region",
    "option",
    pattern=r"^[a-z]{2,5}(-[a-z]+)+-[0-9]+$",
    help="AWS region to sign for. Empty: read from the endpoint.",
)
LOG_GROUP = Field(
    "log_group",
    "Log group",
    "option",
    default="/truthlocks/audit",
    pattern=r"^[.\-_/#A-Za-z0-9]{1,512}$",
    help="Must exist: the gateway has no permission to create it.",
)
LOG_STREAM = Field(
    "log_stream",
    "Log stream",
    "option",
    pattern=r"^[^:*]{1,512}$",
    help="Created when it is missing. Empty: one for each gateway and day, <instance>/<yyyy-mm-dd>.",
)
TOO_OLD = Field(
    "too_old",
    "Events out of CloudWatch's time range",
    "option",
    type="enum",
    choices=("restamp", "dead_letter"),
    default="restamp",
    help="CloudWatch refuses events older than 14 days or than the log group's retention, or more than 2 hours ahead. "
    "restamp: send them with the present time, the message keeps its own. dead_letter: keep them back.",
)


class _Members(msgspec.Struct, gc=False):
    timestamp: str


class _LogEvent(msgspec.Struct, gc=False):
    timestamp: int
    message: str


class _Stream(msgspec.Struct, frozen=True):
    group: str = msgspec.field(name="logGroupName")
    stream: str = msgspec.field(name="logStreamName")


class _PutLogEvents(msgspec.Struct):
    group: str = msgspec.field(name="logGroupName")
    stream: str = msgspec.field(name="logStreamName")
    events: list[_LogEvent] = msgspec.field(name="logEvents")


_decode_members = msgspec.json.Decoder(_Members).decode_lines


class CloudWatchCodec:
    limits = _LIMITS

    def __init__(self, settings: Settings) -> None:
        endpoint = parse_endpoint(settings.endpoint)
        self._url = f"{endpoint.base}/"
        self._host = URL(self._url).host_port_subcomponent or ""  # as the Host header will say it
        self._key = SigningKey(
            access_key_id=credential(settings, "access_key_id"),
            secret_access_key=credential(settings, "secret_access_key"),
            region=_region(settings, endpoint.host),
            service="logs",
        )
        self._group = text_option(settings, LOG_GROUP)
        self._stream = text_option(settings, LOG_STREAM)
        self._restamps = text_option(settings, TOO_OLD) != "dead_letter"

    def encode(self, batch: Batch, context: Context) -> Encoded:
        timed, refused = self._judge(batch, _now_ms(context), _age_ms_max(context))
        timed.sort(key=lambda entry: entry[0])
        stream = self._stream or _daily_stream(context)
        requests = [self._put(batch, part, stream) for part in _calls(timed, batch.lines)]
        return Encoded(tuple(requests), tuple(refused))

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        if 200 <= reply.status < 300:
            outcome = classify_success(request.positions, reply)
            return self._restamping(outcome, request, context) if isinstance(outcome, Partial) else outcome
        failure = read_failure(reply, self._secrets())
        if failure.name == RESOURCE_MISSING:
            return Prepare(self._create_stream(request), reason=failure.text)
        return classify_error(failure, reply, context)

    def sign(self, request: Request, context: Context) -> Request:
        now_s = context.now_s + context.clock_offset_s
        headers = sign_post(self._key, self._host, request.headers, request.body, now_s)
        return msgspec.structs.replace(request, headers=headers)

    def classify_prepared(self, reply: Reply) -> Retry | Misconfigured | None:
        failure = read_failure(reply, self._secrets())
        if 200 <= reply.status < 300 or failure.name == RESOURCE_EXISTS:
            return None
        if failure.name == RESOURCE_MISSING:
            reason = f"the log group {self._group!r} does not exist; create it or change options.log_group"
            return Misconfigured(reason, code=failure.name)
        outcome = classify_error(failure, reply, None)
        if isinstance(outcome, Retry | Misconfigured):
            return outcome
        return Misconfigured(f"the log stream cannot be created: {failure.text}", code=failure.code)

    def _restamping(self, told: Partial, request: Request, context: Context) -> Partial:
        """What is rejected as too old goes again with the present time, unless it is too young to be that."""
        if not self._restamps:
            return told
        now_ms = _now_ms(context)
        sent = msgspec.json.decode(request.body, type=_PutLogEvents).events
        ages_ms = {at: now_ms - event.timestamp for at, event in zip(request.positions, sent, strict=True)}
        named = {item.position for item in told.refused if item.code != TOO_NEW}
        old = {position for position in named if ages_ms[position] >= RETENTION_MS_MIN}
        if not old:
            return told
        return msgspec.structs.replace(
            told,
            retry=sorted(old),
            refused=tuple(item for item in told.refused if item.position not in old),
            retry_at_once=True,
            age_max_s=min(ages_ms[position] for position in old) / 1000,
        )

    def _judge(self, batch: Batch, now_ms: int, age_ms_max: int) -> tuple[list[tuple[int, int]], list[Refusal]]:
        """``(milliseconds, position)`` of what is to be sent, and what cannot be."""
        seconds = PerSecond(lambda second: second)
        timed: list[tuple[int, int]] = []
        refused: list[Refusal] = []
        for position, (event, line) in enumerate(zip(_decode_members(batch.payload), batch.lines, strict=True)):
            at_ms = _epoch_ms(event.timestamp, seconds)
            if len(line) > EVENT_BYTES_MAX:
                reason = f"CloudWatch takes events up to {EVENT_BYTES_MAX} bytes and this one has {len(line)}"
                refused.append(Refusal(position, "too_large", reason))
            elif at_ms is not None and now_ms - at_ms <= age_ms_max and at_ms - now_ms <= AHEAD_MS_MAX:
                timed.append((at_ms, position))
            elif self._restamps:
                timed.append((now_ms, position))
            else:
                refused.append(_out_of_range(position, at_ms, now_ms))
        return timed, refused

    def _put(self, batch: Batch, part: Sequence[tuple[int, int]], stream: str) -> Request:
        events = [_LogEvent(at_ms, batch.lines[position].decode()) for at_ms, position in part]
        body = msgspec.json.encode(_PutLogEvents(self._group, stream, events))
        return self._request("PutLogEvents", body, positions=[position for _, position in part])

    def _create_stream(self, refused: Request) -> Request:
        """For the stream that the refused request names: the day may have changed since."""
        stream = msgspec.json.decode(refused.body, type=_Stream)
        return self._request("CreateLogStream", msgspec.json.encode(stream))

    def _request(self, operation: str, body: bytes, positions: Sequence[int] = ()) -> Request:
        headers = (
            ("Content-Type", "application/x-amz-json-1.1"),
            ("X-Amz-Target", f"Logs_20140328.{operation}"),
        )
        return Request(url=self._url, headers=headers, body=body, positions=positions)

    def _secrets(self) -> tuple[str, ...]:
        return (self._key.secret_access_key, self._key.access_key_id)


def _now_ms(context: Context) -> int:
    return int((context.now_s + context.clock_offset_s) * 1000)


def _age_ms_max(context: Context) -> int:
    """An event of just the age that was told is too old."""
    return AGE_MS_MAX if context.age_max_s is None else min(AGE_MS_MAX, int(context.age_max_s * 1000) - 1)


def _epoch_ms(timestamp: str, seconds: PerSecond[int | None]) -> int | None:
    second, fraction = seconds[timestamp[:19]], timestamp[20:-1]
    if second is not None and timestamp[-1:] == "Z" and len(fraction) == 3 and fraction.isdigit():
        return second * 1000 + int(fraction)
    micros = epoch_micros(timestamp)
    return None if micros is None else micros // 1000


def _out_of_range(position: int, at_ms: int | None, now_ms: int) -> Refusal:
    if at_ms is not None and at_ms > now_ms:
        return Refusal(position, TOO_NEW, "CloudWatch refuses events more than 2 hours ahead")
    return Refusal(position, "too_old", "CloudWatch refuses events older than 14 days")


def _calls(timed: Sequence[tuple[int, int]], lines: Sequence[bytes]) -> Iterator[Sequence[tuple[int, int]]]:
    """Cut sorted events where a call would break one of its rules."""
    start, total_bytes = 0, 0
    for at, (at_ms, position) in enumerate(timed):
        size = len(lines[position]) + EVENT_OVERHEAD_BYTES
        too_long = at - start >= EVENTS_MAX or at_ms - timed[start][0] >= SPAN_MS
        if at > start and (too_long or total_bytes + size > CALL_BYTES_MAX):
            yield timed[start:at]
            start, total_bytes = at, 0
        total_bytes += size
    if timed:
        yield timed[start:]


def _daily_stream(context: Context) -> str:
    instance = re.sub(r"[:*\x00-\x1f\x7f]", "-", context.instance)[:500] or "gateway"
    return f"{instance}/{utc(context.now_s).date().isoformat()}"


def _region(settings: Settings, host: str) -> str:
    chosen = text_option(settings, REGION)
    if chosen:
        if not _REGION.fullmatch(chosen):
            raise option_error(REGION.name, "this is not an AWS region such as eu-west-1")
        return chosen
    found = _REGIONAL_HOST.match(host)
    if found is None:
        raise option_error(REGION.name, "required, because the endpoint's host name does not tell the region")
    return found[1]


def _normalise_endpoint(endpoint: str) -> str:
    """A region alone becomes its endpoint. Every call goes to ``/``, so any other path is dropped."""
    if _REGION.fullmatch(endpoint.strip()):
        region = endpoint.strip()
        return f"https://logs.{region}.{_domain(region)}"
    parsed = parse_endpoint(endpoint)
    if _CONSOLE_HOST.fullmatch(parsed.host):
        raise endpoint_error("this is the AWS console; use https://logs.<region>.amazonaws.com")
    return msgspec.structs.replace(parsed, path="/" if parsed.path == "/" else "", query="").address


def _domain(region: str) -> str:
    if region.startswith("cn-"):
        return "amazonaws.com.cn"
    return "amazonaws.eu" if region.startswith("eusc-") else "amazonaws.com"


def _build(settings: Settings) -> Codec:
    """Raises RequestRejected for a name that AWS does not allow, among others."""
    for field, pattern in ((LOG_GROUP, LOG_GROUP.pattern), (LOG_STREAM, LOG_STREAM.pattern)):
        name = text_option(settings, field)
        if name and not re.fullmatch(pattern or "", name):
            raise option_error(field.name, "the name has characters that AWS does not allow, or is too long")
    return CloudWatchCodec(settings)


CLOUDWATCH = Provider(
    name="cloudwatch",
    label="AWS CloudWatch",
    fields=(ACCESS_KEY_ID, SECRET_ACCESS_KEY, REGION, LOG_GROUP, LOG_STREAM, TOO_OLD),
    endpoint_help="CloudWatch Logs endpoint of your region, https://logs.<region>.amazonaws.com. "
    "The region alone is enough.",
    credentials_help="In AWS, create an IAM user with the logs:CreateLogStream and logs:PutLogEvents permissions, "
    "and create the log group. Note the user's access key ID and secret access key.",
    example_endpoint="https://logs.us-east-1.amazonaws.com",
    normalise_endpoint=_normalise_endpoint,
    build=_build,
    window_s=AGE_MS_MAX / 1_000,
)
