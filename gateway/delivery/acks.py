"""Which batches a provider has received and not yet confirmed, and asking for the confirmations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import msgspec

from gateway.delivery.attempt import Sender
from gateway.errors import TransportError
from gateway.providers.codec import Acknowledging, AckReport

_OUTSTANDING_MAX = 1_000


class Awaited(msgspec.Struct, frozen=True):
    """A batch that the provider has received at ``since_s``."""

    positions: list[int]
    since_s: float


class AckBook:
    """Ids count per channel: the same id on another channel is another batch. ``now_s`` is monotonic."""

    def __init__(self) -> None:
        self._awaited: dict[tuple[str, int], Awaited] = {}

    def full(self) -> bool:
        return len(self._awaited) >= _OUTSTANDING_MAX

    def add(self, channel: str, ack_id: int, positions: list[int], now_s: float) -> list[int]:
        """Returns the positions that the id stood for until now: a provider that restarts counts anew, and nobody can
        ask for them any more.
        """
        earlier = self._awaited.pop((channel, ack_id), None)
        self._awaited[channel, ack_id] = Awaited(positions, now_s)
        return earlier.positions if earlier is not None else []

    def waiting(self) -> list[tuple[str, list[int]]]:
        """The ids to ask for, channel by channel."""
        channels: dict[str, list[int]] = {}
        for channel, ack_id in self._awaited:
            channels.setdefault(channel, []).append(ack_id)
        return list(channels.items())

    def confirm(self, channel: str, ack_ids: Iterable[int]) -> list[Awaited]:
        """Take out what is confirmed."""
        found = (self._awaited.pop((channel, ack_id), None) for ack_id in ack_ids)
        return [awaited for awaited in found if awaited is not None]

    def overdue(self, before_s: float) -> list[int]:
        """Take out what has been waiting since before then: the positions, ascending."""
        late = [key for key, awaited in self._awaited.items() if awaited.since_s <= before_s]
        return sorted(position for key in late for position in self._awaited.pop(key).positions)

    def take_all(self) -> list[int]:
        return self.overdue(float("inf"))

    def positions(self) -> list[int]:
        return sorted(position for awaited in self._awaited.values() for position in awaited.positions)


async def poll(codec: Acknowledging, sender: Sender, book: AckBook) -> AsyncIterator[Awaited]:
    """Ask on every channel once. Yields each batch as it is confirmed; it is out of the book, so the caller settles it
    before anything else.

    A poll that fails is asked again next time. One poller per destination: a provider says of each id once that it is
    confirmed.
    """
    for channel, ack_ids in book.waiting():
        answer = await sender.exchange(codec.encode_ack_poll(ack_ids, sender.context(channel)))
        if isinstance(answer, TransportError):
            continue
        report = codec.classify_ack_poll(answer)
        if isinstance(report, AckReport):
            for confirmed in book.confirm(channel, ack_ids if report.disabled else report.confirmed):
                yield confirmed
