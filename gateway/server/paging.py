"""Cursors of lists in the order of a time and an id: a page holds while others are created or deleted."""

from __future__ import annotations

import base64
import binascii

from gateway.errors import RequestRejected


def cursor(at_s: float, item_id: str) -> str:
    return base64.urlsafe_b64encode(f"{at_s!r} {item_id}".encode()).decode()


def read(text: str | None) -> tuple[float, str] | None:
    """Time and id of the last item of the page before; None at the beginning. Raises RequestRejected."""
    if text is None:
        return None
    try:
        at_s, _, item_id = base64.urlsafe_b64decode(text).decode().partition(" ")
        return float(at_s), item_id
    except (binascii.Error, ValueError):
        message = "is not one that a page gave; leave it out to begin at the start"
        raise RequestRejected(f"cursor {message}", status=400, errors=(("cursor", message),)) from None
