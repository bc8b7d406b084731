"""The queue without its threads: what it hands to one runs at once, so that the same steps come in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock


class InlineExecutor(ThreadPoolExecutor):
    """No thread is ever started."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except BaseException as error:  # noqa: BLE001 - belongs to whoever waits for the result
            future.set_exception(error)
        return future


@contextmanager
def inline_threads() -> Iterator[None]:
    modules = ("commit", "log", "opening")
    patches = [mock.patch(f"gateway.queue.wal.{name}.ThreadPoolExecutor", InlineExecutor) for name in modules]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def inline_loop() -> asyncio.AbstractEventLoop:
    """A loop whose ``to_thread`` runs at once as well."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(InlineExecutor())
    return loop
