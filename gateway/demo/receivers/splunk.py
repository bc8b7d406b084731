"""Splunk's HTTP Event Collector, as Enterprise 10.4 answers: objects are read in turn up to the first bad one.

What precedes a bad object is indexed although the answer is an error; an object with an envelope key that Splunk does
not know ends the reading under 200.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import ClassVar, Unpack

import msgspec
from msgspec import Raw

from gateway.demo.receivers.members import split_values
from gateway.demo.receivers.receiver import Answer, Call, Receiver, ReceiverSettings, answer_json, decode_body
from gateway.demo.receivers.script import Refuse

TOKEN = "11111111-2222-3333-4444-555555555555"  # noqa: S105 - made up for the demo
ENVELOPE_KEYS = frozenset({"time", "host", "source", "sourcetype", "index", "event", "fields"})

_COLLECTOR = "/services/collector"
_INTAKE = frozenset({_COLLECTOR, f"{_COLLECTOR}/event", f"{_COLLECTOR}/event/1.0"})
_HEALTH = frozenset({f"{_COLLECTOR}/health", f"{_COLLECTOR}/health/1.0"})
_ACK = f"{_COLLECTOR}/ack"
_ID = re.compile(rb'"event":\{"id":"([^"\\]*)"')

_REPLIES = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    16: (400, "Query string authorization is not enabled"),
    17: (200, "HEC is healthy"),
    18: (503, "HEC is unhealthy, queues are full"),
    19: (503, "HEC is unhealthy, ack service unavailable"),
    20: (503, "HEC is unhealthy, queues are full, ack service unavailable"),
    21: (400, "Invalid token"),
    22: (400, "Token disabled"),
    23: (503, "Server is shutting down"),
    24: (200, "Queue is approaching capacity limit"),
    25: (200, "ACK channel is approaching capacity limit"),
    26: (429, "Queue is at capacity"),
    27: (429, "ACK channel is at capacity"),
    28: (400, "Data channel is missing; enable sticky sessions"),
}

_decode_objects = msgspec.json.Decoder(dict[str, Raw]).decode_lines
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


class _AckQuestion(msgspec.Struct):
    acks: list[int]


def hec_reply(code: int, **more: object) -> Answer:
    """A reply of HEC's table with its HTTP status; ``more`` are further members."""
    status, text = _REPLIES[code]
    return answer_json(status, {"text": text, "code": code, **more})


class SplunkReceiver(Receiver):
    """``ack`` gives the token indexer acknowledgement; ids become true while ``indexing`` is on.

    ``token_enabled``, ``healthy`` and ``indexes`` (None: any) may be changed while it runs.
    """

    provider: ClassVar[str] = "splunk"

    def __init__(
        self,
        *,
        ack: bool = False,
        content_bytes_max: int = 838_860_800,
        indexes: frozenset[str] | None = None,
        **settings: Unpack[ReceiverSettings],
    ) -> None:
        super().__init__(**settings)
        self.ack = ack
        self.indexing = True
        self.healthy = True
        self.token_enabled = True
        self.indexes = indexes
        self._content_bytes_max = content_bytes_max
        self._acks: dict[str, list[bool]] = {}  # by channel: whether the id was not yet reported

    @property
    def credentials(self) -> dict[str, str]:
        return {"token": TOKEN}

    @property
    def options(self) -> dict[str, object]:
        return {"ack": True} if self.ack else {}

    @property
    def endpoint(self) -> str:
        return f"{self.url}{_COLLECTOR}"

    def carries_events(self, call: Call) -> bool:
        return call.method == "POST" and call.path in _INTAKE

    def respond(self, call: Call, refuse: Refuse | None = None) -> Answer:
        if call.path in _HEALTH and call.method == "GET":
            return hec_reply(17 if self.healthy else 18)
        if call.path not in _INTAKE and call.path != _ACK:
            return answer_json(404, {"text": "The requested URL was not found on this server.", "code": 404})
        if call.method != "POST":
            return answer_json(405, {"text": "Method Not Allowed", "code": 405})
        fault = self._token_fault(call)
        if fault is not None:
            return hec_reply(fault)
        return self._answer_acks(call) if call.path == _ACK else self._take(call, refuse)

    def _token_fault(self, call: Call) -> int | None:
        authorization = call.headers.get("authorization", "")
        scheme, _, token = authorization.partition(" ")
        if not authorization:
            return 16 if "token" in call.query else 2
        if scheme != "Splunk":
            return 3
        if token != TOKEN:
            return 4
        return None if self.token_enabled else 1

    def _channel_fault(self, call: Call) -> int | None:
        channel = _channel(call)
        if not channel:
            return 10
        try:
            uuid.UUID(channel)
        except ValueError:
            return 11
        return None

    def _take(self, call: Call, refuse: Refuse | None) -> Answer:
        if self.ack and (fault := self._channel_fault(call)) is not None:
            return hec_reply(fault)
        try:
            body = decode_body(call, frozenset({"gzip"}))
        except ValueError:
            return hec_reply(6)
        if body is None:
            return answer_json(415, {"text": "Unsupported Media Type", "code": 415})
        if len(body) > self._content_bytes_max:
            return answer_json(413, {"text": "Content-Length exceeds the maximum", "code": 413})
        return self._index(call, body, refuse) if body.strip() else hec_reply(5)

    def _index(self, call: Call, body: bytes, refuse: Refuse | None) -> Answer:
        if self.stored.count_only and refuse is None:
            self.stored.add_ids(name.decode() for name in _ID.findall(body))
            return hec_reply(0, **self._new_ack(call))
        objects, readable = _objects(body)
        for number, item in enumerate(objects):
            if not item.keys() <= ENVELOPE_KEYS:
                return hec_reply(5) if len(objects) == 1 else hec_reply(0, **self._new_ack(call))
            code = self._fault_of(item, refuse)
            if code is not None:
                return self._cut(call, code, number)
            self.stored.add(bytes(item["event"]))
        if not readable:
            return self._cut(call, 6, len(objects))
        return hec_reply(0, **self._new_ack(call))

    def _cut(self, call: Call, code: int, number: int) -> Answer:
        """An error that names its object; code 7 names the one after it. What is indexed has an ack id too."""
        named = number + 1 if code == 7 else number
        return hec_reply(code, **{"invalid-event-number": named}, **(self._new_ack(call) if number else {}))

    def _fault_of(self, item: Mapping[str, Raw], refuse: Refuse | None) -> int | None:
        code = _fault_of_event(item)
        if code is not None:
            return code
        if not _is_flat(item.get("fields")):
            return 15
        index = msgspec.json.decode(item["index"]) if "index" in item else None
        if index is not None and self.indexes is not None and index not in self.indexes:
            return 7
        return 6 if refuse is not None and refuse.matches(bytes(item["event"])) else None

    def _new_ack(self, call: Call) -> dict[str, int]:
        if not self.ack:
            return {}
        ids = self._acks.setdefault(_channel(call), [])
        ids.append(True)
        return {"ackId": len(ids) - 1}

    def _answer_acks(self, call: Call) -> Answer:
        """Each true is told once."""
        if not self.ack:
            return hec_reply(14)
        fault = self._channel_fault(call)
        if fault is not None:
            return hec_reply(fault)
        try:
            asked = msgspec.json.decode(call.body, type=_AckQuestion).acks
        except msgspec.MsgspecError:
            return hec_reply(6)
        ids = self._acks.get(_channel(call), [])
        told = {}
        for ack_id in asked:
            told[str(ack_id)] = known = self.indexing and 0 <= ack_id < len(ids) and ids[ack_id]
            if known:
                ids[ack_id] = False
        return answer_json(200, {"acks": told})


def _channel(call: Call) -> str:
    return call.headers.get("x-splunk-request-channel") or call.query.get("channel", "")


def _objects(body: bytes) -> tuple[list[dict[str, Raw]], bool]:
    """The objects up to the first that is not one, and whether that was all."""
    try:
        body.decode()  # msgspec does not look into values that it hands on as they are
        return _decode_objects(body), True
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    objects: list[dict[str, Raw]] = []
    try:
        objects.extend(_decode_object(text.encode()) for text in split_values(body.decode()))
    except ValueError:  # msgspec's and Unicode's are ValueErrors too; what came before stays in the list
        return objects, False
    return objects, True


def _fault_of_event(item: Mapping[str, Raw]) -> int | None:
    event = bytes(item.get("event", b""))
    if not event:
        return 12
    if event in {b"null", b"false"}:
        return 6
    if event.startswith(b'"') and not str(msgspec.json.decode(event)).strip():
        return 13
    return None if _is_time(bytes(item.get("time", b"0"))) else 6


def _is_time(text: bytes) -> bool:
    try:
        float(text.strip(b'"'))
    except ValueError:
        return False
    return True


def _is_flat(fields: Raw | None) -> bool:
    if fields is None:
        return True
    values = msgspec.json.decode(fields)
    return isinstance(values, dict) and not any(isinstance(value, dict) for value in values.values())
