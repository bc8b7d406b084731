"""How long to wait after a failure. Plain: randomness is handed in, time is not asked."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import RetryPolicy

_DOUBLINGS_MAX = 32  # caps the exponent before it is used: 2 ** 10000 is no float


def full_jitter_s(failures: int, *, base_s: float, max_s: float, random: Callable[[], float]) -> float:
    """Anything between nothing and ``base_s`` doubled with every failure, never above ``max_s``."""
    ceiling_s = min(max_s, base_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS_MAX))
    return random() * ceiling_s


def slow_probe_s(failures: int, *, base_s: float, max_s: float, random: Callable[[], float]) -> float:
    """For what only an operator can mend: at least half of the full delay, so that nobody is locked out by our
    asking.
    """
    ceiling_s = min(max_s, base_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS_MAX))
    return ceiling_s / 2 + random() * ceiling_s / 2


def delay_s(policy: RetryPolicy, failures: int, *, misconfigured: bool, random: Callable[[], float]) -> float:
    if misconfigured:
        return slow_probe_s(failures, base_s=policy.misconfigured_s, max_s=policy.misconfigured_max_s, random=random)
    return full_jitter_s(failures, base_s=policy.backoff_s, max_s=policy.backoff_max_s, random=random)


def granted_s(policy: RetryPolicy, wish_s: float) -> float:
    """A provider's wish, up to its cap."""
    return min(wish_s, policy.retry_after_max_s)
