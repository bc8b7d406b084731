"""Cutting a JSON body into its elements."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestRejected
from gateway.server.elements import cutting
from tests.events import event, events

SCALARS = st.none() | st.integers() | st.text(alphabet='",[]{}\\ \n0')
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def cut(body: bytes, event_bytes_max: int = 256 << 10) -> list[bytes]:
    *_, elements = cutting(body, event_bytes_max=event_bytes_max)
    assert elements is not None
    return elements


@given(st.lists(VALUES), st.sampled_from([None, 1]))
def test_the_elements_are_those_of_the_array(values: list[object], indent: int | None) -> None:
    """Each on a line of its own, in their order."""
    elements = cut(json.dumps(values, indent=indent).encode())
    assert [json.loads(element) for element in elements] == values
    assert not any(b"\n" in element for element in elements)


@pytest.mark.parametrize("element", [b"0", b"{}", b"[]", b'""', b'"]"', b'{"a":[1,2]}'])
@pytest.mark.parametrize("between", [b",", b" ,\n"])
def test_more_elements_than_can_be_events_are_refused_before_they_are_made(element: bytes, between: bytes) -> None:
    """A million cost no more than the body does."""
    body = b"[" + between.join([element] * 1_000_000) + b"]"
    tracemalloc.start()
    try:
        with pytest.raises(RequestRejected, match="more elements than") as refused:
            cut(body)
        assert refused.value.status == 400
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"1"] * 1_000) + b"]",
        b"[[" + b",".join([b"1"] * 100_000) + b"]]",
        b'["' + b",[" * 100_000 + b'"]',
        b'["' + b'\\",' * 100_000 + b'"]',
        b"[" + b",".join([*events(5_000), *[b"1"] * 1_000]) + b"]",
    ],
)
def test_what_may_be_events_is_cut(body: bytes) -> None:
    """However many commas stand within them; of a small array each element is told what is wrong with it."""
    assert [json.loads(element) for element in cut(body)] == json.loads(body)


@pytest.mark.parametrize("tail", [b'"', b'"\\', b'"' + b'\\"' * 100_000, b"]" * 100_000, b"[" * 100_000])
def test_what_is_broken_is_refused_however_many_commas_it_has(tail: bytes) -> None:
    """A string or an array without an end is no JSON."""
    with pytest.raises(RequestRejected) as refused:
        cut(b"[[" + b"1," * 200_000 + tail)
    assert refused.value.status == 400


def test_counting_goes_in_steps() -> None:
    """While elements are counted others have their turn."""
    assert len(list(cutting(b"[[" + b"[]," * 100_000 + b"1]]", event_bytes_max=256 << 10))) > 20


def test_white_space_goes_in_steps() -> None:
    """A long pretty-printed array gives others many turns, and a small one is cut at once."""
    spread = json.dumps(json.loads(event()), indent=2).encode()
    compact = json.dumps(json.loads(event()), separators=(",", ":")).encode()
    assert len(list(cutting(b"[" + b",\n".join([spread] * 5_000) + b"]", event_bytes_max=256 << 10))) > 50
    assert list(cutting(b"[" + spread + b"]", event_bytes_max=256 << 10)) == [[compact]]


def test_what_is_too_long_keeps_its_white_space() -> None:
    """It is refused anyway; what fits without its white space is put on one line."""
    long, fits = b'{"a":\n"' + b"x" * 2_000 + b'"}', b'{"a":' + b"\n" * 2_000 + b'"x"}'
    assert cut(b"[" + long + b"," + fits + b"]", 1_024) == [long, b'{"a":"x"}']
