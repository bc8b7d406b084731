"""What a connection waits for."""

from __future__ import annotations

import enum

# How long what a client still sends is read and thrown away, so that it gets to read its answer.
LINGER_S = 5.0


class Phase(enum.Enum):
    """What a connection waits for; each has its time."""

    IDLE = "the next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a small body"
    BUSY = "the gateway"
    STUCK = "the client, which does not read its answers"
    SKIPPING = "the end of a body that nobody reads"
    CLOSING = "the client's end"
