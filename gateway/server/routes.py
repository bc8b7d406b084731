"""Every route, as data: aiohttp's table and the OpenAPI document are both made from it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.delivery.health import TestResult
from gateway.destinations.store import Scope
from gateway.queue import Ledger
from gateway.server import activity, books, destinations, ingest, keys, parameters, preview, signals, stats, stream
from gateway.server.call import Handler
from gateway.server.requests import (
    DestinationChanges,
    DestinationDraft,
    DestinationPatch,
    KeyDraft,
    NewDestination,
    PreviewRequest,
)
from gateway.server.shapes import (
    ActivityPage,
    AttemptPage,
    Chosen,
    DeadLetterPage,
    DestinationPage,
    DestinationView,
    GapPage,
    HealthAnswer,
    KeyPage,
    NewKey,
    Preview,
    ProviderPage,
    Removed,
    Replayed,
    Stats,
    StatsPage,
    WhoAmI,
)

EVENTS_BODY = "events"  # NDJSON or JSON, worked through as it comes


class Route(msgspec.Struct, frozen=True):
    """``answers`` maps a status to the type of its body, None where there is none. ``is_open``: no key is needed.

    ``body`` is the type that a JSON body has, or EVENTS_BODY. ``downloads`` says that ``?format=ndjson``
    gives the same as a file. ``headers`` are those of a good answer that clients use.
    ``makes`` is the path of what the route makes, whose id stands in the answer. One that ``shows_secret`` is not kept
    for ``Idempotency-Key``.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, type | None]
    scope: Scope | None = None
    is_open: bool = False
    body: type | str | None = None
    body_required: bool = True
    parameters: tuple[parameters.Parameter, ...] = ()
    text: str = ""
    problems: tuple[int, ...] = ()
    media_type: str = "application/json"
    downloads: bool = False
    body_types: tuple[str, ...] = ("application/json",)
    headers: tuple[str, ...] = ()
    makes: str = ""
    shows_secret: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether requests count towards the key's limit. Taking events in has bounds of its own."""
        return not self.is_open and self.body != EVENTS_BODY

    @property
    def answers_head(self) -> bool:
        """As every GET does (RFC 9110, section 9.3.2): with what it would have answered, less the body. A stream has no
        end to wait for.
        """
        return self.method == "GET" and self.media_type != "text/event-stream"

    @property
    def is_repeatable(self) -> bool:
        return parameters.IDEMPOTENCY_KEY in self.parameters


_ONE = "/v1/audit/siem/{id}"
_STREAM_TEXT = """\
Server-sent events. First `snapshot` with `{"data": [destination, …]}`; then `destination` with one whole destination
whenever something of it changed, at most once a second for each; `removed` with `{"id"}`; `heartbeat` with `{"at"}`
every 5 seconds. Read it with a client that can send the key in a header."""
_INGEST_TEXT = """\
Answers only once every accepted event is on stable storage. NDJSON may be of any length and is worked through as it
comes; an array or a single object must fit `ingest.body_max`. `Content-Encoding` may be gzip, zstd or deflate.

With 207 the valid events are durable; the others are listed and kept in the quarantine. When the queue fills in the
midst of a body, what was stored stays stored: the answer is then 207 with an error for each stretch of lines that were
not taken, which names them; send those again. With 400, 413, 415, 429 and 503 nothing was taken."""

_CLOSED_TEXT = """\
409 while the destination is disabled, has failed or is being deleted, since these events would only become a gap:
enable it first."""

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/audit/events",
        ingest.post_events,
        "Take events in",
        {202: ingest.Accepted, 207: ingest.PartlyAccepted},
        scope=Scope.EVENTS_WRITE,
        body=EVENTS_BODY,
        text=_INGEST_TEXT,
        problems=(400, 408, 413, 415, 429, 503),
    ),
    Route(
        "POST",
        "/v1/audit/siem",
        destinations.create,
        "Create a destination",
        {201: DestinationView},
        scope=Scope.SIEM_WRITE,
        headers=("Location", "ETag"),
        makes=_ONE,
        parameters=(parameters.IDEMPOTENCY_KEY,),
        body=NewDestination,
        problems=(400, 409, 413, 422, 503),
    ),
    Route(
        "GET",
        "/v1/audit/siem",
        destinations.list_all,
        "List destinations",
        {200: DestinationPage},
        scope=Scope.SIEM_READ,
        parameters=(
            parameters.LIMIT,
            parameters.CURSOR,
            parameters.Parameter("status", "Only those in this state.", {"enum": ["active", "degraded", "failed"]}),
            parameters.Parameter("provider", "Only those of this provider.", {"type": "string"}),
        ),
        problems=(400,),
    ),
    Route(
        "POST",
        "/v1/audit/siem/test",
        destinations.test_unstored,
        "Send a marked test event to a destination that is not stored",
        {200: TestResult},
        scope=Scope.SIEM_WRITE,
        body=NewDestination,
        problems=(400, 413, 422),
    ),
    Route(
        "GET",
        "/v1/audit/siem/providers",
        destinations.providers,
        "The providers and the fields of their forms",
        {200: ProviderPage},
    ),
    Route(
        "GET",
        "/v1/audit/siem/stats",
        stats.of_all,
        "Deliveries of each destination over the last day",
        {200: StatsPage},
        scope=Scope.SIEM_READ,
        parameters=(parameters.window(stats.SPARKLINES, "24h"),),
        problems=(400, 503),
    ),
    Route(
        "GET",
        "/v1/audit/siem/stream",
        stream.watch,
        "Watch the destinations",
        {200: str},
        scope=Scope.SIEM_READ,
        text=_STREAM_TEXT,
        problems=(503,),
        media_type="text/event-stream",
    ),
    Route(
        "POST",
        "/v1/audit/siem/filter/preview",
        preview.preview,
        "Try a filter on the newest events",
        {200: Preview},
        scope=Scope.SIEM_READ,
        body=PreviewRequest,
        text="Looks at the newest events of the tenant, at most 1,000, that are still in the queue.",
        problems=(400, 413, 422, 503),
    ),
    Route(
        "GET",
        _ONE,
        destinations.show,
        "Show a destination",
        {200: DestinationView, 304: None},
        scope=Scope.SIEM_READ,
        parameters=(parameters.IF_NONE_MATCH,),
        headers=("ETag",),
        problems=(404,),
    ),
    Route(
        "PUT",
        _ONE,
        destinations.update,
        "Change a destination",
        {200: DestinationView},
        scope=Scope.SIEM_WRITE,
        body=DestinationChanges,
        parameters=(parameters.VERIFY, parameters.IF_MATCH),
        text=(
            "Changes the members given and leaves the others. It applies at once to everything that is not in flight. "
            "`enabled: true` starts a failed destination again."
        ),
        problems=(400, 404, 409, 412, 413, 422, 503),
        headers=("ETag",),
    ),
    Route(
        "PATCH",
        _ONE,
        destinations.patch,
        "Change a destination by a JSON merge patch",
        {200: DestinationView},
        scope=Scope.SIEM_WRITE,
        body=DestinationPatch,
        parameters=(parameters.VERIFY, parameters.IF_MATCH),
        text=(
            "RFC 7396: objects are merged, also `filter` and those within `options`; null takes a credential or an "
            "option away and brings the default of any other member back. All else is as with PUT."
        ),
        problems=(400, 404, 409, 412, 413, 415, 422, 503),
        body_types=destinations.PATCH_TYPES,
        headers=("ETag",),
    ),
    Route(
        "DELETE",
        _ONE,
        destinations.delete,
        "Delete a destination",
        {202: DestinationView, 204: None},
        scope=Scope.SIEM_WRITE,
        parameters=(
            parameters.Parameter(
                "timeout",
                "How many seconds to wait for the flush.",
                {"type": "integer", "minimum": 0, "maximum": 300, "default": 30},
            ),
            parameters.Parameter("force", "Drop what is left, into a gap.", {"type": "boolean", "default": False}),
            parameters.IF_MATCH,
        ),
        text="Takes no new events, delivers what it holds, then removes it: 204. Not in time: 202, and it goes on.",
        problems=(400, 404, 412, 503),
    ),
    Route(
        "POST",
        f"{_ONE}/test",
        destinations.test_stored,
        "Send a marked test event to a destination",
        {200: TestResult},
        scope=Scope.SIEM_WRITE,
        body=DestinationDraft,
        body_required=False,
        problems=(400, 404, 409, 413, 422),
    ),
    Route(
        "GET",
        f"{_ONE}/attempts",
        books.attempts,
        "The newest delivery attempts",
        {200: AttemptPage},
        scope=Scope.SIEM_READ,
        parameters=(parameters.LIMIT, parameters.NUMBER),
        problems=(400, 404),
    ),
    Route(
        "GET",
        f"{_ONE}/stats",
        stats.of_destination,
        "Deliveries over time",
        {200: Stats},
        scope=Scope.SIEM_READ,
        parameters=(parameters.window(stats.WINDOWS, "1h"),),
        problems=(400, 404, 503),
    ),
    Route(
        "GET",
        f"{_ONE}/activity",
        activity.of_destination,
        "Who changed it, and how it fared",
        {200: ActivityPage},
        scope=Scope.SIEM_READ,
        parameters=(parameters.LIMIT, parameters.CURSOR),
        problems=(400, 404, 503),
    ),
    Route(
        "GET",
        f"{_ONE}/gaps",
        books.gaps,
        "The events that it did not get, and why",
        {200: GapPage},
        scope=Scope.SIEM_READ,
        parameters=(parameters.LIMIT_OR_ALL, parameters.NUMBER, parameters.FORMAT),
        problems=(400, 404),
        downloads=True,
    ),
    Route(
        "GET",
        f"{_ONE}/ledger",
        books.ledger,
        "The books, in events",
        {200: Ledger},
        scope=Scope.SIEM_READ,
        problems=(404,),
    ),
    Route(
        "GET",
        f"{_ONE}/dead-letters",
        books.dead_letters,
        "Events that the provider refused for good",
        {200: DeadLetterPage},
        scope=Scope.SIEM_READ,
        parameters=(parameters.LIMIT, parameters.NUMBER, parameters.FORMAT),
        problems=(400, 404),
        downloads=True,
    ),
    Route(
        "DELETE",
        f"{_ONE}/dead-letters",
        books.delete_dead_letters,
        "Forget dead letters",
        {200: Removed},
        scope=Scope.SIEM_WRITE,
        body=Chosen,
        body_required=False,
        text="They stay counted as dead-lettered.",
        problems=(400, 404, 422),
    ),
    Route(
        "POST",
        f"{_ONE}/dead-letters/replay",
        books.replay_dead_letters,
        "Send dead letters again",
        {200: Replayed},
        scope=Scope.SIEM_WRITE,
        body=Chosen,
        body_required=False,
        parameters=(parameters.IDEMPOTENCY_KEY,),
        text=f"{_CLOSED_TEXT} The dead letters stay then.",
        problems=(400, 404, 409, 413, 422, 429, 503),
    ),
    Route(
        "POST",
        f"{_ONE}/backfill",
        ingest.post_backfill,
        "Send an audit export to this destination alone",
        {202: ingest.Accepted, 207: ingest.PartlyAccepted},
        scope=Scope.SIEM_WRITE,
        body=EVENTS_BODY,
        text=f"{_INGEST_TEXT}\n\n{_CLOSED_TEXT}",
        problems=(400, 404, 408, 409, 413, 415, 429, 503),
    ),
    Route(
        "GET",
        "/v1/audit/activity",
        activity.of_all,
        "Who changed what",
        {200: ActivityPage},
        scope=Scope.SIEM_READ,
        parameters=(parameters.LIMIT, parameters.CURSOR),
        text="Changes of destinations and keys, and how destinations fared; also of those that are gone.",
        problems=(400, 503),
    ),
    Route("GET", "/v1/audit/whoami", destinations.who_am_i, "What the key may do", {200: WhoAmI}),
    Route(
        "GET",
        "/v1/audit/keys",
        keys.list_all,
        "List API keys",
        {200: KeyPage},
        scope=Scope.KEYS_WRITE,
        parameters=(parameters.LIMIT, parameters.CURSOR),
        problems=(400,),
    ),
    Route(
        "POST",
        "/v1/audit/keys",
        keys.create,
        "Make an API key",
        {201: NewKey},
        scope=Scope.KEYS_WRITE,
        headers=("Location",),
        makes="/v1/audit/keys/{id}",
        parameters=(parameters.IDEMPOTENCY_KEY,),
        shows_secret=True,
        text="The key is shown this once: sent again with the same `Idempotency-Key` it is 409, with its `Location`.",
        body=KeyDraft,
        problems=(400, 409, 413, 422, 503),
    ),
    Route(
        "DELETE",
        "/v1/audit/keys/{id}",
        keys.revoke,
        "Revoke an API key",
        {204: None},
        scope=Scope.KEYS_WRITE,
        problems=(404, 409, 503),
    ),
    Route("GET", "/healthz", signals.alive, "Alive", {200: HealthAnswer}, is_open=True),
    Route("GET", "/readyz", signals.ready, "Ready to take events", {200: HealthAnswer}, is_open=True, problems=(503,)),
    Route(
        "GET",
        "/metrics",
        signals.metrics,
        "Prometheus metrics",
        {200: str},
        is_open=True,
        media_type="text/plain",
    ),
)
