"""Bodies: where they end, however they are cut on the way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RequestRejected
from gateway.server.front.framing import CHUNK_LINE_BYTES_MAX, TRAILERS_BYTES_MAX, Chunked, Framing, Length
from tests.conformance.raw_http import chunked

DAMAGE = [b"\r", b"\n", b"\r\n", b"0", b"f", b";", b" ", b"\0", b"-1", b"+", b"0x"]


def outcome(framing: Framing, data: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool] | None:
    """Body, what lies behind it, and whether it is complete; None when it is refused."""
    body, rest, start = b"", b"", 0
    try:
        for cut in [*sorted(cuts), len(data)]:
            parts, behind = framing.feed(data[start:cut])
            assert not behind or framing.is_complete
            body, rest, start = body + b"".join(parts), rest + behind, cut
    except RequestRejected:
        return None
    return body, rest, framing.is_complete


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    st.binary(max_size=20),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_chunks_come_to_the_same_however_they_are_cut(
    parts: list[bytes], trailers: bytes, behind: bytes, cuts: list[int]
) -> None:
    """The body, and every byte behind it."""
    data = chunked(*parts, trailers=trailers) + behind
    cuts = [min(cut, len(data)) for cut in cuts]
    assert outcome(Chunked(), data, cuts) == (b"".join(parts), behind, True)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(
    st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=3),
    st.integers(0, 60),
    st.sampled_from(DAMAGE),
    st.booleans(),
    st.lists(st.integers(0, 120), max_size=6),
)
def test_damaged_chunks_come_to_the_same_however_they_are_cut(
    parts: list[bytes], at: int, damage: bytes, is_inserted: bool, cuts: list[int]
) -> None:
    """Taken or refused, but never one in one cut and the other in another."""
    whole = bytearray(chunked(*parts))
    at = min(at, len(whole) - 1)
    whole[at : at if is_inserted else at + 1] = damage
    data = bytes(whole)
    cuts = [min(cut, len(data)) for cut in cuts]
    at_once, in_pieces = outcome(Chunked(), data, []), outcome(Chunked(), data, cuts)
    assert at_once == in_pieces == outcome(Chunked(), data, list(range(len(data))))


@given(st.binary(max_size=50), st.integers(0, 50), st.lists(st.integers(0, 50), max_size=5))
@settings(deadline=None, derandomize=True)
def test_a_length_is_a_length(data: bytes, length: int, cuts: list[int]) -> None:
    """So many bytes are the body, the others are not."""
    cuts = [min(cut, len(data)) for cut in cuts]
    assert outcome(Length(length), data, cuts) == (data[:length], data[length:], len(data) >= length)


@pytest.mark.parametrize(
    "data",
    [
        b"1" * 17 + b"\r\n",
        b"f" * 16 + b"\r\n",
        b"5;" + b"x" * CHUNK_LINE_BYTES_MAX,
        b"0\r\n" + b"A: b\r\n" * TRAILERS_BYTES_MAX,
        b"0\r\nA: " + b"b" * CHUNK_LINE_BYTES_MAX,
        b"5\n",
        b"\r\n",
        b"5 \r\n",
        b"g\r\n",
    ],
)
def test_lines_between_chunks_are_bounded_and_strict(data: bytes) -> None:
    """Sizes that overflow, extensions and trailers without end, line feeds alone: refused as soon as they show."""
    assert outcome(Chunked(), data, []) is None
    assert outcome(Chunked(), data, list(range(len(data)))) is None
