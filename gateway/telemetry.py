"""Every log event and every metric, declared once.

Log lines are structured and carry neither a secret nor a payload. Metrics live in a registry that the composition root
makes; what ingest and the books already count (accepted, delivered, dropped, pending …) is read from them at scrape
time by ``gateway.server.metrics`` and not counted a second time here.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.config import Log


class Event(enum.StrEnum):
    """Names of log lines, noun first."""

    GATEWAY_STARTED = "gateway.started"
    GATEWAY_STOPPING = "gateway.stopping"
    GATEWAY_STOPPED = "gateway.stopped"
    LOG_OPENED = "log.opened"
    LOG_COMMIT_FAILED = "log.commit_failed"
    LOG_COMMIT_REROUTED = "log.commit_rerouted"
    LOG_RECOVERED = "log.recovered"
    LOG_FULL = "log.full"
    LOG_INDEX_FAILED = "log.index_failed"
    LOG_CORRUPT = "log.corrupt"
    LOG_REMOVAL_FAILED = "log.removal_failed"
    LOG_SEGMENT_REMOVED = "log.segment_removed"
    LOG_SEGMENT_COMPACTED = "log.segment_compacted"
    CHECKPOINT_FAILED = "checkpoint.failed"
    LEDGER_IMBALANCED = "ledger.imbalanced"
    DELIVERY_ATTEMPTED = "delivery.attempted"
    DELIVERY_EVENT_REFUSED = "delivery.event_refused"
    DESTINATION_STARTED = "destination.started"
    DESTINATION_STOPPED = "destination.stopped"
    DESTINATION_DEGRADED = "destination.degraded"
    DESTINATION_RECOVERED = "destination.recovered"
    DESTINATION_FAILED = "destination.failed"
    DESTINATION_HELD = "destination.held"
    DESTINATION_SEALED = "destination.sealed"
    DESTINATION_CRASHED = "destination.crashed"
    DESTINATION_DELETED = "destination.deleted"
    ACTION_UNREACHED = "action.unreached"
    ACTIVITY_FAILED = "activity.failed"
    HISTORY_FAILED = "history.failed"
    GAP_RECORDED = "gap.recorded"
    INGEST_REJECTED = "ingest.rejected"
    QUARANTINE_FAILED = "quarantine.failed"
    REQUEST_FAILED = "request.failed"
    SNAPSHOT_FAILED = "snapshot.failed"
    WATCH_CRASHED = "watch.crashed"
    STORE_UNAVAILABLE = "store.unavailable"
    STORE_RECOVERED = "store.recovered"
    TLS_RELOADED = "tls.reloaded"
    TLS_RELOAD_FAILED = "tls.reload_failed"


_PLAIN_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def plain_code(code: str) -> str | None:
    """A code as a log line may carry it. Some providers give their errors names, and whoever runs the other end may
    write there what it likes, pieces of events too: what is not one plain word is left to the API.
    """
    if not code:
        return None
    return code if _PLAIN_CODE.fullmatch(code) else "other"


class Metrics:
    """The process's metrics; ``registry`` is what ``/metrics`` shows."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.commit_seconds = Histogram(
            "gateway_log_commit_seconds",
            "Time of one group commit: write, fdatasync, probe.",
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10),
            registry=registry,
        )
        self.commit_bytes = Counter(
            "gateway_log_written_bytes", "Bytes written to the log, after compression.", registry=registry
        )
        self.commit_failures = Counter(
            "gateway_log_commit_failures", "Commits that the disk failed.", registry=registry
        )
        self.attempt_seconds = Histogram(
            "gateway_attempt_seconds",
            "Duration of one delivery attempt.",
            ["destination"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        self.attempts = Counter(
            "gateway_attempts", "Delivery attempts by what was decided.", ["destination", "decision"], registry=registry
        )
        self.retried_events = Counter(
            "gateway_retried_events", "Events of attempts that have to be repeated.", ["destination"], registry=registry
        )
        self.in_flight_limit = Gauge(
            "gateway_in_flight_limit",
            "How many requests the limiter allows at once.",
            ["destination"],
            registry=registry,
        )
        self.unreached_actions = Gauge(
            "gateway_unreached_actions",
            "Actions seen that no enabled destination of their tenant lets through.",
            registry=registry,
        )

    def forget_destination(self, destination_id: str) -> None:
        """Drop the series of a destination that is gone."""
        for metric in (self.attempt_seconds, self.attempts, self.retried_events, self.in_flight_limit):
            for labels in [key for key in metric._metrics if key[0] == destination_id]:
                metric.remove(*labels)


def _orjson_text(value: Any, default: Any = None, **_: Any) -> str:  # noqa: ANN401 - structlog's serializer signature
    return orjson.dumps(value, default=default or str).decode()


def _drop_empty(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog's processor signature
    return {key: value for key, value in event.items() if value is not None}


class _Unfailing:
    """A stream that may lie on a full disk, or be closed: a line that cannot be written is lost, and what it tells of
    goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure_logging(settings: Log) -> None:
    """Set structlog up for the process: JSON lines, or readable text when standard error is a terminal.

    Tracebacks are plain: structlog's own choice for a terminal shows local variables, and so credentials and events.
    What aiohttp says of cookies is not heard: it repeats what the other end wrote, in lines of its own form.
    """
    logging.getLogger("aiohttp.internal").disabled = True
    as_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    for_people = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = for_people if as_text else structlog.processors.JSONRenderer(_orjson_text)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_empty,
    ]
    if not as_text:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def logger() -> structlog.typing.FilteringBoundLogger:
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound
