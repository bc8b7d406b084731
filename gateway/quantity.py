"""Durations and sizes as a person writes them: text to numbers and back."""

from __future__ import annotations

import math
import re

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BYTES = {
    "b": 1,
    **{name: 1000**power for power, name in enumerate(("kb", "mb", "gb", "tb"), 1)},
    **{name: 1024**power for power, name in enumerate(("kib", "mib", "gib", "tib"), 1)},
}


class Seconds(float):
    """A duration."""


class Bytes(int):
    """A size."""


def parse_seconds(value: object) -> Seconds:
    """``"500ms"``, ``"10s"``, ``"5m"``, ``"24h"``, ``"7d"``, or a number of seconds. Raises ValueError."""
    seconds = _parse(value, _SECONDS, default_unit="s")
    return Seconds(seconds)


def parse_bytes(value: object) -> Bytes:
    """``"64MiB"`` (powers of 1024), ``"10GB"`` (powers of 1000), or a whole number of bytes. Raises ValueError."""
    size = _parse(value, _BYTES, default_unit="b")
    if size != int(size):
        raise ValueError("not a whole number of bytes")
    return Bytes(size)


def _parse(value: object, units: dict[str, float] | dict[str, int], *, default_unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("neither a number nor text")  # noqa: TRY004 - one kind of error for every wrong value
    if isinstance(value, int | float):
        if not math.isfinite(value) or value < 0:
            raise ValueError("not a finite number of 0 or more")
        return value
    match = _QUANTITY.fullmatch(value)
    unit = units.get(match[2].lower() or default_unit) if match else None
    if match is None or unit is None:
        raise ValueError("not a number with a unit")
    number = float(match[1]) * unit
    if not math.isfinite(number):
        raise ValueError("not a number that there is a place for")
    return round(number, 9)


def format_seconds(seconds: float) -> str:
    """The shortest text that ``parse_seconds`` reads back: the largest unit that gives a whole number."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0 and (unit != "d" or seconds > _SECONDS["d"]):
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms" if seconds else "0s"


def format_bytes(size: int) -> str:
    """The shortest text that ``parse_bytes`` reads back, in powers of 1024 where they divide the size."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return str(size)
