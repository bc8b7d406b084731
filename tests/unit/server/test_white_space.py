"""Putting JSON on one line."""

from __future__ import annotations

import json
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.white_space import without_white_space

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@settings(deadline=None)
@given(VALUES, st.sampled_from([None, 0, 1, "\t", " \t "]), st.booleans())
def test_nothing_but_the_space_between_tokens_goes(value: object, indent: int | str | None, escape: bool) -> None:
    """However it was spread: what is left is the compact form, with strings, numbers and order as they were."""
    spread = (
        json.dumps(value, indent=indent, ensure_ascii=escape).replace("\n", "\r\n").encode("utf-8", "surrogatepass")
    )
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=escape).encode("utf-8", "surrogatepass")
    assert without_white_space(spread) == compact


def test_strings_keep_what_looks_like_space_or_an_end() -> None:
    """Blanks, escaped quotes and backslashes within a string are its own."""
    text = rb'{ "a b\" : [ \\" : " \\ \" ", "c" : [ 1.00 , -0E+1 ] }'
    assert without_white_space(text) == rb'{"a b\" : [ \\":" \\ \" ","c":[1.00,-0E+1]}'


def test_a_long_string_takes_no_more_memory_than_it_has() -> None:
    """A string of a MiB costs its copy, not a hundred bytes for each of its own."""
    text = b'{"a":\n"' + b" \\n" * (1 << 18) + b'"}'
    tracemalloc.start()
    try:
        assert len(without_white_space(text)) == len(text) - 1
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()
