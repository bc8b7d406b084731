"""Finding the poison in a refused batch. Plain: it says which part to send next and, at the end, what to make of the
rest.

Parts are halved breadth-first, or in the order of the events where that is to be kept. While none was taken that
changes after a few parts: refused events that are spread over a batch leave no large part without one, so parts are
followed down to single events, each time in another place. An event that is refused when it is alone is poison if any
other part of the batch was taken; otherwise the request as a whole may be what is wrong, and ``alone`` of the split
decides.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

_PARTS_IN_BREADTH = 16
_PARTS_WITHOUT_SUCCESS_MAX = 64


class Part(msgspec.Struct, frozen=True):
    positions: list[int]
    lines: list[bytes]

    def __len__(self) -> int:
        return len(self.positions)

    def halves(self) -> tuple[Part, Part]:
        middle = len(self.positions) // 2
        return (
            Part(self.positions[:middle], self.lines[:middle]),
            Part(self.positions[middle:], self.lines[middle:]),
        )

    def pick(self, indexes: list[int]) -> Part:
        return Part([self.positions[at] for at in indexes], [self.lines[at] for at in indexes])


class Suspect(msgspec.Struct, frozen=True):
    """An event that was refused alone."""

    part: Part
    code: str
    reason: str


class Bisection:
    """Begin with the refused part; send ``next_part`` and report, until it is None."""

    def __init__(self, refused: Part, alone: Literal["refuse", "degrade"], *, in_order: bool) -> None:
        self._queue: deque[Part] = deque()
        self._alone, self._in_order = alone, in_order
        self._sent = 0
        self.any_taken = False
        self.suspects: list[Suspect] = []
        self._halve(refused)

    def next_part(self) -> Part | None:
        return self._queue.popleft() if self._queue else None

    def taken(self) -> None:
        self._sent += 1
        self.any_taken = True

    def refused(self, part: Part, code: str, reason: str) -> None:
        self._sent += 1
        if len(part) > 1:
            self._halve(part)
        else:
            self.suspects.append(Suspect(part, code, reason))

    def hopeless(self) -> bool:
        """Nothing was taken so far, and it is likely that nothing will be."""
        return self._alone == "degrade" and not self.any_taken and self._sent >= _PARTS_WITHOUT_SUCCESS_MAX

    def are_poison(self) -> bool:
        """Whether the suspects may be dead-lettered, once all parts are through."""
        return self._alone == "refuse" or self.any_taken

    def _halve(self, part: Part) -> None:
        first, second = part.halves()
        if self._in_order:
            self._queue.extendleft((second, first))
        elif self.any_taken or self._sent < _PARTS_IN_BREADTH:
            self._queue.extend((first, second))
        else:  # down to one event, and then from the largest part that is left
            self._queue.appendleft(first)
            self._queue.append(second)
