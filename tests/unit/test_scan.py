"""The searches with vector instructions find what those of ``bytes`` find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway import scan

FEW = st.sampled_from([b"a", b"aa", b"ab", b"ba", b"\n", b"}", b"}\n{", b'"', b"\\u00", b"\xff", b"\0", b"x" * 15])
TEXTS = st.lists(FEW | st.binary(max_size=70), max_size=40).map(b"".join)


@given(TEXTS, FEW | st.binary(min_size=1, max_size=70), st.integers(0, 70))
def test_searches_are_those_of_bytes(text: bytes, needle: bytes, cut: int) -> None:
    """For any text, needle and place in memory: the same place, the same count."""
    for part in (text, text[cut:], text + needle, needle + text[cut:], text[:cut] + needle + text):
        assert scan.find(part, needle) == part.find(needle)
        assert scan.count(part, needle) == part.count(needle)
