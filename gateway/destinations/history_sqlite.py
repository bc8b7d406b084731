"""The history in SQLite: plain functions of a connection, run within the embedded store's transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from gateway.destinations.history import (
    ACTIVITIES_PER_TENANT,
    ACTIVITY_KEPT_S,
    KEPT_S,
    Activity,
    Figures,
    by_step,
)
from gateway.destinations.rows import activity_row, figures_row, read_activity, read_figures

_ADD_FIGURES = """
    INSERT INTO figures (step_s, instance, destination_id, at_s, answer, delivered, failed, dead_lettered, dropped,
                         attempts, latency_ms_sum, latency_ms_max)
    VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
    ON CONFLICT DO UPDATE SET
        delivered = delivered + excluded.delivered,
        failed = failed + excluded.failed,
        dead_lettered = dead_lettered + excluded.dead_lettered,
        dropped = dropped + excluded.dropped,
        attempts = attempts + excluded.attempts,
        latency_ms_sum = latency_ms_sum + excluded.latency_ms_sum,
        latency_ms_max = max(latency_ms_max, excluded.latency_ms_max)"""
_FIGURES = """
    SELECT destination_id, at_s, answer, sum(delivered) AS delivered, sum(failed) AS failed,
           sum(dead_lettered) AS dead_lettered, sum(dropped) AS dropped, sum(attempts) AS attempts,
           sum(latency_ms_sum) AS latency_ms_sum, max(latency_ms_max) AS latency_ms_max
    FROM figures
    WHERE step_s = ? AND destination_id IN (SELECT value FROM json_each(?)) AND at_s >= ?
    GROUP BY destination_id, at_s, answer
    ORDER BY destination_id, at_s, answer"""
_ADD_ACTIVITY = """
    INSERT INTO activity (id, at_s, action, tenant_id, destination_id, destination_name, key_id, key_name, changes)
    VALUES (?,?,?,?,?,?,?,?,?)"""
_FORGET_BEYOND = """
    DELETE FROM activity
    WHERE tenant_id = ?1 AND (at_s, id) <= (
        SELECT at_s, id FROM activity WHERE tenant_id = ?1 ORDER BY at_s DESC, id DESC LIMIT 1 OFFSET ?2)"""


def add_figures(connection: sqlite3.Connection, instance: str, figures: Sequence[Figures]) -> None:
    connection.executemany(_ADD_FIGURES, [(step_s, instance, *figures_row(item)) for step_s, item in by_step(figures)])


def figures(
    connection: sqlite3.Connection, destination_ids: Collection[str], step_s: int, since_s: int
) -> list[Figures]:
    rows = connection.execute(_FIGURES, (step_s, json.dumps(list(destination_ids)), since_s))
    return list(map(read_figures, rows))


def add_activities(connection: sqlite3.Connection, entries: Sequence[Activity]) -> None:
    connection.executemany(_ADD_ACTIVITY, list(map(activity_row, entries)))
    for tenant_id in {entry.tenant_id for entry in entries}:
        connection.execute(_FORGET_BEYOND, (tenant_id, ACTIVITIES_PER_TENANT))


def activities(
    connection: sqlite3.Connection,
    tenant_id: str | None,
    destination_id: str | None,
    before: tuple[float, str] | None,
    limit: int,
) -> list[Activity]:
    wanted: list[tuple[str, tuple[object, ...]]] = []
    if tenant_id is not None:
        wanted.append(("tenant_id = ?", (tenant_id,)))
    if destination_id is not None:
        wanted.append(("destination_id = ?", (destination_id,)))
    if before is not None:
        wanted.append(("(at_s, id) < (?, ?)", before))
    where = " AND ".join(["TRUE", *(condition for condition, _ in wanted)])
    values = [value for _, given in wanted for value in given]
    statement = f"SELECT * FROM activity WHERE {where} ORDER BY at_s DESC, id DESC LIMIT ?"  # noqa: S608 - conditions of the lines above, no value
    return list(map(read_activity, connection.execute(statement, (*values, limit))))


def forget_figures(connection: sqlite3.Connection, destination_ids: Collection[str]) -> None:
    keys = [(step_s, destination_id) for step_s in KEPT_S for destination_id in destination_ids]
    connection.executemany("DELETE FROM figures WHERE step_s = ? AND destination_id = ?", keys)


def prune(connection: sqlite3.Connection, now_s: float) -> None:
    for step_s, kept_s in KEPT_S.items():
        connection.execute("DELETE FROM figures WHERE step_s = ? AND at_s < ?", (step_s, int(now_s) - kept_s))
    connection.execute("DELETE FROM activity WHERE at_s < ?", (now_s - ACTIVITY_KEPT_S,))
