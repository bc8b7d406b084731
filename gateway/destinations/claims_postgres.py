"""Claims in PostgreSQL: plain statements on a connection of the shared store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.destinations.claims import ABANDONED_S, CLAIMS_PER_KEY, KEPT_S, Claim
from gateway.destinations.rows import claim_row, read_claim

if TYPE_CHECKING:
    from gateway.destinations.history_postgres import Connection

_MAKE = """
    INSERT INTO gateway_claims AS known (api_key_id, name, fingerprint, at_s, answer) VALUES ($1,$2,$3,$4,'')
    ON CONFLICT (api_key_id, name) DO UPDATE
    SET fingerprint = excluded.fingerprint, at_s = excluded.at_s, answer = excluded.answer
    WHERE known.answer = '' AND known.at_s < $5
    RETURNING true"""
_FORGET_BEYOND = """
    DELETE FROM gateway_claims
    WHERE api_key_id = $1 AND (at_s, name) <= (
        SELECT at_s, name FROM gateway_claims WHERE api_key_id = $1 ORDER BY at_s DESC, name DESC LIMIT 1 OFFSET $2)"""
_THIS_ONE = "api_key_id = $1 AND name = $2 AND fingerprint = $3 AND at_s = $4 AND answer = ''"


async def claim(connection: Connection, wanted: Claim) -> Claim | None:
    async with connection.transaction():
        await connection.execute("DELETE FROM gateway_claims WHERE at_s < $1", wanted.at_s - KEPT_S)
        if await connection.fetchval(_MAKE, *claim_row(wanted), wanted.at_s - ABANDONED_S):
            await connection.execute(_FORGET_BEYOND, wanted.api_key_id, CLAIMS_PER_KEY)
            return None
        statement = "SELECT * FROM gateway_claims WHERE api_key_id = $1 AND name = $2"
        row = await connection.fetchrow(statement, wanted.api_key_id, wanted.name)
    if row is None:  # released between the two statements: whoever asks again may have it
        return wanted
    return read_claim(row)


async def keep_answer(connection: Connection, of: Claim) -> None:
    await connection.execute(f"UPDATE gateway_claims SET answer = $5 WHERE {_THIS_ONE}", *claim_row(of), of.answer)  # noqa: S608 - no value in it


async def release(connection: Connection, of: Claim) -> None:
    await connection.execute(f"DELETE FROM gateway_claims WHERE {_THIS_ONE}", *claim_row(of))  # noqa: S608 - no value in it
