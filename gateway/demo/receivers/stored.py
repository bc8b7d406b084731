"""What has arrived at a receiver, by event id."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import msgspec


class _Identified(msgspec.Struct):
    id: str = ""


_identify = msgspec.json.Decoder(_Identified).decode


def event_id(event: bytes) -> str:
    """The ``id`` of an event; empty where it has none."""
    try:
        return _identify(event).id
    except msgspec.MsgspecError:
        return ""


class Stored:
    """``events`` holds the bytes of each event as first received, ``counts`` how often each id has come.

    ``repeated`` counts arrivals of an id beyond its first, ``unidentified`` events without an id.

    With ``count_only`` no bytes are kept, for measurements. For one event loop.
    """

    def __init__(self, *, count_only: bool = False) -> None:
        self.count_only = count_only
        self.events: dict[str, bytes] = {}
        self.counts: Counter[str] = Counter()
        self.unidentified = 0
        self.repeated = 0
        self._changed = asyncio.Event()

    def add(self, event: bytes) -> None:
        name = event_id(event)
        if not name:
            self.unidentified += 1
            return
        self.repeated += name in self.counts
        self.counts[name] += 1
        if not self.count_only:
            self.events.setdefault(name, event)
        self._changed.set()

    def add_ids(self, names: Iterable[str]) -> None:
        names = list(names)
        before = len(self.counts)
        self.counts.update(names)
        self.repeated += len(names) - (len(self.counts) - before)
        self._changed.set()

    @property
    def duplicates(self) -> dict[str, int]:
        """How often each id came that came more than once."""
        return {name: count for name, count in self.counts.items() if count > 1}

    async def wait_for(self, events: int, *, timeout_s: float) -> None:
        """Until so many different ids have come. Raises TimeoutError, which says how many there were."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.counts) < events:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"{len(self.counts)} of {events} events came within {timeout_s:g} s") from None
