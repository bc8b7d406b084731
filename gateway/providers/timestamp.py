"""RFC 3339 text to epoch time, per event almost for free: what a time to the second means is worked out once."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable
from datetime import date
from typing import TypeVar

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))", re.ASCII
)
_MICROS = 1_000_000

T = TypeVar("T")


class PerSecond(dict[str, T]):
    """``of(epoch seconds)`` for each ``YYYY-MM-DDTHH:MM:SS`` in UTC that is looked up, worked out once and kept.

    ``of`` is handed None for a text that is no such time. Meant to live for one batch, which bounds its size.
    """

    __slots__ = ("_of",)

    def __init__(self, of: Callable[[int | None], T]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, text: str) -> T:
        micros = epoch_micros(f"{text}Z")
        value = self[text] = self._of(None if micros is None else micros // _MICROS)
        return value


def epoch_micros(text: str) -> int | None:
    """Microseconds since the epoch, cut, not rounded; None when this is no RFC 3339 time.

    Any year, any offset, any number of fraction digits; a leap second ``:60`` is the first moment of the next minute.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    if hour > 23 or minute > 59 or second > 60:
        return None
    try:
        date(year, month, day)
    except ValueError:
        return None
    seconds = timegm((year, month, day, hour, minute, second)) - _offset_s(match)
    return seconds * _MICROS + int(f"{match[7] or '':0<6}"[:6])


def _offset_s(match: re.Match[str]) -> int:
    if match[8] is None:
        return 0
    offset_s = int(match[9]) * 3600 + int(match[10]) * 60
    return -offset_s if match[8] == "-" else offset_s
