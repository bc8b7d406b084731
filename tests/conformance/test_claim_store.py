"""One suite for every ClaimStore: SQLite, a real PostgreSQL and in memory."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from gateway.destinations import claims_postgres, claims_sqlite
from gateway.destinations.claims import ABANDONED_S, KEPT_S, Claim, ClaimStore
from gateway.destinations.store import DestinationStore
from gateway.errors import StoreUnavailable
from tests import stores

CLAIM = Claim("key_1", 'a "name" ~', "f" * 64, 1_782_822_900.25)
ANSWERED = replace(CLAIM, answer=b'{"any":"bytes"}\x00\xff')


def later(seconds: float, **changes: str) -> Claim:
    return replace(CLAIM, at_s=CLAIM.at_s + seconds, **changes)


async def test_one_of_many_gets_it(store: ClaimStore) -> None:
    """Of claims that are made at once one is made, and the others are told of it."""
    found = await asyncio.gather(*(store.claim(CLAIM) for _ in range(8)))
    assert sorted(found, key=str, reverse=True) == [None, *[CLAIM] * 7]


async def test_names_belong_to_their_key(store: ClaimStore) -> None:
    """Another API key, and another name, are claims of their own."""
    assert await store.claim(CLAIM) is None
    assert await store.claim(replace(CLAIM, api_key_id="key_2")) is None
    assert await store.claim(replace(CLAIM, name="other")) is None


async def test_an_answer_is_kept_for_a_day(store: ClaimStore) -> None:
    """Byte for byte, whatever asks under that name; after KEPT_S the name is free."""
    await store.claim(CLAIM)
    await store.keep_answer(ANSWERED)
    assert await store.claim(later(KEPT_S - 1, fingerprint="0" * 64)) == ANSWERED
    assert await store.claim(later(KEPT_S + 1)) is None


async def test_what_broke_off_may_be_made_anew(store: ClaimStore) -> None:
    """A claim without an answer is good for ABANDONED_S; the late first one then changes nothing of the second."""
    await store.claim(CLAIM)
    assert await store.claim(later(ABANDONED_S - 1)) == CLAIM
    second = later(ABANDONED_S + 1)
    assert await store.claim(second) is None
    await store.keep_answer(ANSWERED)
    await store.release(CLAIM)
    assert await store.claim(later(ABANDONED_S + 2)) == second


async def test_a_released_claim_is_free(store: ClaimStore) -> None:
    """At once; one that has its answer is not released any more."""
    await store.claim(CLAIM)
    await store.release(CLAIM)
    assert await store.claim(CLAIM) is None
    await store.keep_answer(ANSWERED)
    await store.release(CLAIM)
    assert await store.claim(CLAIM) == ANSWERED


async def test_claims_are_bounded(store: ClaimStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many of an API key its oldest are forgotten, and nobody else's."""
    for module in (claims_sqlite, claims_postgres, stores):
        monkeypatch.setattr(module, "CLAIMS_PER_KEY", 2)
    await store.claim(replace(CLAIM, api_key_id="key_2"))
    for second in range(3):
        await store.claim(later(second, name=f"n{second}"))
    assert await store.claim(later(3, name="n2")) is not None
    assert await store.claim(later(3, name="n1")) is not None
    assert await store.claim(later(3, name="n0")) is None
    assert await store.claim(later(3, api_key_id="key_2")) is not None


async def test_a_closed_store_says_so(store: DestinationStore) -> None:
    """StoreUnavailable, from each method."""
    await store.close()
    for method in (store.claim, store.keep_answer, store.release):
        with pytest.raises(StoreUnavailable):
            await method(CLAIM)
