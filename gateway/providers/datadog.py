"""Datadog's log intake, version 2: a JSON array of events, each with Datadog's own members before the event's.

Datadog accepts an event that is older than 18 hours with 202 and throws it away afterwards, which nothing in an answer
tells. Events near that age therefore arrive with the time of arrival: their ``timestamp`` is renamed.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.providers.choices import ENVELOPE_TEXT, credential, option_error, text_option
from gateway.providers.codec import (
    Batch,
    Codec,
    Context,
    Encoded,
    Field,
    Limits,
    Outcome,
    Provider,
    Refusal,
    Reply,
    Request,
    Retry,
    Settings,
    Split,
)
from gateway.providers.endpoint import Endpoint, parse_endpoint
from gateway.providers.framing import GZIP_BYTES_MIN, cut, join_rows
from gateway.providers.members import rename_members, top_level_keys
from gateway.providers.reply import body_words, by_status, http_code, seconds_header
from gateway.providers.timestamp import PerSecond, epoch_micros

BODY_BYTES_MAX = 5_000_000
EVENT_BYTES_MAX = 1_000_000
EVENTS_MAX = 1_000
WINDOW_S = 18 * 3600
AGE_S_MAX = 17 * 3600
AHEAD_S_MAX = 2 * 3600 - 600
TAG_CHARS_MAX, TAGS_CHARS_MAX = 200, 4_096  # of one, where Datadog cuts it off, and of all: they stand in every event

_LIMITS = Limits(events_max=EVENTS_MAX, bytes_max=4_250_000)

# Where Datadog looks for the time of a log: none of them may stand in a late event.
DATE_MEMBERS = frozenset(
    {b"@timestamp", b"timestamp", b"_timestamp", b"Timestamp", b"eventTime", b"date", b"published_date"}
)

SITES = frozenset(
    {
        "datadoghq.com",
        "us3.datadoghq.com",
        "us5.datadoghq.com",
        "ap1.datadoghq.com",
        "ap2.datadoghq.com",
        "uk1.datadoghq.com",
        "datadoghq.eu",
        "ddog-gov.com",
        "us2.ddog-gov.com",
    }
)
_REGIONAL_SITE = re.compile(r"[a-z]{2}\d+\.(?:datadoghq\.com|ddog-gov\.com)")
_SERVICE_LABELS = re.compile(r"(?:(?:[a-z]+-)*http-intake\.logs|intake\.logs|app|api|www)\.")
_INTAKE_PATH = "/api/v2/logs"

TOKEN = Field(
    "token",
    "API key",
    "credential",
    required=True,
    secret=True,
    help="API key of the Datadog organization, not an application key.",
)
SERVICE = Field(
    "service",
    "Service",
    "option",
    pattern=ENVELOPE_TEXT,
    help="Service of every event in Datadog. Empty: the event's own service; else that one is kept as event_service.",
)
SOURCE = Field(
    "source",
    "Source",
    "option",
    default="truthlocks",
    pattern=ENVELOPE_TEXT,
    help="Datadog's ddsource of every event, up to 255 characters.",
)
TAGS = Field(
    "tags",
    "Tags",
    "option",
    type="array",
    help="Tags such as env:prod, as a list or comma-separated. One has up to 200 characters, all have 4,096.",
)
HOSTNAME = Field(
    "hostname",
    "Host name",
    "option",
    pattern=ENVELOPE_TEXT,
    help="Datadog's hostname of every event, up to 255 characters.",
)


class _Members(msgspec.Struct, gc=False):
    """What the envelope is made from, and the event's own members that would meet one of the envelope's."""

    timestamp: str
    action: str
    outcome: str
    at_timestamp: Raw | UnsetType = msgspec.field(default=UNSET, name="@timestamp")
    ddsource: Raw | UnsetType = UNSET
    ddtags: Raw | UnsetType = UNSET
    hostname: Raw | UnsetType = UNSET
    message: Raw | UnsetType = UNSET
    status: Raw | UnsetType = UNSET


_decode_members = msgspec.json.Decoder(_Members).decode_lines


class DatadogCodec:
    limits = _LIMITS

    def __init__(self, settings: Settings) -> None:
        self._token = credential(settings, "token")
        self._url = intake_url(parse_endpoint(settings.endpoint))
        self._service = text_option(settings, SERVICE)
        chosen = {
            "ddsource": text_option(settings, SOURCE),
            "ddtags": _tags(settings),
            "hostname": text_option(settings, HOSTNAME),
            "service": self._service,
        }
        self._constant = {name: value for name, value in chosen.items() if value}

    def encode(self, batch: Batch, context: Context) -> Encoded:
        heads, rests = self._frame(batch, context.now_s)
        sizes = [len(head) + len(rest) + 1 for head, rest in zip(heads, rests, strict=True)]
        if max(sizes, default=0) <= EVENT_BYTES_MAX:
            return Encoded(self._requests(heads, rests, sizes, range(len(batch))))
        kept = [at for at, size in enumerate(sizes) if size <= EVENT_BYTES_MAX]
        refused = tuple(
            Refusal(at, "too_large", f"Datadog cuts logs off at 1 MB and this one has {size} bytes")
            for at, size in enumerate(sizes)
            if size > EVENT_BYTES_MAX
        )
        heads, rests, sizes = [heads[at] for at in kept], [rests[at] for at in kept], [sizes[at] for at in kept]
        return Encoded(self._requests(heads, rests, sizes, kept), refused)

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        words = body_words(reply, (self._token,)) if reply.status >= 300 else ""
        if reply.status == 400:
            return Split(f"Datadog refuses the payload (HTTP 400): {words}", code=http_code(400))
        hint = "check the API key, and that it belongs to this Datadog site" if reply.status in {401, 403} else ""
        outcome = by_status(reply, context.now_s, words=words, hint=hint)
        if isinstance(outcome, Retry) and outcome.throttled and outcome.after_s is None:
            return msgspec.structs.replace(outcome, after_s=seconds_header(reply, "x-ratelimit-reset"))
        return outcome

    def _frame(self, batch: Batch, now_s: float) -> tuple[list[bytes], list[bytes]]:
        """Datadog's members of each event up to the event's own, and the event without its first brace."""
        oldest_s, newest_s = now_s - AGE_S_MAX, now_s + AHEAD_S_MAX
        in_time = PerSecond(lambda second: second is not None and oldest_s <= second <= newest_s)
        known: dict[tuple[str, str], bytes] = {}
        heads: list[bytes] = []
        rests: list[bytes] = []
        renames_service = bool(self._service)
        for event, line in zip(_decode_members(batch.payload), batch.lines, strict=True):
            text = event.timestamp
            late = not (in_time[text[:19]] and text[-1:] == "Z") and _is_late(text, oldest_s, newest_s)
            if late or renames_service or _collides(event):
                head, line = self._frame_slowly(event, line, late=late)  # noqa: PLW2901 - the same line, renamed
            else:
                words = (event.action, event.outcome)
                head = known.get(words) or known.setdefault(words, self._head(event, frozenset(), late=False))
            heads.append(head)
            rests.append(line[1:])
        return heads, rests

    def _frame_slowly(self, event: _Members, line: bytes, *, late: bool) -> tuple[bytes, bytes]:
        names = DATE_MEMBERS if late else frozenset({b"@timestamp"})
        if self._service:
            names |= {b"service"}
        keys = top_level_keys(line)
        own = frozenset(key for _, _, key in keys) - names
        return self._head(event, own, late=late), rename_members(line, keys, names, b"event_")

    def _head(self, event: _Members, own: frozenset[bytes], *, late: bool) -> bytes:
        """``{"ddsource":…,`` without the members that the event has itself: a key must not stand there twice."""
        members: dict[str, str | bool] = {**self._constant, "message": f"{event.action} {event.outcome}"}
        if event.outcome != "SUCCESS":
            members["status"] = "error"  # what has none is info
        if late:
            members["late"] = True
        left = {name: value for name, value in members.items() if name.encode() not in own}
        return msgspec.json.encode(left)[:-1] + b"," if left else b"{"

    def _requests(
        self, heads: list[bytes], rests: list[bytes], sizes: list[int], positions: list[int] | range
    ) -> tuple[Request, ...]:
        requests = []
        for start, stop in cut(sizes, bytes_max=BODY_BYTES_MAX - 1, events_max=EVENTS_MAX):
            body = join_rows((heads, rests, b","), start, stop, first=b"[", last=b"]")
            requests.append(
                Request(
                    url=self._url,
                    headers=(("DD-API-KEY", self._token), ("Content-Type", "application/json")),
                    body=body,
                    positions=positions[start:stop],
                    gzip=len(body) >= GZIP_BYTES_MIN,
                )
            )
        return tuple(requests)


def _collides(event: _Members) -> bool:
    return not (
        event.message is UNSET
        and event.status is UNSET
        and event.at_timestamp is UNSET
        and event.ddsource is UNSET
        and event.ddtags is UNSET
        and event.hostname is UNSET
    )


def _is_late(timestamp: str, oldest_s: float, newest_s: float) -> bool:
    micros = epoch_micros(timestamp)
    return micros is None or not oldest_s <= micros / 1_000_000 <= newest_s


def intake_url(endpoint: Endpoint) -> str:
    """Where logs go: the path as it was typed, or the intake's where there is none."""
    path = endpoint.path.rstrip("/")
    return f"{endpoint.base}{path or _INTAKE_PATH}"


def site_of(host: str) -> str | None:
    """The Datadog site that a host name of theirs belongs to; None for any other host."""
    name = _SERVICE_LABELS.sub("", host, count=1) if _SERVICE_LABELS.match(host) else host
    if name in SITES or _REGIONAL_SITE.fullmatch(name):
        return name
    owners = [site for site in SITES if name.endswith(f".{site}")]
    return max(owners, key=len, default=None)


def _normalise_endpoint(endpoint: str) -> str:
    """An address of Datadog's own becomes that of its site's intake; any other keeps its host."""
    parsed = parse_endpoint(endpoint)
    site = site_of(parsed.host)
    if site is not None:
        return f"{parsed.scheme}://http-intake.logs.{site}{_INTAKE_PATH}"
    prefix, found, _ = parsed.path.partition("/v1/input")  # version 1, whose path may end in the key
    path = f"{prefix}{_INTAKE_PATH}" if found else parsed.path
    return msgspec.structs.replace(parsed, path=path, query="").address


def _tags(settings: Settings) -> str:
    value = settings.options.get(TAGS.name)
    tags = value if isinstance(value, list | tuple) else str(value or "").split(",")
    trimmed = [str(tag).strip() for tag in tags]
    if any(not tag.isprintable() or "," in tag for tag in trimmed):
        raise option_error(TAGS.name, "a tag holds no comma and no control character")
    joined = ",".join(tag for tag in trimmed if tag)
    if len(joined) > TAGS_CHARS_MAX or any(len(tag) > TAG_CHARS_MAX for tag in trimmed):
        limits = f"a tag has at most {TAG_CHARS_MAX} characters, and all of them {TAGS_CHARS_MAX}"
        raise option_error(TAGS.name, limits)
    return joined


def _build(settings: Settings) -> Codec:
    return DatadogCodec(settings)


DATADOG = Provider(
    name="datadog",
    label="Datadog",
    fields=(TOKEN, SERVICE, SOURCE, TAGS, HOSTNAME),
    endpoint_help="Log intake of your Datadog site, for example https://http-intake.logs.datadoghq.com/api/v2/logs "
    "(datadoghq.eu for EU). The name of the site alone is enough.",
    credentials_help="In Datadog, go to Organization Settings > API Keys and create a new API key. "
    "Keys belong to one Datadog site.",
    example_endpoint="https://http-intake.logs.datadoghq.com/api/v2/logs",
    normalise_endpoint=_normalise_endpoint,
    build=_build,
    window_s=WINDOW_S,
)
