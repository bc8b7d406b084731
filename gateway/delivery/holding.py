"""What a worker has taken and not settled. One owner, so that every position ends settled or released, and once."""

from __future__ import annotations

from gateway.delivery.acks import AckBook
from gateway.delivery.suspects import Suspects
from gateway.queue import Consumer


class Holding:
    """Positions are held by the batch that they came with, beside it as parked suspects, or, with a book, until they
    are acknowledged.
    """

    def __init__(self, consumer: Consumer, suspects: Suspects, acks: AckBook | None) -> None:
        self._consumer, self._suspects, self._acks = consumer, suspects, acks
        self._batches: dict[int, list[int]] = {}
        self._begun = 0

    def begin(self, positions: list[int]) -> int:
        """The number of the batch that holds them from now on."""
        self._begun += 1
        self._batches[self._begun] = positions
        return self._begun

    def end(self, batch: int) -> None:
        """Release what of a batch is not held otherwise. Settled ones do not mind a release."""
        positions, parked = self._batches.pop(batch), set(self._suspects.parked)
        self._consumer.release([at for at in positions if at not in parked] if parked else positions)

    def hold_apart(self, positions: list[int]) -> None:
        """The batch that they came with, if it is still under way, must not release them when it ends: they wait for
        an acknowledgement, or another batch has them by then.
        """
        apart = set(positions)
        for batch, held in self._batches.items():
            if not apart.isdisjoint(held):
                self._batches[batch] = [position for position in held if position not in apart]

    def give_back(self, positions: list[int]) -> None:
        """Release what was held beside the batches."""
        if positions:
            self.hold_apart(positions)
            self._consumer.release(positions)

    def park(self, position: int) -> None:
        self.give_back(self._suspects.park(position))

    def unpark(self) -> None:
        self.give_back(self._suspects.unpark())

    def give_back_all(self) -> None:
        for batch in list(self._batches):
            self._consumer.release(self._batches.pop(batch))
        self._consumer.release(self._suspects.unpark())
        if self._acks is not None:
            self._consumer.release(self._acks.take_all())
