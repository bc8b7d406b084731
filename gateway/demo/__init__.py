"""``gateway demo``: the gateway, a receiver of each provider kind and a producer, on one terminal.

The gateway runs as a child process with a data directory of its own, and is spoken to through its HTTP API alone. One
receiver fails for a while; the demo ends with what the books say and what the receivers have.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from rich.console import Console

from gateway.demo.client import Client, Destination
from gateway.demo.process import GatewayGone, running_gateway
from gateway.demo.producer import Producer
from gateway.demo.receivers import KINDS, Receiver, WebhookReceiver, always
from gateway.demo.story import BROKEN_PROVIDER, OUTAGE, Ending, Phase, Row, is_drained, judge, make_row, phase_at
from gateway.demo.view import View, opened_view, print_summary

SECONDS = 30.0
DRAIN_S_MAX = 30.0
_LOOK_EVERY_S = 0.25


def run_demo(*, seconds: float = SECONDS, console: Console | None = None) -> int:
    """Run it for about so long, or until Ctrl-C, and then until all is delivered. 0 when every promise was kept."""
    console = console or Console()
    try:
        return asyncio.run(_demo(seconds, console))
    except* GatewayGone as group:
        console.print(
            f"gateway demo: {group.exceptions[0]}", style="red", highlight=False, markup=False, soft_wrap=True
        )
    except* OSError as group:
        others = group.split(_is_end_of_output)[1]
        if others is not None:
            raise others from None
    return 1


def _is_end_of_output(error: BaseException) -> bool:
    """Whoever was watching has closed the terminal or the pipe; there is nobody to tell."""
    return isinstance(error, OSError) and error.errno in {errno.EPIPE, errno.EIO}


async def _demo(seconds: float, console: Console) -> int:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        receivers = [await stack.enter_async_context(receiver) for receiver in _make_receivers()]
        gateway = await stack.enter_async_context(running_gateway(folder, os.environ))
        client = Client(await stack.enter_async_context(aiohttp.ClientSession()), gateway)
        created = {(await client.create_destination(receiver)).id: receiver for receiver in receivers}
        console.print(f"A gateway on {gateway.url} with five destinations. Ctrl-C ends it.", highlight=False)
        stop = asyncio.Event()
        _on_signals(stop)
        producer = Producer(client, time.time)
        with opened_view(console) as view:
            endings = await _Show(client, producer, created, view).run(seconds, stop)
        print_summary(console, len(producer.sent), endings)
        return 1 if any(ending.faults for ending in endings) else 0


def _on_signals(stop: asyncio.Event) -> None:
    """The first asks for the end, a second Ctrl-C ends at once; either way the gateway's process is stopped.

    So it is when the terminal goes away, unless that is to be ignored (nohup).
    """
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        stop.set()
        if number == signal.SIGINT:
            loop.remove_signal_handler(number)

    hangup = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL else ()
    for number in (signal.SIGINT, signal.SIGTERM, *hangup):
        loop.add_signal_handler(number, ask, number)


def _make_receivers() -> list[Receiver]:
    return [WebhookReceiver(format="array") if kind is WebhookReceiver else kind() for kind in KINDS.values()]


class _Show:
    """Looks at everything from time to time, shows it, and lets the story go on."""

    def __init__(self, client: Client, producer: Producer, created: Mapping[str, Receiver], view: View) -> None:
        self._client = client
        self._producer = producer
        self._created = created
        self._view = view
        self._no_more = asyncio.Event()

    async def run(self, seconds: float, stop: asyncio.Event) -> list[Ending]:
        """Until all is delivered, or does not end."""
        async with asyncio.TaskGroup() as group:
            producing = group.create_task(self._producer.run(self._no_more))
            rows = await self._watch(seconds, stop, producing)
            producing.cancel()
        receivers = self._created.values()
        return [judge(row, self._producer.sent, receiver.events) for row, receiver in zip(rows, receivers, strict=True)]

    async def _watch(self, seconds: float, stop: asyncio.Event, producing: asyncio.Task[None]) -> list[Row]:
        """The last look."""
        started_s = time.monotonic()
        drain_until_s = None
        while True:
            elapsed_s = time.monotonic() - started_s
            phase = phase_at(elapsed_s, seconds, stopped=stop.is_set())
            self._enter(phase)
            rows = await self._look()
            self._view.show(elapsed_s, phase, len(self._producer.sent), rows)
            if phase is Phase.DRAINING:
                drain_until_s = drain_until_s or elapsed_s + DRAIN_S_MAX
                is_over = producing.done() and is_drained(rows, len(self._producer.sent))
                if is_over or elapsed_s > drain_until_s:
                    return rows
            await asyncio.sleep(_LOOK_EVERY_S)

    def _enter(self, phase: Phase) -> None:
        for receiver in self._created.values():
            is_broken = phase is Phase.FAILING and receiver.provider == BROKEN_PROVIDER
            receiver.script = always(OUTAGE) if is_broken else None
        if phase is Phase.DRAINING:
            self._no_more.set()

    async def _look(self) -> list[Row]:
        destinations = {destination.id: destination for destination in await self._client.destinations()}
        return [await self._row(destinations[name], receiver) for name, receiver in self._created.items()]

    async def _row(self, destination: Destination, receiver: Receiver) -> Row:
        ledger = await self._client.ledger(destination.id)
        stored = receiver.stored
        newest = next(reversed(stored.events.values()), b"")
        return make_row(destination, ledger, arrived=len(stored.counts), repeated=stored.repeated, newest=newest)
