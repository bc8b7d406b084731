"""A batch is encoded although an event in it is nested deeper than can be read."""

from __future__ import annotations

import pytest

from gateway.delivery.encoding import encode
from gateway.event import NESTING_MAX
from gateway.providers import PROVIDERS
from gateway.providers.codec import Batch
from tests.events import event, events
from tests.provider_cases import CONTEXT, codec


def nested(line: bytes, levels: int) -> bytes:
    """The same event, so deep in all."""
    inner = levels - 1
    return b'{"deep":' + b"[" * inner + b"]" * inner + b"," + line[1:]


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_the_deepest_that_is_taken_in_can_be_sent(name: str) -> None:
    """By every provider."""
    encoded = encode(codec(name), Batch([nested(event(), NESTING_MAX)]), CONTEXT)
    assert (len(encoded.requests), encoded.refused) == (1, ())


@pytest.mark.parametrize("name", ["splunk", "datadog", "cloudwatch", "elastic"])
def test_one_that_cannot_be_read_is_refused_alone(name: str) -> None:
    """The others of its batch are sent, and positions are those of the whole batch; one alone is refused too."""
    good = [nested(line, 2) for line in events(4)]
    lines = [good[0], nested(event(8), 100_000), good[1], good[2], nested(event(9), 100_000), good[3]]
    encoded = encode(codec(name), Batch(lines), CONTEXT)
    assert [(refusal.position, refusal.code) for refusal in encoded.refused] == [
        (1, "nested_too_deep"),
        (4, "nested_too_deep"),
    ]
    assert sorted(at for request in encoded.requests for at in request.positions) == [0, 2, 3, 5]
    whole = encode(codec(name), Batch(good), CONTEXT)
    assert [request.body for request in encoded.requests] == [request.body for request in whole.requests]
    alone = encode(codec(name), Batch(lines[1:2]), CONTEXT)
    assert (alone.requests, len(alone.refused)) == ((), 1)
