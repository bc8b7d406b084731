"""Datadog's log intake: accepts quickly and tells little.

What it accepts under 202 and then drops (older than 18 hours, more than 2 hours ahead) or cuts (over 1 MB) shows in
``dropped`` and ``truncated`` and not among the events: in the real one it would only be missed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, ClassVar, Unpack

import msgspec
from msgspec import Raw

from gateway.demo.receivers.members import top_level_members
from gateway.demo.receivers.receiver import Answer, Call, Receiver, ReceiverSettings, answer_json, decode_body
from gateway.demo.receivers.script import Refuse
from gateway.demo.receivers.stored import event_id

API_KEY = "0123456789abcdef0123456789abcdef"
BODY_BYTES_MAX = 5_000_000
ENTRIES_MAX = 1_000
ENTRY_BYTES_MAX = 1_000_000
AGE_S_MAX, AHEAD_S_MAX = 18 * 3600, 2 * 3600

# Read in this order for a log's date.
DATE_MEMBERS = ("@timestamp", "timestamp", "_timestamp", "Timestamp", "eventTime", "date", "published_date")

_INTAKE, _VALIDATE = "/api/v2/logs", "/api/v1/validate"
_TEXT = rb'"(?:[^"\\]|\\.)*"'
# The sender's members in the order in which they are written, each where it is used.
_ENVELOPE = re.compile(
    rb"\{"
    + b"".join(
        rb'(?:"%b":%b,)?' % (name, _TEXT) for name in (b"ddsource", b"ddtags", b"hostname", b"service", b"message")
    )
    + rb'(?:"status":%b,)?(?:"late":true,)?' % _TEXT
)
_RENAMED = frozenset({*DATE_MEMBERS, "service"})


class DatadogReceiver(Receiver):
    provider: ClassVar[str] = "datadog"

    def __init__(self, **settings: Unpack[ReceiverSettings]) -> None:
        super().__init__(**settings)
        self.dropped: list[str] = []
        self.truncated: list[str] = []

    @property
    def credentials(self) -> dict[str, str]:
        return {"token": API_KEY}

    @property
    def endpoint(self) -> str:
        return f"{self.url}{_INTAKE}"

    def carries_events(self, call: Call) -> bool:
        return call.method == "POST" and call.path == _INTAKE

    def respond(self, call: Call, refuse: Refuse | None = None) -> Answer:
        if call.path not in {_INTAKE, _VALIDATE}:
            return _errors(404, "Not Found")
        if call.method != ("POST" if call.path == _INTAKE else "GET"):
            return _errors(405, "Method Not Allowed")
        key = call.headers.get("dd-api-key")
        if call.path == _VALIDATE:
            return answer_json(200, {"valid": True}) if key == API_KEY else answer_json(403, {"errors": ["Forbidden"]})
        if not key:
            return _errors(401, "Unauthorized")
        return self._take(call, refuse) if key == API_KEY else _errors(403, "Forbidden")

    def _take(self, call: Call, refuse: Refuse | None) -> Answer:
        try:
            body = decode_body(call, frozenset({"gzip", "deflate"}))
            if body is None:
                return _errors(415, "Unsupported Media Type")
            if len(body) > BODY_BYTES_MAX:
                return _errors(413, "Payload Too Large")
            entries = _entries(body)
        except ValueError:
            return _errors(400, "Bad Request")
        if len(entries) > ENTRIES_MAX:
            return _errors(413, "Payload Too Large")
        if refuse is not None and any(refuse.matches(entry) for entry in entries):
            return _errors(refuse.status, "Bad Request")
        for entry in entries:
            self._index(entry)
        return Answer(202, b"{}", {"Content-Type": "application/json"})

    def _index(self, entry: bytes) -> None:
        event = taken_out(entry)
        date_s = _date_s(msgspec.json.decode(entry))
        now_s = self._now()
        if date_s is not None and not now_s - AGE_S_MAX <= date_s <= now_s + AHEAD_S_MAX:
            self.dropped.append(event_id(event))
        elif len(entry) > ENTRY_BYTES_MAX:
            self.truncated.append(event_id(event))
        else:
            self.stored.add(event)


def taken_out(entry: bytes) -> bytes:
    """The event in an entry, as it was before the sender put its own members in front of it and renamed some."""
    prefix = _ENVELOPE.match(entry)
    event = b"{" + entry[prefix.end() :] if prefix is not None else entry
    return _renamed_back(event) if b'"event_' in event else event


def _renamed_back(event: bytes) -> bytes:
    text = event.decode()
    members = list(top_level_members(text))
    own = {key for key, _, _ in members}
    for key, start, _ in reversed(members):
        before = key.removeprefix("event_")
        if before != key and before in _RENAMED and before not in own:
            text = text[: start + 1] + text[start + 1 + len("event_") :]
    return text.encode()


def _entries(body: bytes) -> list[bytes]:
    """Raises ValueError for what is neither an array of objects nor one object."""
    body.decode()
    if body.lstrip()[:1] == b"[":
        entries = [bytes(raw) for raw in msgspec.json.decode(body, type=list[Raw])]
    else:
        entries = [bytes(msgspec.json.decode(body, type=Raw))]
    for entry in entries:
        msgspec.json.decode(entry, type=dict[str, Any])
    return entries


def _date_s(entry: dict[str, Any]) -> float | None:
    """The log's date in seconds since the epoch; None where the time of receipt is taken."""
    for name in DATE_MEMBERS:
        value = entry.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value / 1000
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                continue
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _errors(status: int, title: str) -> Answer:
    return answer_json(status, {"errors": [{"status": str(status), "title": title, "detail": title}]})
