"""When waiting events will be lost if nothing changes."""

from __future__ import annotations


def events_at_risk_at_s(
    *,
    retrying_since_s: float | None,
    retry_window_s: float,
    oldest_pending_s: float | None,
    provider_window_s: float | None,
) -> float | None:
    """When the first pending event leaves a window, in seconds since the epoch. None without an outage or without any.

    The retry window is counted from the outage's start (``retrying_since_s``), the provider's own from the acceptance
    of the oldest pending event; whichever ends first.
    """
    if retrying_since_s is None or oldest_pending_s is None:
        return None
    gives_up_at_s = retrying_since_s + retry_window_s
    if provider_window_s is None:
        return gives_up_at_s
    return min(gives_up_at_s, oldest_pending_s + provider_window_s)
