"""Claims in SQLite: plain functions of a connection, run within the embedded store's transactions."""

from __future__ import annotations

import sqlite3

from gateway.destinations.claims import ABANDONED_S, CLAIMS_PER_KEY, KEPT_S, Claim
from gateway.destinations.rows import claim_row, read_claim

_MAKE = """
    INSERT INTO claims (api_key_id, name, fingerprint, at_s, answer) VALUES (?1,?2,?3,?4,x'')
    ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, at_s = excluded.at_s, answer = excluded.answer
    WHERE length(answer) = 0 AND at_s < ?5"""
_FORGET_BEYOND = """
    DELETE FROM claims
    WHERE api_key_id = ?1 AND (at_s, name) <= (
        SELECT at_s, name FROM claims WHERE api_key_id = ?1 ORDER BY at_s DESC, name DESC LIMIT 1 OFFSET ?2)"""
_THIS_ONE = "api_key_id = ? AND name = ? AND fingerprint = ? AND at_s = ? AND length(answer) = 0"


def claim(connection: sqlite3.Connection, wanted: Claim) -> Claim | None:
    connection.execute("DELETE FROM claims WHERE at_s < ?", (wanted.at_s - KEPT_S,))
    if connection.execute(_MAKE, (*claim_row(wanted), wanted.at_s - ABANDONED_S)).rowcount:
        connection.execute(_FORGET_BEYOND, (wanted.api_key_id, CLAIMS_PER_KEY))
        return None
    statement = "SELECT * FROM claims WHERE api_key_id = ? AND name = ?"
    row = connection.execute(statement, (wanted.api_key_id, wanted.name)).fetchone()
    return read_claim(row)


def keep_answer(connection: sqlite3.Connection, of: Claim) -> None:
    connection.execute(f"UPDATE claims SET answer = ? WHERE {_THIS_ONE}", (of.answer, *claim_row(of)))  # noqa: S608 - no value in it


def release(connection: sqlite3.Connection, of: Claim) -> None:
    connection.execute(f"DELETE FROM claims WHERE {_THIS_ONE}", claim_row(of))  # noqa: S608 - no value in it
