"""What a receiver is told to do wrong, request by request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec


class Normal(msgspec.Struct, frozen=True):
    """Do what the real server does."""


class Respond(msgspec.Struct, frozen=True):
    """Answer with this and store nothing; or, with ``stores``, take the events as ever and answer with this after."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    stores: bool = False


class Refuse(msgspec.Struct, frozen=True):
    """Refuse the events that ``matches`` says, in the provider's way.

    Splunk stops at the first of them, Elasticsearch gives its item ``status``, the others refuse the whole request.
    """

    matches: Callable[[bytes], bool]
    status: int = 400


class Reset(msgspec.Struct, frozen=True):
    """Break the connection.

    ``request``: before the body is read; ``body``: after a part of it; ``stored``: after the events are taken, without
    an answer, so that the sender cannot know; ``reply``: in the middle of the answer, events taken.
    """

    at: Literal["request", "body", "stored", "reply"]


class Slow(msgspec.Struct, frozen=True):
    """Wait ``delay_s`` and, if given, for ``until``; then do what the real server does."""

    delay_s: float = 0.0
    until: asyncio.Event | None = None


class Hang(msgspec.Struct, frozen=True):
    """Read the request, store nothing and never answer."""


class HugeReply(msgspec.Struct, frozen=True):
    """Take the events and answer 200 with so many bytes that mean nothing."""

    size_bytes: int


Fault = Normal | Respond | Refuse | Reset | Slow | Hang | HugeReply
Script = Callable[[int], Fault]

NORMAL = Normal()


def redirect(location: str, *, status: int = 307) -> Respond:
    return Respond(status, headers={"Location": location})


def always(fault: Fault) -> Script:
    return lambda _: fault


def in_turn(faults: Iterable[Fault]) -> Script:
    """One for each request that carries events; normal when they have run out."""
    rest = iter(faults)
    return lambda _: next(rest, NORMAL)
