"""What CloudWatch Logs says. Nearly every error, throttling and missing rights too, is HTTP 400: the name decides."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.providers.codec import Context, Delivered, Misconfigured, Outcome, Partial, Refusal, Reply, Retry, Split
from gateway.providers.reply import by_status, http_code, http_date_s, read_json, retry_after_s, seconds_header, shown

RESOURCE_MISSING = "ResourceNotFoundException"
RESOURCE_EXISTS = "ResourceAlreadyExistsException"
TOO_NEW = "too_new"
CLOCK_TOLERANCE_S = 60.0
CLOCK_OFFSET_S_MAX = 100 * 366 * 86_400.0  # a clock that was never set is off by less

THROTTLED = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "LimitExceededException",
    }
)
RETRIED = frozenset(
    {
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "InternalFailure",
        "RequestTimeout",
        "RequestTimeoutException",
        "OperationAbortedException",
    }
)
CREDENTIALS = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "ExpiredTokenException",
        "MissingAuthenticationTokenException",
    }
)
_SPLIT_TEXTS = ("too large", "chronological", "24 hours")
_CLOCK_TEXTS = ("signature expired", "not yet current")


class Failure(msgspec.Struct, frozen=True):
    """An error by its bare name, without prefix; empty where there is none. ``text`` may be shown."""

    name: str
    text: str
    status: int

    @property
    def code(self) -> str:
        return self.name or http_code(self.status)


class _ErrorBody(msgspec.Struct):
    type: str = msgspec.field(default="", name="__type")
    message: str | None = None
    message_capital: str | None = msgspec.field(default=None, name="Message")


class _Rejected(msgspec.Struct):
    too_new_start: int | None = msgspec.field(default=None, name="tooNewLogEventStartIndex")
    too_old_end: int | None = msgspec.field(default=None, name="tooOldLogEventEndIndex")
    expired_end: int | None = msgspec.field(default=None, name="expiredLogEventEndIndex")


class _SuccessBody(msgspec.Struct):
    rejected: _Rejected | None = msgspec.field(default=None, name="rejectedLogEventsInfo")


def read_failure(reply: Reply, secrets: Sequence[str]) -> Failure:
    body = read_json(reply.body, _ErrorBody) or _ErrorBody()
    name = shown(body.type or reply.headers.get("x-amzn-errortype", ""), secrets)
    bare = name.partition("#")[2] or name
    return Failure(
        name=bare.partition(":")[0],
        text=shown(body.message or body.message_capital or "", secrets),
        status=reply.status,
    )


def classify_success(positions: Sequence[int], reply: Reply) -> Outcome:
    """Indexes count the events as they were sent; ends are exclusive, the start is inclusive."""
    body = read_json(reply.body, _SuccessBody) if reply.body.strip() else _SuccessBody()
    if body is None:
        return Retry(
            "CloudWatch's answer cannot be read; check that the endpoint is CloudWatch Logs", code="unreadable"
        )
    if body.rejected is None:
        return Delivered()
    count, rejected = len(positions), body.rejected
    old_stop = _within(rejected.too_old_end, 0, count)
    expired_stop = max(old_stop, _within(rejected.expired_end, 0, count))
    new_start = max(expired_stop, _within(rejected.too_new_start, count, count))
    refused = (
        *_refusals(positions[:old_stop], "too_old", "CloudWatch: older than 14 days or than the log group's retention"),
        *_refusals(positions[old_stop:expired_stop], "expired", "CloudWatch: older than the log group's retention"),
        *_refusals(positions[new_start:], TOO_NEW, "CloudWatch: more than 2 hours in the future"),
    )
    if not refused:
        return Delivered()
    return Partial(positions[expired_stop:new_start], refused=refused, reason=refused[0].reason, code=refused[0].code)


def _within(index: int | None, absent: int, count: int) -> int:
    return absent if index is None else min(max(index, 0), count)


def _refusals(positions: Sequence[int], code: str, reason: str) -> list[Refusal]:
    return [Refusal(position, code, reason) for position in positions]


def classify_error(failure: Failure, reply: Reply, context: Context | None) -> Outcome:
    """``context`` is None for a request whose signature has just been accepted: then the clock is not in doubt."""
    now_s = context.now_s if context is not None else http_date_s(reply.headers.get("date", "")) or 0.0
    if _is_about_the_clock(failure):
        return _clock_verdict(failure, reply, context)
    throttled = failure.name in THROTTLED or reply.status == 429
    if throttled or failure.name in RETRIED or "x-amz-retry-after" in reply.headers:
        return Retry(_said(failure), code=failure.code, after_s=_after_s(reply, now_s), throttled=throttled)
    if failure.name in CREDENTIALS:
        return Misconfigured(f"AWS does not accept the access key or its signature: {failure.text}", code=failure.code)
    if failure.name == "AccessDeniedException":
        reason = (
            f"the IAM user lacks a permission (logs:PutLogEvents and logs:CreateLogStream are needed): {failure.text}"
        )
        return Misconfigured(reason, code=failure.code)
    if failure.name == "InvalidParameterException":
        return _parameter_verdict(failure)
    outcome = by_status(reply, now_s, words=_said(failure))
    return msgspec.structs.replace(outcome, code=failure.code) if failure.name and hasattr(outcome, "code") else outcome


def _parameter_verdict(failure: Failure) -> Outcome:
    if any(text in failure.text.lower() for text in _SPLIT_TEXTS):
        return Split(_said(failure), code=failure.code)
    return Misconfigured(_said(failure), code=failure.code)


def _is_about_the_clock(failure: Failure) -> bool:
    if failure.name in {"RequestExpired", "RequestTimeTooSkewed"}:
        return True
    is_signature = failure.name in {"InvalidSignatureException", "SignatureDoesNotMatch"}
    return is_signature and any(text in failure.text.lower() for text in _CLOCK_TEXTS)


def _clock_verdict(failure: Failure, reply: Reply, context: Context | None) -> Outcome:
    """Once more with AWS's time, unless that is the time it was signed with already."""
    server_now_s = http_date_s(reply.headers.get("date", ""))
    if server_now_s is not None and context is not None:
        offset_s = server_now_s - context.now_s
        is_other = abs(offset_s - context.clock_offset_s) >= CLOCK_TOLERANCE_S
        if is_other and abs(offset_s) <= CLOCK_OFFSET_S_MAX:
            return Retry(_said(failure), code="clock", after_s=0.0, clock_offset_s=offset_s)
    return Misconfigured(
        f"AWS does not accept the time of the gateway's clock; set it right: {failure.text}", code="clock"
    )


def _after_s(reply: Reply, now_s: float) -> float | None:
    after_ms = seconds_header(reply, "x-amz-retry-after")
    return retry_after_s(reply, now_s) if after_ms is None else after_ms / 1000


def _said(failure: Failure) -> str:
    return f"CloudWatch: {failure.name or f'HTTP {failure.status}'}" + (f": {failure.text}" if failure.text else "")
