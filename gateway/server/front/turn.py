"""Small requests that came in one turn of the event loop: checked together and handed to the group commit as one.

A key is looked up once for all its requests of a turn, and the check of many events at once costs little more than
half of what checking each does. Where the common way does not hold for all of them each is looked at by itself, and
what needs more than that goes the long way: in its place, and with what came behind it on the same connection behind
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

from gateway.destinations.store import ApiKey, Scope
from gateway.errors import Overloaded
from gateway.event import Rules, check_at_once
from gateway.queue import Entry
from gateway.server.auth import admitted
from gateway.server.call import Parts
from gateway.server.front.head import Head

TURN_BYTES_MAX = 256 << 10  # checked at once; about half a millisecond of work


class Waiting(Protocol):
    """A connection, as far as a turn has to know it."""

    def settle(self, awaited: Awaited, error: BaseException | None) -> None:
        """Its events are durable, or never will be."""

    def serve_late(self, late: Sequence[Awaited]) -> None:
        """They need the long way, one after the other, before anything else of this connection."""


class Awaited:
    """The place of an answer among those of its connection. ``body`` has no line end at its end."""

    __slots__ = ("answer", "body", "connection", "events", "head")

    def __init__(self, connection: Waiting, head: Head, body: bytes, answer: bytes | None = None) -> None:
        self.connection = connection
        self.head, self.body = head, body
        self.answer = answer
        self.events = 0  # known once they are stored


class Turn:
    """Belongs to the event loop. ``rules`` are those for a caller of a tenant."""

    def __init__(self, parts: Parts, rules: Callable[[str], Rules]) -> None:
        self._parts, self._rules = parts, rules
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Awaited] = []
        self._bytes = 0

    def add(self, awaited: Awaited) -> None:
        """It is settled, or served late, some time after this returns; served late perhaps before."""
        if not self._waiting:
            self._loop.call_soon(self._end)
        self._waiting.append(awaited)
        self._bytes += len(awaited.body)
        if self._bytes >= TURN_BYTES_MAX:
            self._end()

    def _end(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        late: dict[Waiting, list[Awaited]] = {}
        for group in _by_key(waiting):
            self._store_or_keep(group, late)
        for connection, theirs in late.items():
            connection.serve_late(theirs)

    def _store_or_keep(self, group: Sequence[Awaited], late: dict[Waiting, list[Awaited]]) -> None:
        """Add to ``late`` what could not be stored, and what came behind such on the same connection."""
        rules = self._rules_of(group[0].head.key_digest)
        if rules is not None and not late and self._store(group, rules):
            return
        for awaited in group:
            if rules is None or awaited.connection in late or not self._store([awaited], rules):
                late.setdefault(awaited.connection, []).append(awaited)

    def _rules_of(self, key_digest: str | None) -> Rules | None:
        caller = admitted(key_digest, self._parts.keys, Scope.EVENTS_WRITE)
        return self._rules(caller.tenant_id) if isinstance(caller, ApiKey) and not self._parts.stopping() else None

    def _store(self, group: Sequence[Awaited], rules: Rules) -> bool:
        """All of them, or none and False."""
        if any([not awaited.head.is_ndjson and b"\n" in awaited.body for awaited in group]):  # noqa: C419 - half the time
            return False
        text = b"\n".join([awaited.body for awaited in group])
        if text.endswith(b"\n"):  # the last body ends with a blank line, which the check would pass over
            return False
        checked = check_at_once(text, rules)
        return checked is not None and self._submit(group, checked.entries)

    def _submit(self, group: Sequence[Awaited], entries: Sequence[Entry]) -> bool:
        try:
            return self._parts.queue.submit(entries, lambda error: self._settle(group, error))
        except Overloaded:
            return False

    def _settle(self, group: Sequence[Awaited], error: BaseException | None) -> None:
        events = size = 0
        for awaited in group:
            awaited.events = awaited.body.count(b"\n") + 1
            events += awaited.events
            size += len(awaited.body)
        if error is None:
            self._parts.counts.add(202, events, size, requests=len(group))
        for awaited in group:
            try:
                awaited.connection.settle(awaited, error)
            except Exception as fault:  # noqa: BLE001 - one connection's bug must not keep the others waiting
                self._loop.call_exception_handler({"message": "an answer failed", "exception": fault})


def _by_key(waiting: Sequence[Awaited]) -> list[list[Awaited]]:
    """Those of each key together; where a connection sent several at once, only those that came in a row."""
    digests = dict.fromkeys([awaited.head.key_digest for awaited in waiting])
    if len(digests) <= 1:
        return [list(waiting)] if waiting else []
    if len({awaited.connection for awaited in waiting}) < len(waiting):
        return [list(group) for _, group in groupby(waiting, lambda awaited: awaited.head.key_digest)]
    groups: dict[str | None, list[Awaited]] = {digest: [] for digest in digests}
    for awaited in waiting:
        groups[awaited.head.key_digest].append(awaited)
    return list(groups.values())
