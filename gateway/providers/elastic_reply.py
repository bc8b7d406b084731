"""What a bulk request is answered: one item per event, in the order of the request."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from gateway import scan
from gateway.providers.codec import Delivered, Misconfigured, Outcome, Partial, Refusal, Reply, Retry, Split
from gateway.providers.reply import body_words, read_json, shown

# ``items.*.status`` must be asked for: without it the items that went well vanish, and positions shift.
FILTER_PATH = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"

# A result is two or three objects; words may quote a document. What is made of an object takes many times its bytes.
_OBJECTS_MAX_OF_EACH, _OBJECTS_MAX_BESIDE = 8, 1_000

# A refusal by what is configured, not by what the event says, although Elasticsearch answers 400 for both.
_CONFIGURATION_TYPES = frozenset({"invalid_index_name_exception", "index_closed_exception"})
_CONFIGURATION_REASONS = ("pipeline with id [", "no write index is defined for alias")


class _Error(msgspec.Struct):
    type: str = ""
    reason: str | None = None


class _Result(msgspec.Struct):
    status: int
    error: _Error | None = None
    failure_store: str = ""


class _BulkReply(msgspec.Struct):
    errors: bool
    items: list[dict[str, _Result]] = []


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None


class _Verdict(enum.Enum):
    DELIVERED = enum.auto()
    THROTTLED = enum.auto()
    RETRIED = enum.auto()
    MISCONFIGURED = enum.auto()
    REFUSED = enum.auto()


def classify_items(positions: Sequence[int], reply: Reply, secrets: Sequence[str]) -> Outcome:
    if scan.count(reply.body, b"{") > len(positions) * _OBJECTS_MAX_OF_EACH + _OBJECTS_MAX_BESIDE:
        reason = f"the answer has far more in it than the results of {len(positions)} events; check the endpoint"
        return Split(reason, code="unreadable", alone="degrade")
    said = read_json(reply.body, _BulkReply)
    if said is None:
        return Retry("the answer is not that of Elasticsearch's bulk interface; check the endpoint", code="unreadable")
    results = [next(iter(item.values())) for item in said.items if len(item) == 1]
    if len(results) != len(positions):
        reason = f"Elasticsearch answered for {len(results)} of {len(positions)} events"
        return Retry(reason, code="items_mismatch")
    if not said.errors:
        redirected = sum(result.failure_store == "used" for result in results)
        return Delivered(_redirected(redirected) if redirected else "")
    return _sort_out(positions, results, secrets)


def _redirected(count: int) -> str:
    return f"Elasticsearch put {count} events into the failure store; check the mapping and the pipeline"


def _sort_out(positions: Sequence[int], results: Sequence[_Result], secrets: Sequence[str]) -> Outcome:
    found: dict[_Verdict, list[int]] = {verdict: [] for verdict in _Verdict}
    for at, result in enumerate(results):
        found[_verdict(result)].append(at)
    waiting = sorted([*found[_Verdict.THROTTLED], *found[_Verdict.RETRIED], *found[_Verdict.MISCONFIGURED]])
    refused = tuple(_refusal(positions[at], results[at], secrets) for at in found[_Verdict.REFUSED])
    delivered = [positions[at] for at in found[_Verdict.DELIVERED]]
    if not waiting and not refused:
        return Delivered()
    worst = (
        found[_Verdict.MISCONFIGURED] or found[_Verdict.THROTTLED] or found[_Verdict.RETRIED] or found[_Verdict.REFUSED]
    )[0]
    code, reason = _code(results[worst], secrets), _reason(results[worst], secrets)
    misconfigured, throttled = bool(found[_Verdict.MISCONFIGURED]), bool(found[_Verdict.THROTTLED])
    if len(waiting) == len(results):
        return Misconfigured(reason, code=code) if misconfigured else Retry(reason, code=code, throttled=throttled)
    return Partial(
        delivered,
        retry=[positions[at] for at in waiting],
        refused=refused,
        reason=reason,
        code=code,
        throttled=throttled,
        misconfigured=misconfigured,
    )


def _verdict(result: _Result) -> _Verdict:
    status = result.status
    if 200 <= status < 300 or status == 409:  # 409: it is there already
        return _Verdict.DELIVERED
    if status == 429:
        return _Verdict.THROTTLED
    if status >= 500 or status in {408, 425}:
        return _Verdict.RETRIED
    if result.failure_store == "failed" or status == 413:
        return _Verdict.REFUSED
    if status == 400 and not _is_configuration(result.error):
        return _Verdict.REFUSED
    return _Verdict.MISCONFIGURED


def _is_configuration(error: _Error | None) -> bool:
    if error is None:
        return False
    return error.type in _CONFIGURATION_TYPES or (error.reason or "").startswith(_CONFIGURATION_REASONS)


def _refusal(position: int, result: _Result, secrets: Sequence[str]) -> Refusal:
    return Refusal(position, _code(result, secrets), _reason(result, secrets))


def _code(result: _Result, secrets: Sequence[str]) -> str:
    if result.error is None or not result.error.type:
        return f"http_{result.status}"
    return shown(result.error.type, secrets)


def _reason(result: _Result, secrets: Sequence[str]) -> str:
    words = shown(result.error.reason or "", secrets) if result.error is not None else ""
    return f"Elasticsearch: {_code(result, secrets)} (status {result.status})" + (f": {words}" if words else "")


def read_error(reply: Reply, secrets: Sequence[str]) -> tuple[str, str]:
    """Type and words of an error of the whole request; the type is empty where the answer is not Elasticsearch's."""
    body = read_json(reply.body, _ErrorBody)
    if body is None or body.error is None:
        return "", body_words(reply, secrets)
    if isinstance(body.error, str):
        return "", shown(body.error, secrets)
    return shown(body.error.type, secrets), shown(body.error.reason or "", secrets)
