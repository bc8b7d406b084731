"""What became of a destination's events: attempts, gaps, dead letters, the ledger."""

from __future__ import annotations

import msgspec
from aiohttp import web

from gateway.errors import RequestRejected
from gateway.server.call import Call, answer
from gateway.server.shapes import (
    AttemptPage,
    Chosen,
    DeadLetterPage,
    GapPage,
    Removed,
    Replayed,
    attempt_view,
    dead_letter_view,
    gap_view,
)

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000


async def attempts(call: Call) -> web.Response:
    destination = call.destination()
    limit = call.number("limit", default=LIMIT_DEFAULT, low=1, high=LIMIT_MAX)
    return answer(
        AttemptPage([attempt_view(attempt) for attempt in call.parts.streams.attempts(destination.id, limit)])
    )


async def gaps(call: Call) -> web.Response:
    consumer = call.consumer()
    await call.parts.streams.catch_up(consumer.id)
    return answer(GapPage([gap_view(gap) for gap in await consumer.gaps()]))


async def ledger(call: Call) -> web.Response:
    consumer = call.consumer()
    await call.parts.streams.catch_up(consumer.id)
    return answer(consumer.ledger())


async def dead_letters(call: Call) -> web.Response:
    """Oldest first; the cursor is the last one's id."""
    consumer = call.consumer()
    limit = call.number("limit", default=LIMIT_DEFAULT, low=1, high=LIMIT_MAX)
    after = call.number("cursor", default=0, low=0, high=1 << 53)
    letters = await consumer.dead_letters(after=after, limit=limit + 1)
    more = len(letters) > limit
    page = [dead_letter_view(letter) for letter in letters[:limit]]
    return answer(DeadLetterPage(page, str(page[-1].id) if more else None))


async def delete_dead_letters(call: Call) -> web.Response:
    consumer = call.consumer()
    chosen = await _chosen(call)
    return answer(Removed(await consumer.delete_dead_letters(chosen.ids)))


async def replay_dead_letters(call: Call) -> web.Response:
    consumer = call.consumer()
    chosen = await _chosen(call)
    return answer(Replayed(await consumer.replay_dead_letters(chosen.ids)))


async def _chosen(call: Call) -> Chosen:
    given = await call.members(empty_is_none=True)
    try:
        return msgspec.convert(given, Chosen)
    except msgspec.ValidationError as error:
        message = f'give {{"ids": [1, 2, …]}}, or nothing for all of them ({error})'
        raise RequestRejected(message, errors=(("ids", message),)) from None
