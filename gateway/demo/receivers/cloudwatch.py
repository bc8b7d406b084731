"""Amazon CloudWatch Logs for a user with two permissions, ``CreateLogStream`` and ``PutLogEvents``.

The service's most peculiar habits: almost every error is HTTP 400, one bad event fails the whole call, and events out
of the time range are dropped under 200 with the indexes of those that were.
"""

from __future__ import annotations

import uuid
from typing import ClassVar, Unpack

import msgspec

from gateway.demo.receivers.receiver import Answer, Call, Receiver, ReceiverSettings, answer_json, decode_body
from gateway.demo.receivers.script import Refuse
from gateway.demo.receivers.sigv4_check import signature_fault

ACCESS_KEY_ID = "AKIADEMODEMODEMODEMO"
SECRET_ACCESS_KEY = "demo/demo+demo/demo+demo/demo+demo/demo+"  # noqa: S105 - made up for the demo
REGION = "eu-west-1"
GROUP = "/truthlocks/audit"

CALL_BYTES_MAX = 1_048_576
EVENT_OVERHEAD_BYTES = 26
EVENT_BYTES_MAX = 1_000_000
EVENTS_MAX = 10_000
SPAN_MS = 86_400_000
AGE_MS_MAX = 14 * 86_400_000
AHEAD_MS_MAX = 2 * 3_600_000

_TARGET = "Logs_20140328."
_CONTENT_TYPE = "application/x-amz-json-1.1"


class _LogEvent(msgspec.Struct, gc=False):
    timestamp: int
    message: str


class _Put(msgspec.Struct):
    group: str = msgspec.field(name="logGroupName")
    stream: str = msgspec.field(name="logStreamName")
    events: list[_LogEvent] = msgspec.field(name="logEvents")


class _Create(msgspec.Struct):
    group: str = msgspec.field(name="logGroupName")
    stream: str = msgspec.field(name="logStreamName")


class CloudWatchReceiver(Receiver):
    """Has one log group and no stream. ``denied`` names operations that the user may not use."""

    provider: ClassVar[str] = "cloudwatch"

    def __init__(self, *, groups: frozenset[str] = frozenset({GROUP}), **settings: Unpack[ReceiverSettings]) -> None:
        super().__init__(**settings)
        self.groups = set(groups)
        self.streams: set[tuple[str, str]] = set()
        self.denied: set[str] = set()

    @property
    def credentials(self) -> dict[str, str]:
        return {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}

    @property
    def options(self) -> dict[str, object]:
        return {"region": REGION, "log_group": GROUP}

    @property
    def endpoint(self) -> str:
        return self.url

    def carries_events(self, call: Call) -> bool:
        return call.headers.get("x-amz-target") == f"{_TARGET}PutLogEvents"

    def respond(self, call: Call, refuse: Refuse | None = None) -> Answer:
        fault = signature_fault(
            call,
            access_key_id=ACCESS_KEY_ID,
            secret_access_key=SECRET_ACCESS_KEY,
            region=REGION,
            service="logs",
            now_s=self._now(),
        )
        if fault is not None:
            return _error(*fault)
        target = call.headers.get("x-amz-target", "")
        operation = target.removeprefix(_TARGET)
        is_call = call.method == "POST" and call.path == "/" and target.startswith(_TARGET)
        if not is_call or call.headers.get("content-type") != _CONTENT_TYPE:
            return _error("UnknownOperationException", "The operation is not known", status=404)
        if operation not in {"PutLogEvents", "CreateLogStream"} or operation in self.denied:
            text = f"User: arn:aws:iam::123456789012:user/demo is not authorized to perform: logs:{operation}"
            return _error("AccessDeniedException", text)
        return self._perform(operation, call, refuse)

    def _perform(self, operation: str, call: Call, refuse: Refuse | None) -> Answer:
        try:
            body = decode_body(call, frozenset({"gzip"})) or b""
            if operation == "CreateLogStream":
                return self._create(msgspec.json.decode(body, type=_Create))
            return self._put(msgspec.json.decode(body, type=_Put), refuse)
        except ValueError:
            return _error("SerializationException", "The request cannot be read")

    def _create(self, wanted: _Create) -> Answer:
        if wanted.group not in self.groups:
            return _error("ResourceNotFoundException", "The specified log group does not exist.")
        if not 1 <= len(wanted.stream) <= 512 or set(wanted.stream) & set(":*"):
            return _error("InvalidParameterException", "the log stream's name is not valid")
        if (wanted.group, wanted.stream) in self.streams:
            return _error("ResourceAlreadyExistsException", "The specified log stream already exists")
        self.streams.add((wanted.group, wanted.stream))
        return _success({})

    def _put(self, put: _Put, refuse: Refuse | None) -> Answer:
        if put.group not in self.groups:
            return _error("ResourceNotFoundException", "The specified log group does not exist.")
        if (put.group, put.stream) not in self.streams:
            return _error("ResourceNotFoundException", "The specified log stream does not exist.")
        now_ms = int(self._now() * 1000)
        old = sum(event.timestamp < now_ms - AGE_MS_MAX for event in put.events)
        new = sum(event.timestamp > now_ms + AHEAD_MS_MAX for event in put.events)
        fault = _batch_fault(put.events, old, new)
        messages = [event.message.encode() for event in put.events]
        if fault is None and refuse is not None and any(refuse.matches(message) for message in messages):
            fault = "Log event too large: 262145 bytes exceeds limit of 262144"
        if fault is not None:
            return _error("InvalidParameterException", fault)
        for message in messages[old : len(messages) - new]:
            self.stored.add(message)
        return _success(_rejections(len(messages), old, new))


def _batch_fault(events: list[_LogEvent], old: int, new: int) -> str | None:
    """Why AWS refuses the whole call. ``old`` and ``new``: how many events are out of the time range at either end."""
    if not 1 <= len(events) <= EVENTS_MAX:
        return f"1 validation error detected: 'logEvents' must have length between 1 and {EVENTS_MAX}"
    return _size_fault([len(event.message.encode()) for event in events]) or _time_fault(events, old, new)


def _size_fault(sizes: list[int]) -> str | None:
    if not min(sizes):
        return "1 validation error detected: a message must have length greater than or equal to 1"
    if max(sizes) > EVENT_BYTES_MAX:
        return f"Log event too large: {max(sizes)} bytes exceeds limit of {EVENT_BYTES_MAX}"
    total = sum(sizes) + EVENT_OVERHEAD_BYTES * len(sizes)
    return f"Upload too large: {total} bytes exceeds limit of {CALL_BYTES_MAX}" if total > CALL_BYTES_MAX else None


def _time_fault(events: list[_LogEvent], old: int, new: int) -> str | None:
    times = [event.timestamp for event in events]
    if times != sorted(times):
        return "Log events in a single PutLogEvents request must be in chronological order."
    valid = times[old : len(times) - new]
    if valid and valid[-1] - valid[0] > SPAN_MS:
        return "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
    return None


def _rejections(events: int, old: int, new: int) -> dict[str, object]:
    """``tooOldLogEventEndIndex`` is exclusive, ``tooNewLogEventStartIndex`` inclusive."""
    info: dict[str, int] = {}
    if old:
        info["tooOldLogEventEndIndex"] = old
    if new:
        info["tooNewLogEventStartIndex"] = events - new
    return {"rejectedLogEventsInfo": info} if info else {}


def _success(content: dict[str, object]) -> Answer:
    headers = {"Content-Type": _CONTENT_TYPE, "x-amzn-requestid": str(uuid.uuid4())}
    return Answer(200, msgspec.json.encode(content), headers)


def _error(name: str, text: str, *, status: int = 400) -> Answer:
    headers = {"Content-Type": _CONTENT_TYPE, "x-amzn-requestid": str(uuid.uuid4())}
    return answer_json(status, {"__type": name, "message": text}, headers)
