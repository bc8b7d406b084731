"""How long a request waits so that more events go with it. Plain arithmetic."""

from __future__ import annotations

EVENT_S = 0.000_05
FEW = 16


def pause_s(events: int, pause_s_max: float) -> float:
    """From the begin of a request with so many events to that of the next, unless what waits fills that one.

    Where events come slower than one in EVENT_S every request is smaller than the one before, until there is no pause:
    single events go out at once. Where they come faster, requests grow until the pause is the longest that is allowed.
    """
    return min(events * EVENT_S, pause_s_max) if events >= FEW else 0.0
