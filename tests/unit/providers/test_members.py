from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.members import rename_members, top_level_keys

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
LAYOUTS = st.sampled_from([{"separators": (",", ":")}, {"separators": (" , ", " : ")}, {"ensure_ascii": False}])


def renamed(line: bytes, *names: bytes) -> bytes:
    return rename_members(line, top_level_keys(line), names, b"event_")


def test_renames_the_outermost_key_alone() -> None:
    """Keys and values of the same spelling inside other members stay."""
    line = b'{ "note":"timestamp", "metadata":{"timestamp":[{"timestamp":1}]} ,"timestamp" : "\\"timestamp\\":" }'
    before, after = line.rsplit(b'"timestamp" :', 1)
    assert renamed(line, b"timestamp") == before + b'"event_timestamp" :' + after


def test_renames_a_key_that_is_written_with_escapes() -> None:
    r"""``\u0074imestamp`` is the same key as ``timestamp``."""
    assert renamed(rb'{"\u0074imestamp":1}', b"timestamp") == b'{"event_timestamp":1}'


def test_never_makes_a_key_appear_twice() -> None:
    """A new name that exists already, or that is needed twice, gets an underscore."""
    line = b'{"timestamp":1,"event_timestamp":2,"timestamp":3}'
    assert renamed(line, b"timestamp") == b'{"_event_timestamp":1,"event_timestamp":2,"__event_timestamp":3}'


@given(st.dictionaries(st.text(max_size=8), JSON, min_size=1, max_size=6), LAYOUTS)
def test_finds_every_key_of_any_object(document: dict[str, object], layout: dict[str, Any]) -> None:
    """Whatever the values and the white space, the keys are those that a JSON parser sees, in order."""
    line = json.dumps(document, **layout).encode("utf-8", "surrogatepass")
    keys = top_level_keys(line)
    assert [json.loads(line[start:end]) for start, end, _ in keys] == list(document)


@given(st.dictionaries(st.text('abc"\\é', max_size=3), JSON, min_size=1, max_size=6), LAYOUTS)
def test_changes_nothing_but_keys(document: dict[str, object], layout: dict[str, Any]) -> None:
    """Renaming is what a parser sees as the same object with that key changed."""
    line = json.dumps(document, **layout).encode("utf-8", "surrogatepass")
    expected = [("event_" + key if key == "a" else key, value) for key, value in document.items()]
    assert json.loads(renamed(line, b"a"), object_pairs_hook=lambda pairs: pairs) == json.loads(
        json.dumps(dict(expected)), object_pairs_hook=lambda pairs: pairs
    )
