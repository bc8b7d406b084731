"""Every fault that crosses a module boundary.

Ordinary results (a refused event, a provider that wants a retry) are values, not exceptions. What is raised::

    GatewayError
    ├── ConfigError            a setting is missing, unknown or out of range: the program does not start
    ├── RequestRejected        a caller's input is wrong: becomes a 4xx answer with field or line messages
    ├── Overloaded             not now, try again after ``retry_after_s``: becomes 429 or 503
    │   ├── QueueFull          the disk budget is used up
    │   └── QueueUnavailable   the disk fails or the queue is closing; nothing of this append was promised
    ├── DataDirectoryInUse     another process holds the lock
    ├── LogCorrupt             bytes on disk are not what was written
    ├── StoreError
    │   ├── NotFound
    │   ├── Conflict
    │   └── StoreUnavailable   the database does not answer
    └── TransportError         no usable answer came back from a destination
        ├── ConnectFailed      name resolution, refused, unreachable
        ├── TimedOut
        ├── TlsFailed
        └── EgressBlocked      the address is one that destinations may not reach

Messages name the thing, its value and what to do next, and never a secret.
"""

from __future__ import annotations


class GatewayError(Exception):
    pass


class ConfigError(GatewayError):
    pass


class RequestRejected(GatewayError):
    """The caller's input is wrong. ``errors`` pairs a field name with what is wrong with it."""

    def __init__(self, detail: str, *, status: int = 422, errors: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.errors = errors


class Overloaded(GatewayError):
    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class QueueFull(Overloaded):
    pass


class QueueUnavailable(Overloaded):
    pass


class DataDirectoryInUse(GatewayError):
    pass


class LogCorrupt(GatewayError):
    pass


class StoreError(GatewayError):
    pass


class NotFound(StoreError):
    pass


class Conflict(StoreError):
    pass


class CredentialsSealed(StoreError):
    """No key opens the credentials that are stored."""


class StoreUnavailable(StoreError):
    pass


class TransportError(GatewayError):
    pass


class ConnectFailed(TransportError):
    pass


class TimedOut(TransportError):
    pass


class TlsFailed(TransportError):
    pass


class EgressBlocked(TransportError):
    pass
