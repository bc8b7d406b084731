"""Asking the system's resolver, which can take as long as it likes and cannot be called back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

_THREADS_MAX = 32


class SystemLookup:
    """Resolves names in threads of its own, so that a name server that does not answer keeps no other work waiting.

    However many ask for a name, one look-up of it is under way, and it goes on when they have given up: a name holds
    one thread, and one that takes long is known in the end. ``threads_max`` names that hang at once make the others
    wait; a look-up that never ends leaves its name unresolved for as long as the process lives. Nothing is to be
    closed: a thread without work ends, and none keeps the process from ending.

    Raises OSError or UnicodeError for what does not resolve.
    """

    def __init__(self, threads_max: int = _THREADS_MAX) -> None:
        self._threads = _Threads(threads_max)
        self._under_way: dict[tuple[str, socket.AddressFamily], _Asked] = {}

    async def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[str]:
        asked = self._under_way.get((host, family)) or self._ask(host, port, family)
        asked.waiting += 1
        try:
            await asyncio.wait({asked.answer})
        finally:
            asked.waiting -= 1
            if not asked.waiting and asked.call.cancel():  # it had not begun
                self._forget(host, family, asked)
        return asked.answer.result()

    def _ask(self, host: str, port: int, family: socket.AddressFamily) -> _Asked:
        asked = _Asked(self._threads.submit(partial(_addresses, host, port, family)))
        self._under_way[host, family] = asked
        asked.answer.add_done_callback(lambda _: self._forget(host, family, asked))
        return asked

    def _forget(self, host: str, family: socket.AddressFamily, asked: _Asked) -> None:
        if self._under_way.get((host, family)) is asked:
            del self._under_way[host, family]
        if asked.answer.done() and not asked.answer.cancelled():
            asked.answer.exception()  # perhaps nobody waits for it any more


class _Asked:
    def __init__(self, call: Future[list[str]]) -> None:
        self.call = call
        self.answer = asyncio.wrap_future(call)
        self.waiting = 0


class _Threads:
    """As many as there are calls, up to a bound. An executor's would be waited for at the end of the process."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._running = 0
        self._calls: deque[tuple[Future[list[str]], Callable[[], list[str]]]] = deque()
        self._lock = threading.Lock()

    def submit(self, call: Callable[[], list[str]]) -> Future[list[str]]:
        """Raises RuntimeError where the system lets no thread begin."""
        future: Future[list[str]] = Future()
        with self._lock:
            if self._running < self._threads_max:
                threading.Thread(target=self._work, name="lookup", daemon=True).start()
                self._running += 1
            self._calls.append((future, call))
        return future

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            future, call = taken
            if not future.set_running_or_notify_cancel():
                continue
            try:
                found = call()
            except Exception as error:  # noqa: BLE001 - raised again by those who wait
                future.set_exception(error)
            else:
                future.set_result(found)

    def _next(self) -> tuple[Future[list[str]], Callable[[], list[str]]] | None:
        with self._lock:
            if self._calls:
                return self._calls.popleft()
            self._running -= 1
            return None


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return list(dict.fromkeys(_address_text(sockaddr) for *_, sockaddr in found))


def _address_text(sockaddr: tuple[object, ...]) -> str:
    """The numeric address, with its zone where it is link-local and would not connect without."""
    text = str(sockaddr[0])
    scope = sockaddr[3] if len(sockaddr) == 4 else 0
    return f"{text}%{scope}" if scope and "%" not in text else text
