"""The history in PostgreSQL: plain statements on a connection of the shared store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from gateway.destinations.history import (
    ACTIVITIES_PER_TENANT,
    ACTIVITY_KEPT_S,
    KEPT_S,
    Activity,
    Figures,
    by_step,
)
from gateway.destinations.rows import activity_row, figures_row, read_activity, read_figures

if TYPE_CHECKING:  # asyncpg's classes are generic in its type information only
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

_ADD_FIGURES = """
    INSERT INTO gateway_figures AS known (step_s, instance, destination_id, at_s, answer, delivered, failed,
                                          dead_lettered, dropped, attempts, latency_ms_sum, latency_ms_max)
    VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)
    ON CONFLICT (step_s, destination_id, at_s, answer, instance) DO UPDATE SET
        delivered = known.delivered + excluded.delivered,
        failed = known.failed + excluded.failed,
        dead_lettered = known.dead_lettered + excluded.dead_lettered,
        dropped = known.dropped + excluded.dropped,
        attempts = known.attempts + excluded.attempts,
        latency_ms_sum = known.latency_ms_sum + excluded.latency_ms_sum,
        latency_ms_max = greatest(known.latency_ms_max, excluded.latency_ms_max)"""
_FIGURES = """
    SELECT destination_id, at_s, answer, sum(delivered)::bigint AS delivered, sum(failed)::bigint AS failed,
           sum(dead_lettered)::bigint AS dead_lettered, sum(dropped)::bigint AS dropped,
           sum(attempts)::bigint AS attempts, sum(latency_ms_sum) AS latency_ms_sum,
           max(latency_ms_max) AS latency_ms_max
    FROM gateway_figures
    WHERE step_s = $1 AND destination_id = ANY($2::text[]) AND at_s >= $3
    GROUP BY destination_id, at_s, answer
    ORDER BY destination_id COLLATE "C", at_s, answer COLLATE "C"
"""
_ADD_ACTIVITY = """
    INSERT INTO gateway_activity
        (id, at_s, action, tenant_id, destination_id, destination_name, key_id, key_name, changes)
    VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)"""
_FORGET_BEYOND = """
    DELETE FROM gateway_activity
    WHERE tenant_id = $1 AND (at_s, id) <= (
        SELECT at_s, id FROM gateway_activity WHERE tenant_id = $1 ORDER BY at_s DESC, id DESC LIMIT 1 OFFSET $2)"""
_ACTIVITIES = """
    SELECT * FROM gateway_activity
    WHERE ($1::text IS NULL OR tenant_id = $1) AND ($2::text IS NULL OR destination_id = $2)
        AND ($3::float8 IS NULL OR (at_s, id) < ($3, $4::text))
    ORDER BY at_s DESC, id DESC
    LIMIT $5"""


async def add_figures(connection: Connection, instance: str, figures: Sequence[Figures]) -> None:
    rows = [(step_s, instance, *figures_row(item)) for step_s, item in by_step(figures)]
    await connection.executemany(_ADD_FIGURES, rows)  # all of them or none


async def figures(connection: Connection, destination_ids: Collection[str], step_s: int, since_s: int) -> list[Figures]:
    return list(map(read_figures, await connection.fetch(_FIGURES, step_s, list(destination_ids), since_s)))


async def add_activities(connection: Connection, entries: Sequence[Activity]) -> None:
    async with connection.transaction():
        await connection.executemany(_ADD_ACTIVITY, list(map(activity_row, entries)))
        for tenant_id in sorted({entry.tenant_id for entry in entries}):
            await connection.execute(_FORGET_BEYOND, tenant_id, ACTIVITIES_PER_TENANT)


async def activities(
    connection: Connection,
    tenant_id: str | None,
    destination_id: str | None,
    before: tuple[float, str] | None,
    limit: int,
) -> list[Activity]:
    at_s, activity_id = before if before is not None else (None, None)
    rows = await connection.fetch(_ACTIVITIES, tenant_id, destination_id, at_s, activity_id, limit)
    return list(map(read_activity, rows))


async def forget_figures(connection: Connection, destination_ids: Collection[str]) -> None:
    statement = "DELETE FROM gateway_figures WHERE step_s = ANY($1::int[]) AND destination_id = ANY($2::text[])"
    await connection.execute(statement, list(KEPT_S), list(destination_ids))


async def prune(connection: Connection, now_s: float) -> None:
    for step_s, kept_s in KEPT_S.items():
        await connection.execute(
            "DELETE FROM gateway_figures WHERE step_s = $1 AND at_s < $2", step_s, int(now_s) - kept_s
        )
    await connection.execute("DELETE FROM gateway_activity WHERE at_s < $1", now_s - ACTIVITY_KEPT_S)
