"""What became of a destination's events: attempts, gaps, dead letters, the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
from aiohttp import web

from gateway.errors import RequestRejected
from gateway.queue import Consumer
from gateway.server.call import NUMBER_MAX, Call, answer, begin_stream
from gateway.server.shapes import (
    AttemptPage,
    Chosen,
    DeadLetterPage,
    DeadLetterView,
    GapPage,
    GapView,
    Removed,
    Replayed,
    attempt_view,
    dead_letter_view,
    gap_view,
)

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
FORMATS = ("json", "ndjson")


async def attempts(call: Call) -> web.Response:
    """Newest first; the cursor is the last one's number, so that pages hold while others are made."""
    destination = call.destination()
    limit = call.number("limit", default=LIMIT_DEFAULT, low=1, high=LIMIT_MAX)
    before = call.number("cursor", default=NUMBER_MAX, low=0, high=NUMBER_MAX)
    found = call.parts.streams.attempts(destination.id, before=before, limit=limit + 1)
    more = str(found[limit - 1][0]) if len(found) > limit else None
    return answer(AttemptPage([attempt_view(attempt) for _, attempt in found[:limit]], more))


async def gaps(call: Call) -> web.StreamResponse:
    """Oldest first, all of them unless a limit is given; the cursor is how many came before. Gaps never go away."""
    consumer = call.consumer()
    after = call.number("cursor", default=0, low=0, high=NUMBER_MAX)
    limit = call.number("limit", default=0, low=1, high=LIMIT_MAX)
    chosen = call.choice("format", FORMATS, default="json")
    await call.parts.streams.catch_up(consumer.id)
    found = (await consumer.gaps())[after:]
    if chosen == "ndjson":
        return await _download(call, "gaps", _at_once(list(map(gap_view, found))))
    more = str(after + limit) if 0 < limit < len(found) else None
    return answer(GapPage(list(map(gap_view, found[: limit or None])), more))


async def ledger(call: Call) -> web.Response:
    consumer = call.consumer()
    await call.parts.streams.catch_up(consumer.id)
    return answer(consumer.ledger())


async def dead_letters(call: Call) -> web.StreamResponse:
    """Oldest first; the cursor is the last one's id. A page of large events is shorter. As NDJSON all of them, or all
    behind the cursor.
    """
    consumer = call.consumer()
    limit = call.number("limit", default=LIMIT_DEFAULT, low=1, high=LIMIT_MAX)
    after = call.number("cursor", default=0, low=0, high=NUMBER_MAX)
    if call.choice("format", FORMATS, default="json") == "ndjson":
        return await _download(call, "dead-letters", _all_dead_letters(consumer, after))
    letters = await consumer.dead_letters(after=after, limit=limit)
    more = bool(letters) and bool(await consumer.dead_letters(after=letters[-1].number, limit=1))
    page = [dead_letter_view(letter) for letter in letters]
    return answer(DeadLetterPage(page, str(page[-1].id) if more else None))


async def delete_dead_letters(call: Call) -> web.Response:
    consumer = call.consumer()
    chosen = await _chosen(call)
    return answer(Removed(await consumer.delete_dead_letters(chosen.ids)))


async def replay_dead_letters(call: Call) -> web.Response:
    consumer = call.consumer()
    chosen = await _chosen(call)
    call.check_open()
    return answer(Replayed(await consumer.replay_dead_letters(chosen.ids)))


async def _all_dead_letters(consumer: Consumer, after: int) -> AsyncIterator[Sequence[DeadLetterView]]:
    while letters := await consumer.dead_letters(after=after, limit=LIMIT_DEFAULT):
        yield [dead_letter_view(letter) for letter in letters]
        after = letters[-1].number


async def _at_once(found: Sequence[GapView]) -> AsyncIterator[Sequence[GapView]]:
    yield found


async def _download(
    call: Call, what: str, pages: AsyncIterator[Sequence[GapView | DeadLetterView]]
) -> web.StreamResponse:
    """One line of JSON for each. A fault in the middle breaks the connection off, so that it cannot be overlooked."""
    name = f"{what}-{call.request.match_info['id']}.ndjson"
    response = await begin_stream(call, "application/x-ndjson", filename=name)
    if call.request.method == "HEAD":
        return response
    async for page in pages:
        await response.write(b"".join(msgspec.json.encode(view) + b"\n" for view in page))
    return response


async def _chosen(call: Call) -> Chosen:
    given = await call.members(empty_is_none=True)
    try:
        return msgspec.convert(given, Chosen)
    except msgspec.ValidationError as error:
        message = f'give {{"ids": [1, 2, …]}}, or nothing for all of them ({error})'
        raise RequestRejected(message, errors=(("ids", message),)) from None
