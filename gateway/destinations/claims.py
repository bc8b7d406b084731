"""Who asked for what under which ``Idempotency-Key``, and what the answer was.

A claim is made before the work and gets its answer after it. A crash in between leaves a claim without an answer: after
ABANDONED_S the same request may be made anew, and what the first one did, if it did, is done twice. A crash after the
answer was kept loses nothing.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

KEPT_S = 24 * 3_600.0
ABANDONED_S = 60.0  # creating waits for a few statements of the store, each with a limit of seconds, and for the disk
CLAIMS_PER_KEY = 10_000


class Claim(msgspec.Struct, frozen=True):
    """``api_key_id`` and ``name`` tell claims apart; ``fingerprint`` is that of the request. ``answer`` is empty until
    there is one, and never holds a secret.
    """

    api_key_id: str
    name: str
    fingerprint: str
    at_s: float
    answer: bytes = b""


class ClaimStore(Protocol):
    """Safe to use from any task. Every method may raise StoreUnavailable; a write may have been made then."""

    async def claim(self, claim: Claim) -> Claim | None:
        """Make it, unless there is one of that name that is still good: that one is returned then.

        One that is older than KEPT_S, or without an answer older than ABANDONED_S, is replaced. Of each API key those
        beyond the newest CLAIMS_PER_KEY are forgotten.
        """

    async def keep_answer(self, claim: Claim) -> None:
        """Give the claim its answer, if it is still this one."""

    async def release(self, claim: Claim) -> None:
        """Forget the claim, if it is still this one and has no answer."""
