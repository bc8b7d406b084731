"""What a request may say beside its body, as the OpenAPI document tells it: those that several routes share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gateway.server import books, call, idempotency


class Parameter(msgspec.Struct, frozen=True):
    name: str
    text: str
    schema: Mapping[str, object]
    place: Literal["query", "header"] = "query"


def window(windows: Iterable[str], default: str) -> Parameter:
    return Parameter("window", "How far back from now.", {"enum": list(windows), "default": default})


LIMIT = Parameter("limit", "How many at the most.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100})
LIMIT_OR_ALL = Parameter(
    "limit", "How many at the most; all of them without.", {"type": "integer", "minimum": 1, "maximum": 1000}
)
CURSOR = Parameter("cursor", "`next_cursor` of the page before.", {"type": "string", "minLength": 1})
NUMBER = Parameter(
    "cursor", "`next_cursor` of the page before.", {"type": "string", "pattern": f"^({call.PLAIN_NUMBER})$"}
)
FORMAT = Parameter("format", "`ndjson`: all of it as a file.", {"enum": list(books.FORMATS), "default": "json"})
VERIFY = Parameter(
    "verify",
    "Send a test event with the change first; when it does not arrive nothing is changed: 422.",
    {"type": "boolean", "default": False},
)
IF_MATCH = Parameter(
    "If-Match",
    "Only when its `ETag` is one of these: else 412, and nothing is changed.",
    {"type": "string"},
    "header",
)
IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "304 when its `ETag` is one of these. The tag changes with what was set, not with `health` and `status`.",
    {"type": "string"},
    "header",
)
IDEMPOTENCY_KEY = Parameter(
    idempotency.HEADER,
    "A name of your choice for this request. Sent again with it within 24 hours, what it made is not made twice: the "
    "first answer comes again, with `Idempotent-Replayed`. With another request: 422; with the first under way: 409.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "header",
)
