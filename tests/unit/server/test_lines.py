"""NDJSON cut at line ends."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from types import FrameType

from hypothesis import given
from hypothesis import strategies as st

from gateway.server.lines import Piece, cut

LINE_BYTES_MAX = 12


async def chunks_of(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def pieces_of(chunks: list[bytes], *, piece_bytes: int, line_bytes_max: int) -> list[Piece]:
    async def hold(size: int) -> None:
        held.append(size)

    held: list[int] = []
    cutting = cut(chunks_of(chunks), piece_bytes=piece_bytes, line_bytes_max=line_bytes_max, hold=hold)
    pieces = [piece async for piece in cutting]
    chunk_bytes_max = max(map(len, chunks), default=0)
    assert max(held, default=0) <= max(piece_bytes, line_bytes_max) + chunk_bytes_max
    return pieces


@given(st.lists(st.text("ab\n", max_size=20).map(str.encode)), st.integers(1, 30))
async def test_the_lines_are_those_of_the_body_however_it_comes(chunks: list[bytes], piece_bytes: int) -> None:
    """Each line is in one piece, whole; of one that is too long the beginning may be all that there is."""
    pieces = await pieces_of(chunks, piece_bytes=piece_bytes, line_bytes_max=LINE_BYTES_MAX)
    expected = b"".join(chunks).split(b"\n")
    found = [(line, piece.is_too_long) for piece in pieces for line in piece.text.split(b"\n")]
    assert len(found) == len(expected) or (len(found) == len(expected) - 1 and not expected[-1])
    for line, (kept, is_too_long) in zip(expected, found, strict=False):
        assert line.startswith(kept) if is_too_long else line == kept
        assert len(kept) > LINE_BYTES_MAX or not is_too_long


async def test_a_long_line_is_put_together_once() -> None:
    """Where events may be larger than a piece, the work does not grow with the square of their size."""
    joins = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal joins
        joins += event == "c_call" and getattr(argument, "__name__", "") == "join"

    sys.setprofile(count)
    try:
        pieces = await pieces_of([b"x" * 10] * 100, piece_bytes=20, line_bytes_max=5000)
    finally:
        sys.setprofile(None)
    assert [len(piece.text) for piece in pieces] == [1000]
    assert joins == 1
