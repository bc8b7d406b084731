"""Cursors of lists in the order of a time and an id: a page holds while others are created or deleted."""

from __future__ import annotations

import base64
import contextlib
import math
import re

from gateway.errors import RequestRejected

# What ``cursor`` makes of the ids that there are. Nothing else gets as far as a store: PostgreSQL has no place for NUL.
_PLACE = re.compile(r"([0-9.e+-]{1,32}) ([A-Za-z0-9_-]{1,128})")


def cursor(at_s: float, item_id: str) -> str:
    return base64.urlsafe_b64encode(f"{at_s!r} {item_id}".encode()).decode()


def read(text: str | None) -> tuple[float, str] | None:
    """Time and id of the last item of the page before; None at the beginning. Raises RequestRejected."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):  # no base64, no text, no number
        place = _PLACE.fullmatch(base64.b64decode(text, altchars=b"-_", validate=True).decode())
        if place is not None and math.isfinite(at_s := float(place[1])):
            return at_s, place[2]
    message = "is not one that a page gave; leave it out to begin at the start"
    raise RequestRejected(f"cursor {message}", status=400, errors=(("cursor", message),))
