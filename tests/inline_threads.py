"""The queue without its threads: what it hands to one runs at once, so that the same steps come in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack
from unittest import mock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class InlineExecutor(ThreadPoolExecutor):
    """No thread is ever started."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        return _done(partial(function, *arguments, **named))


def _done(function: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(function())
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


class InlineLoop(asyncio.SelectorEventLoop):
    """Whatever is handed to an executor runs at once; the result comes with the next turn of the loop."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_settle, future, _done(partial(func, *args)))
        return future


def _settle(future: asyncio.Future[T], done: Future[T]) -> None:
    if future.done():  # whoever waited was cancelled
        return
    if (error := done.exception()) is None:
        future.set_result(done.result())
    else:
        future.set_exception(error)
