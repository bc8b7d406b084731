"""A batch as requests, whatever stands in it.

Ingest refuses what is nested deeper than delivery can read, as far as the interpreter lets it. Should an event be
deeper all the same, it alone is refused, and not the worker of each destination that gets it stopped.
"""

from __future__ import annotations

from msgspec.structs import replace

from gateway.providers.codec import Batch, Codec, Context, Encoded, Refusal

_CODE, _REASON = "nested_too_deep", "objects or arrays are nested deeper in this event than the gateway can read"


def encode(codec: Codec, batch: Batch, context: Context) -> Encoded:
    try:
        return codec.encode(batch, context)
    except RecursionError:
        return _encode_what_can_be(codec, batch, context)


def _encode_what_can_be(codec: Codec, batch: Batch, context: Context) -> Encoded:
    verdicts = [_can_be_encoded(codec, line, context) for line in batch.lines]
    kept = [at for at, can_be in enumerate(verdicts) if can_be]
    too_deep = tuple(Refusal(at, _CODE, _REASON) for at, can_be in enumerate(verdicts) if not can_be)
    if not kept:
        return Encoded((), too_deep)
    encoded = codec.encode(Batch([batch.lines[at] for at in kept]), context)
    return Encoded(
        tuple(replace(request, positions=[kept[at] for at in request.positions]) for request in encoded.requests),
        too_deep + tuple(replace(refusal, position=kept[refusal.position]) for refusal in encoded.refused),
    )


def _can_be_encoded(codec: Codec, line: bytes, context: Context) -> bool:
    try:
        codec.encode(Batch([line]), context)
    except RecursionError:
        return False
    return True
