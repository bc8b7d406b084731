"""What every provider's answers have in common: the status line, Retry-After, and words that may be shown.

The status rules are those that hold where a provider's own table is silent: 2xx delivered, 408, 425, 429 and 5xx tried
again, 501, 3xx and other 4xx left to an operator, 413 halved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from gateway.providers.codec import Delivered, Misconfigured, Outcome, Reply, Retry, Split

WORDS_CHARS_MAX = 500
AFTER_S_MAX = 1e9

_DECIMAL = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)

T = TypeVar("T")


def http_code(status: int) -> str:
    return f"http_{status}"


def by_status(reply: Reply, now_s: float, *, words: str = "", hint: str = "") -> Outcome:
    """The verdict of the status alone. ``hint`` tells an operator what to check; ``words`` are the provider's."""
    status, code = reply.status, http_code(reply.status)
    if 200 <= status < 300:
        return Delivered()
    if status == 413:
        return Split(_sentence("the request is too large for the endpoint", status, words), code=code)
    if status == 429:
        reason = _sentence("the endpoint asks for fewer requests", status, words)
        return Retry(reason, code=code, after_s=retry_after_s(reply, now_s), throttled=True)
    if status in {408, 425} or (status >= 500 and status != 501):
        reason = _sentence("the endpoint cannot take events now", status, words)
        return Retry(reason, code=code, after_s=retry_after_s(reply, now_s))
    return Misconfigured(_sentence(_complaint(status), status, words, hint), code=code)


def _complaint(status: int) -> str:
    if 300 <= status < 400:
        return "the endpoint redirects; redirects are not followed, so set the endpoint to the final address"
    return {
        401: "the endpoint does not accept the credentials",
        403: "the endpoint does not accept the credentials or their permissions",
        404: "there is nothing at this address; check the endpoint's path",
        405: "the endpoint does not accept POST; check the endpoint's path",
    }.get(status, "the endpoint refuses the request")


def _sentence(what: str, status: int, words: str, hint: str = "") -> str:
    return f"{what} (HTTP {status})" + (f"; {hint}" if hint else "") + (f": {words}" if words else "")


def retry_after_s(reply: Reply, now_s: float) -> float | None:
    """Seconds that ``Retry-After`` asks for: a number, or a date, measured by the server's own clock if it is given."""
    value = reply.headers.get("retry-after", "").strip()
    if not value:
        return None
    if _DECIMAL.fullmatch(value):
        return min(float(value), AFTER_S_MAX)
    until_s = http_date_s(value)
    if until_s is None:
        return None
    server_now_s = http_date_s(reply.headers.get("date", ""))
    return min(max(0.0, until_s - (now_s if server_now_s is None else server_now_s)), AFTER_S_MAX)


def seconds_header(reply: Reply, name: str) -> float | None:
    value = reply.headers.get(name, "").strip()
    return min(float(value), AFTER_S_MAX) if _DECIMAL.fullmatch(value) else None


def http_date_s(text: str) -> float | None:
    """Seconds since the epoch of an HTTP-date; None where the text is none."""
    try:
        moment = parsedate_to_datetime(text.strip())
    except (ValueError, TypeError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_json(body: bytes, of: type[T]) -> T | None:
    """The body as ``of``, or None when it is anything else, truncated or hostile."""
    try:
        return msgspec.json.decode(body, type=of)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def shown(text: str, secrets: Iterable[str] = ()) -> str:
    """A provider's words on one line, cut to 500 characters, with every credential that they repeat blacked out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * WORDS_CHARS_MAX]).split())
    return text if len(text) <= WORDS_CHARS_MAX else text[: WORDS_CHARS_MAX - 1] + "…"


def body_words(reply: Reply, secrets: Iterable[str] = ()) -> str:
    """The beginning of a body that has no known structure. A page of HTML says nothing worth repeating."""
    text = reply.body[: 16 * WORDS_CHARS_MAX].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else shown(text, secrets)


def utc(now_s: float) -> datetime:
    return datetime.fromtimestamp(now_s, UTC)
