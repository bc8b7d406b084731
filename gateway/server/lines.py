"""NDJSON cut at line ends, so that a body of any length is worked through in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import NamedTuple


class Piece(NamedTuple):
    """Whole lines. ``is_too_long`` marks the beginning of a line that nobody keeps."""

    text: bytes
    is_too_long: bool = False


async def cut(
    body: AsyncIterable[bytes], *, piece_bytes: int, line_bytes_max: int, hold: Callable[[int], Awaitable[None]]
) -> AsyncIterator[Piece]:
    """Pieces of about ``piece_bytes``. Of a line over ``line_bytes_max`` only the beginning is kept.

    ``hold`` is told how many bytes are held before the next are read; what it raises ends the cutting.
    """
    held: list[bytes] = []
    size = 0
    ends_line = skipping = False
    async for data in body:
        rest = data
        if skipping:
            end = data.find(b"\n")
            if end < 0:
                continue
            skipping, rest = False, data[end + 1 :]
        held.append(rest)
        size += len(rest)
        ends_line = ends_line or b"\n" in rest
        await hold(size)
        if size < piece_bytes or (not ends_line and size <= line_bytes_max):
            continue
        joined = b"".join(held)
        end = joined.rfind(b"\n") + 1
        if end:
            yield Piece(joined[:end].removesuffix(b"\n"))
        held, size, ends_line = [joined[end:]], len(joined) - end, False
        if size > line_bytes_max:
            yield Piece(held[0], is_too_long=True)
            held, size, skipping = [], 0, True
    last = b"".join(held)
    if last:
        yield Piece(last)
