"""The JSON body of a request cut into what may be events, in steps, and with a bound on how much is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import msgspec

from gateway import scan
from gateway.errors import RequestRejected
from gateway.event import EVENT_BYTES_MIN, SLICE_BYTES
from gateway.server.white_space import without_white_space

_WHITE = b" \t\r\n"
_REFUSED_MAX = 1_000  # elements that may be there besides, so that of a small array each is told what is wrong with it
_COMMA_BYTES = 16  # events have a comma in more bytes than that; where they stand thicker elements are counted first
_STEP_RUNS = 4_096
# A string, also one without an end; a bracket; or what is between.
_RUN = re.compile(rb'%b"?|[\[\]{}]|[^"\[\]{}]++' % scan.UNENDED_STRING, re.DOTALL)


def cutting(body: bytes, *, event_bytes_max: int) -> Iterator[list[bytes] | None]:
    """The bytes of each element of an array, or of the one object, on one line; None until the last step.

    What is over ``event_bytes_max`` even without its white space keeps it. Raises RequestRejected with 400 for what is
    no JSON, and for an array of more elements than so many bytes have room for events.
    """
    text = body.strip(_WHITE)
    is_array = text.startswith(b"[")
    if not is_array and b"\n" not in text:
        yield [text]
        return
    if is_array:
        yield from _bounding(text)
    elements = _decoded(text, is_array=is_array)
    made: list[bytes] = []
    size = 0
    for element in elements:
        made.append(_on_one_line(bytes(element).strip(_WHITE), event_bytes_max))
        size += len(element)
        if size >= SLICE_BYTES:
            size = 0
            yield None
    yield made


def _decoded(text: bytes, *, is_array: bool) -> list[msgspec.Raw]:
    try:  # before any white space goes: without it "1 2" would become a number
        elements = msgspec.json.decode(text if is_array else b"[%b]" % text, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        noun = "a JSON array" if is_array else "one JSON object"
        raise RequestRejected(f"the body is not {noun}: {error}", status=400) from None
    if is_array:
        _bound(len(elements), text)
    elif len(elements) != 1:
        raise RequestRejected("the body is not one JSON object: send several as an array, or as NDJSON", status=400)
    return elements


def _bounding(array: bytes) -> Iterator[None]:
    """Raises RequestRejected, in steps, where decoding would make very many elements: each takes 70 bytes."""
    commas = scan.count(array, b",")
    if commas < _elements_max(array) or commas < len(array) // _COMMA_BYTES:
        return
    elements = 1
    depth = 0
    runs = _RUN.finditer(array)
    while step := list(islice(runs, _STEP_RUNS)):
        for run in step:
            mark = array[run.start()]
            if mark in b"[{":
                depth += 1
            elif mark in b"]}":
                depth -= 1
            elif depth == 1 and mark not in b'"':
                elements += scan.count(run[0], b",")
        _bound(elements, array)
        yield None


def _bound(elements: int, array: bytes) -> None:
    if elements > _elements_max(array):
        text = f"the array has more elements than {len(array)} bytes can hold events; nothing was taken"
        raise RequestRejected(text, status=400)


def _elements_max(array: bytes) -> int:
    return len(array) // EVENT_BYTES_MIN + _REFUSED_MAX


def _on_one_line(element: bytes, event_bytes_max: int) -> bytes:
    if b"\n" not in element or len(element.translate(None, _WHITE)) > event_bytes_max:
        return element
    return without_white_space(element)
