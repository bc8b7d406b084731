"""Events and hand-written requests for the receivers' tests."""

from __future__ import annotations

import gzip
from typing import Any

import msgspec

from gateway.demo.receivers import Answer, Call

NOW_S = 1_782_822_900.0


def now() -> float:
    return NOW_S


def event(number: int, *, timestamp: str = "2026-06-30T12:34:56.789Z", **metadata: object) -> bytes:
    """An event as a producer writes it, with spellings that a parse and dump would change."""
    return (
        b'{"id":"evt_%04d","timestamp":"%b","tenant_id":"t","actor_type":"USER","actor_id":"a",'
        b'"action":"a.b","resource_type":"r","resource_id":"r1","service":"s","outcome":"SUCCESS","amount":1.50e+2,'
        b'"caf\\u00e9":"\xe2\x82\xac \\/","metadata":%b}'
        % (number, timestamp.encode(), msgspec.json.encode({"n": number, **metadata}))
    )


def call(
    path: str, body: bytes = b"", *, method: str = "POST", query: dict[str, str] | None = None, **headers: str
) -> Call:
    """A request; header names are given with underscores."""
    return Call(method, path, query or {}, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def gzipped_twice(first: bytes, second: bytes) -> bytes:
    return gzip.compress(first) + gzip.compress(second)


def said(answer: Answer) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(answer.body)
    return content
