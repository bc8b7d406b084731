"""Claims in PostgreSQL: plain statements on a connection of the shared store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.destinations.claims import ABANDONED_S, CLAIMS_PER_KEY, KEPT_S, Claim

if TYPE_CHECKING:
    from gateway.destinations.history_postgres import Connection

_MAKE = """
    INSERT INTO gateway_claims AS known (api_key_id, name, fingerprint, at_s, answer) VALUES ($1,$2,$3,$4,'')
    ON CONFLICT (api_key_id, name) DO UPDATE
    SET fingerprint = excluded.fingerprint, at_s = excluded.at_s, answer = excluded.answer
    WHERE known.at_s < $5 OR (known.answer = '' AND known.at_s < $6)
    RETURNING true"""
_FORGET_BEYOND = """
    DELETE FROM gateway_claims
    WHERE api_key_id = $1 AND (at_s, name) <= (
        SELECT at_s, name FROM gateway_claims WHERE api_key_id = $1 ORDER BY at_s DESC, name DESC LIMIT 1 OFFSET $2)"""
_THIS_ONE = "api_key_id = $1 AND name = $2 AND fingerprint = $3 AND at_s = $4 AND answer = ''"


async def claim(connection: Connection, wanted: Claim) -> Claim | None:
    async with connection.transaction():
        await connection.execute("DELETE FROM gateway_claims WHERE at_s < $1", wanted.at_s - KEPT_S)
        ends_s = wanted.at_s - KEPT_S, wanted.at_s - ABANDONED_S
        if await connection.fetchval(_MAKE, *_identity(wanted), *ends_s):
            await connection.execute(_FORGET_BEYOND, wanted.api_key_id, CLAIMS_PER_KEY)
            return None
        statement = "SELECT * FROM gateway_claims WHERE api_key_id = $1 AND name = $2"
        row = await connection.fetchrow(statement, wanted.api_key_id, wanted.name)
    if row is None:  # released between the two statements: whoever asks again may have it
        return wanted
    return Claim(row["api_key_id"], row["name"], row["fingerprint"], row["at_s"], row["answer"])


async def keep_answer(connection: Connection, of: Claim) -> None:
    await connection.execute(f"UPDATE gateway_claims SET answer = $5 WHERE {_THIS_ONE}", *_identity(of), of.answer)  # noqa: S608 - no value in it


async def release(connection: Connection, of: Claim) -> None:
    await connection.execute(f"DELETE FROM gateway_claims WHERE {_THIS_ONE}", *_identity(of))  # noqa: S608 - no value in it


def _identity(of: Claim) -> tuple[str, str, str, float]:
    return of.api_key_id, of.name, of.fingerprint, of.at_s
