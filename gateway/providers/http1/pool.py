"""Connections that can be used again, by what they were made with."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from gateway.providers.http1.connection import Connection
from gateway.providers.tls import Security


class Key(NamedTuple):
    """Whoever asks for the same is given the same connections; another TLS is another key."""

    scheme: str
    host: str
    port: int
    security: Security | None


class Pool:
    """The connections of one destination. One that was idle for ``idle_s`` is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, idle_s: float) -> None:
        self._loop = loop
        self._idle_s = idle_s
        self._idle: dict[Key, list[Connection]] = {}  # the one that waits longest first
        self._all: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def make(self) -> Connection:
        """A connection that is still to be connected, and then to be added."""
        return Connection(self._loop, self._forget)

    def add(self, connection: Connection) -> None:
        """It is known here until it is lost."""
        if connection.is_open:
            self._all.add(connection)

    def take(self, key: Key) -> Connection | None:
        """The one that was used last, for it is the one that the server will close last. Those on which the server has
        said something unasked are closed.
        """
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if connection.is_idle and not connection.has_unread():
                return connection
            connection.close()
        return None

    def give_back(self, key: Key, connection: Connection) -> None:
        """Keep it for the next request, or close it where that is not possible."""
        if not connection.is_idle:
            connection.close()
            return
        connection.idle_since_s = self._loop.time()
        self._idle.setdefault(key, []).append(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_s, self._sweep)

    def close(self) -> None:
        """What is under way fails."""
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in tuple(self._all):
            connection.close()

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        for idle in self._idle.values():
            if connection in idle:
                idle.remove(connection)

    def _sweep(self) -> None:
        self._timer = None
        ended_s = self._loop.time() - self._idle_s
        for idle in self._idle.values():
            while idle and idle[0].idle_since_s <= ended_s:
                idle.pop(0).close()
        self._idle = {key: idle for key, idle in self._idle.items() if idle}
        if self._idle:
            oldest_s = min(idle[0].idle_since_s for idle in self._idle.values())
            self._timer = self._loop.call_at(oldest_s + self._idle_s, self._sweep)
