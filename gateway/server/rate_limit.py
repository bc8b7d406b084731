"""How many requests a key may make of the management routes: a token bucket for each key; and how many of a tenant may
be under way at a time.

Told in the headers of the IETF's draft (``draft-ietf-httpapi-ratelimit-headers``): ``RateLimit-Policy`` has the size of
the bucket and the seconds in which it fills, ``RateLimit`` what is left and the seconds until it is full again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from gateway.queue import ALL_TENANTS

BUCKETS_MAX = 16_384
UNDER_WAY_PER_TENANT = 128


class Rate(msgspec.Struct, frozen=True):
    """``per_s`` of 0: no limit."""

    per_s: int
    burst: int


class Bucket(msgspec.Struct, frozen=True):
    tokens: float
    at_s: float


class Taken(NamedTuple):
    """``wait_s`` is 0 when there was a token; else when there will be one."""

    bucket: Bucket
    wait_s: float


def take(known: Bucket | None, rate: Rate, now_s: float) -> Taken:
    """One token. A key that is not known has a full bucket."""
    tokens: float = rate.burst
    if known is not None:
        tokens = min(tokens, known.tokens + max(now_s - known.at_s, 0.0) * rate.per_s)
    if tokens < 1:
        return Taken(Bucket(tokens, now_s), (1 - tokens) / rate.per_s)
    return Taken(Bucket(tokens - 1, now_s), 0.0)


def headers_of(taken: Taken, rate: Rate) -> dict[str, str]:
    left = taken.bucket.tokens
    full_s = math.ceil((rate.burst - left) / rate.per_s)
    headers = {
        "RateLimit-Policy": f'"requests";q={rate.burst};w={math.ceil(rate.burst / rate.per_s)}',
        "RateLimit": f'"requests";r={int(left)};t={full_s}',
    }
    if taken.wait_s:
        headers["Retry-After"] = str(math.ceil(taken.wait_s))
    return headers


class RateLimits:
    """The buckets of the keys that asked last; one that is forgotten is as good as full. Belongs to the event loop."""

    def __init__(self, rate: Rate, now_s: Callable[[], float]) -> None:
        self._rate, self._now_s = rate, now_s
        self._buckets: dict[str, Bucket] = {}

    def take(self, key_id: str) -> Mapping[str, str]:
        """The headers of the answer. With ``Retry-After`` among them the request is one too many."""
        if not self._rate.per_s:
            return {}
        taken = take(self._buckets.pop(key_id, None), self._rate, self._now_s())
        if len(self._buckets) >= BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key_id] = taken.bucket
        return headers_of(taken, self._rate)


class UnderWay:
    """The requests that are being served. Some wait for somebody else: tests and deletions for a destination, downloads
    for their reader. A tenant cannot hold every connection and descriptor with them; an operator may. Belongs to the
    event loop.
    """

    def __init__(self) -> None:
        self._of_tenant: Counter[str] = Counter()

    @contextmanager
    def place(self, tenant_id: str) -> Iterator[bool]:
        """Whether this one may be served; its place is held until the end."""
        if tenant_id != ALL_TENANTS and self._of_tenant[tenant_id] >= UNDER_WAY_PER_TENANT:
            yield False
            return
        self._of_tenant[tenant_id] += 1
        try:
            yield True
        finally:
            self._of_tenant[tenant_id] -= 1
            if not self._of_tenant[tenant_id]:
                del self._of_tenant[tenant_id]
