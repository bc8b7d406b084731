"""Deletions that several gateways have to finish: plain statements on a connection of the shared store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.destinations.history_postgres import Connection

KEPT = timedelta(minutes=10)  # a gateway that was not seen for so long is not waited for

_SEEN = """
    INSERT INTO gateway_queues (id, seen_at) VALUES ($1, now())
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"""
_FLUSHED = "INSERT INTO gateway_flushed (destination_id, queue_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_IS_HELD = """
    SELECT EXISTS (
        SELECT 1 FROM gateway_queues
        WHERE seen_at > now() - $2::interval
            AND id NOT IN (SELECT queue_id FROM gateway_flushed WHERE destination_id = $1))"""


async def seen(connection: Connection, queue_id: str) -> None:
    """This gateway is there, and has to be waited for."""
    async with connection.transaction():
        await connection.execute(_SEEN, queue_id)
        await connection.execute("DELETE FROM gateway_queues WHERE seen_at < now() - $1::interval", KEPT)


async def finish_deletion(connection: Connection, destination_id: str, queue_id: str) -> bool:
    """The row is locked meanwhile: of several that finish at once, the last one sees that it is."""
    async with connection.transaction():
        lock = "SELECT 1 FROM gateway_destinations WHERE id = $1 FOR UPDATE"
        if await connection.fetchval(lock, destination_id) is None:
            return True
        await connection.execute(_FLUSHED, destination_id, queue_id)
        if await connection.fetchval(_IS_HELD, destination_id, KEPT):
            return False
        await connection.execute("DELETE FROM gateway_destinations WHERE id = $1", destination_id)
    return True
