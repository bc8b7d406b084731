"""Elasticsearch's ``_bulk`` over data streams: one answer for each item, and a repeated ``create`` is a conflict.

Uniqueness of ``_id`` is kept over the receiver's life, as in one backing index.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack
from urllib.parse import unquote

import msgspec

from gateway.demo.receivers.receiver import Answer, Call, Receiver, ReceiverSettings, answer_json, decode_body
from gateway.demo.receivers.script import Refuse

KEY_ID, KEY_SECRET = "VuaCfGcBCdbkQm-e5aOx", "ui2lp2axTNmsyakw9tvNnw"  # made up for the demo

_PRODUCT = {"X-Elastic-Product": "Elasticsearch"}
_BULK = re.compile(r"/(?:([^/_][^/]*)/)?_bulk")
_PARAMETERS = frozenset(
    {"filter_path", "pipeline", "refresh", "routing", "timeout", "wait_for_active_shards", "require_alias", "_source"}
)
_OPERATIONS = frozenset({"create", "index", "update", "delete"})
_TIMESTAMP_FIRST = re.compile(rb'\{"@timestamp":"[^"\\]*",')

_REFUSALS = {
    400: ("document_parsing_exception", "failed to parse field [metadata.value] of type [long]"),
    403: ("security_exception", "action [indices:data/write/bulk[s]] is unauthorized for API key"),
    404: ("index_not_found_exception", "no such index"),
    429: ("es_rejected_execution_exception", "rejected execution of coordinating operation"),
    503: ("unavailable_shards_exception", "primary shard is not active"),
}


class ElasticReceiver(Receiver):
    """``numbers`` are paths such as ``metadata.count`` that are mapped as ``long``: another type there is refused."""

    provider: ClassVar[str] = "elastic"

    def __init__(
        self,
        *,
        numbers: frozenset[str] = frozenset(),
        pipelines: frozenset[str] = frozenset(),
        **settings: Unpack[ReceiverSettings],
    ) -> None:
        super().__init__(**settings)
        self.numbers = numbers
        self.pipelines = pipelines
        self.documents: dict[tuple[str, str], bytes] = {}

    @property
    def credentials(self) -> dict[str, str]:
        return {"token": f"{KEY_ID}:{KEY_SECRET}"}

    @property
    def endpoint(self) -> str:
        return self.url

    def carries_events(self, call: Call) -> bool:
        return call.method in {"POST", "PUT"} and _BULK.fullmatch(call.path) is not None

    def respond(self, call: Call, refuse: Refuse | None = None) -> Answer:
        if not _is_authorized(call):
            reason = "unable to authenticate with provided credentials"
            challenge = {"WWW-Authenticate": 'ApiKey, Basic realm="security"'}
            return _error(401, "security_exception", reason, challenge)
        if self.carries_events(call):
            return self._bulk(call, refuse)
        match call.method, call.path:
            case "GET", "/":
                return answer_json(200, {"name": "demo", "tagline": "You Know, for Search"}, _PRODUCT)
            case "GET", "/_security/_authenticate":
                return answer_json(200, {"username": "demo", "authentication_type": "api_key"}, _PRODUCT)
            case "POST", "/_security/user/_has_privileges":
                return answer_json(200, {"username": "demo", "has_all_requested": True}, _PRODUCT)
        return _error(404, "index_not_found_exception", f"no such index [{call.path.strip('/')}]")

    def _bulk(self, call: Call, refuse: Refuse | None) -> Answer:
        fault = _request_fault(call)
        if fault is not None:
            return fault
        try:
            body = decode_body(call, frozenset({"gzip"}))
            lines = _lines(call.body if body is None else body)  # what it cannot decode, it reads as JSON
        except ValueError as error:
            return _error(400, "illegal_argument_exception", str(error))
        named = _BULK.fullmatch(call.path)
        index = unquote(named[1]) if named is not None and named[1] else ""
        items = []
        for operation, meta, document in lines:
            item = self._item(operation, {"_index": index, **meta}, document, refuse)
            if item["status"] < 300 and call.query.get("pipeline", "") not in {"", *self.pipelines}:
                item = _refused(meta, 400, "illegal_argument_exception", "pipeline with id does not exist")
            elif item["status"] == 201:
                self._store(str(item["_index"]), str(item["_id"]), document)
            items.append({operation: item})
        return _bulk_answer(items, call.query.get("filter_path", ""))

    def _item(self, operation: str, meta: Mapping[str, Any], document: bytes, refuse: Refuse | None) -> dict[str, Any]:
        if operation != "create":
            reason = "only write ops with an op_type of create are allowed in data streams"
            return _refused(meta, 400, "illegal_argument_exception", reason)
        if refuse is not None and refuse.matches(document):
            return _refused(meta, refuse.status, *_REFUSALS.get(refuse.status, _REFUSALS[400]))
        fault = _document_fault(document, self.numbers)
        if fault is not None:
            return _refused(meta, 400, "document_parsing_exception", fault)
        name = str(meta.get("_id") or f"generated-{len(self.documents)}")
        if (str(meta["_index"]), name) in self.documents:
            reason = f"[{name}]: version conflict, document already exists (current version [1])"
            return _refused(meta, 409, "version_conflict_engine_exception", reason)
        return {"_index": meta["_index"], "_id": name, "_version": 1, "result": "created", "status": 201}

    def _store(self, index: str, name: str, document: bytes) -> None:
        self.documents[index, name] = b"" if self.stored.count_only else document
        self.stored.add(taken_out(document))


def taken_out(document: bytes) -> bytes:
    """The event in a document: without the ``@timestamp`` that the sender puts first."""
    prefix = _TIMESTAMP_FIRST.match(document)
    return b"{" + document[prefix.end() :] if prefix is not None else document


def _is_authorized(call: Call) -> bool:
    scheme, _, key = call.headers.get("authorization", "").partition(" ")
    try:
        return scheme == "ApiKey" and base64.b64decode(key, validate=True).decode() == f"{KEY_ID}:{KEY_SECRET}"
    except (binascii.Error, ValueError):
        return False


def _request_fault(call: Call) -> Answer | None:
    content_type = call.headers.get("content-type", "").partition(";")[0].strip()
    if content_type not in {"application/x-ndjson", "application/json"}:
        return _error(406, "media_type_header_exception", f"Content-Type header [{content_type}] is not supported")
    unknown = sorted(set(call.query) - _PARAMETERS)
    if unknown:
        reason = f"request [{call.path}] contains unrecognized parameter: [{unknown[0]}]"
        return _error(400, "illegal_argument_exception", reason)
    if not call.body:
        return _error(400, "parse_exception", "request body is required")
    return None


def _lines(body: bytes) -> list[tuple[str, dict[str, Any], bytes]]:
    """``(operation, its metadata, document)``. Raises ValueError for what spoils the whole request."""
    if not body.endswith(b"\n"):
        raise ValueError("The bulk request must be terminated by a newline [\\n]")
    lines = [line for line in body.split(b"\n") if line.strip()]
    read = []
    at = 0
    while at < len(lines):
        operation, meta = _action(lines[at], at + 1)
        has_document = operation != "delete"
        if has_document and at + 1 >= len(lines):
            raise ValueError("Validation Failed: 1: no requests added;")
        read.append((operation, meta, lines[at + 1] if has_document else b""))
        at += 1 + has_document
    return read


def _action(line: bytes, number: int) -> tuple[str, dict[str, Any]]:
    try:
        action = msgspec.json.decode(line, type=dict[str, dict[str, Any]])
    except msgspec.MsgspecError:
        action = {}
    if len(action) != 1 or not action.keys() <= _OPERATIONS:
        raise ValueError(f"Malformed action/metadata line [{number}], expected START_OBJECT")
    return next(iter(action.items()))


def _document_fault(document: bytes, numbers: frozenset[str]) -> str | None:
    try:
        document.decode()
        content = msgspec.json.decode(document, type=dict[str, Any])
    except ValueError:
        return "failed to parse"
    if not isinstance(content.get("@timestamp"), str | int):
        return "data stream timestamp field [@timestamp] is missing"
    for path in numbers:
        value: Any = content
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, int):
            return f"failed to parse field [{path}] of type [long]"
    return None


def _refused(meta: Mapping[str, Any], status: int, type_: str, reason: str) -> dict[str, Any]:
    named = {"_index": meta.get("_index"), "_id": meta.get("_id")}
    return {**named, "status": status, "error": {"type": type_, "reason": reason}}


def _bulk_answer(items: list[dict[str, dict[str, Any]]], filter_path: str) -> Answer:
    failed = any(item["status"] >= 300 for wrapped in items for item in wrapped.values())
    if not filter_path:
        return answer_json(200, {"took": 1, "errors": failed, "items": items}, _PRODUCT)
    paths = filter_path.split(",")
    kept = [shown for wrapped in items if (shown := _filtered(wrapped, paths))]
    content: dict[str, object] = {"errors": failed} if "errors" in paths else {}
    return answer_json(200, content | ({"items": kept} if kept else {}), _PRODUCT)


def _filtered(wrapped: dict[str, dict[str, Any]], paths: list[str]) -> dict[str, dict[str, Any]]:
    """An item with the members that ``items.*.member`` names; empty when nothing of it is left."""
    names = {path.split(".")[2] for path in paths if path.startswith("items.*.")}
    return {
        operation: shown
        for operation, item in wrapped.items()
        if (shown := {name: value for name, value in item.items() if name in names})
    }


def _error(status: int, type_: str, reason: str, headers: Mapping[str, str] | None = None) -> Answer:
    cause = {"type": type_, "reason": reason}
    content = {"error": {"root_cause": [cause], **cause}, "status": status}
    return answer_json(status, content, {**_PRODUCT, **(headers or {})})
