"""Elasticsearch's bulk interface: ``create`` with the event's id as ``_id``: an event sent twice is stored once.

``create`` is also the only operation that data streams accept, and they want ``@timestamp``, which is put before the
event's own members. Uniqueness holds within one backing index: after a rollover the same id can be stored again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote, urlencode

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.clock import rfc3339
from gateway.providers.choices import credential, option_error, text_option
from gateway.providers.codec import (
    Batch,
    Codec,
    Context,
    Encoded,
    Field,
    Limits,
    Misconfigured,
    Outcome,
    Provider,
    Reply,
    Request,
    Settings,
    Split,
)
from gateway.providers.elastic_reply import FILTER_PATH, classify_items, read_error
from gateway.providers.endpoint import Endpoint, endpoint_error, parse_endpoint
from gateway.providers.framing import GZIP_BYTES_MIN, Column, bodies
from gateway.providers.reply import by_status, http_code
from gateway.providers.timestamp import epoch_micros

BODY_BYTES_MAX = 5_000_000
EVENTS_MAX = 1_000
ID_BYTES_MAX = 512
REPLY_BYTES_MAX = 16 << 20

_LIMITS = Limits(events_max=EVENTS_MAX, bytes_max=4_500_000)

_KIBANA_HOST = re.compile(r".+\.kb\..+\.(?:found\.io|elastic-cloud\.com|elastic\.cloud)")
_PLAIN_ID_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-"
_INDEX = re.compile(r'(?![-_+])(?!\.{1,2}$)[^A-Z\\/*?"<>|\s,#:]{1,255}')

TOKEN = Field(
    "token",
    "API key",
    "credential",
    required=True,
    secret=True,
    help="Encoded API key, or id:api_key. It needs create_doc on the index, and auto_configure to create the index.",
)
INDEX = Field(
    "index",
    "Index or data stream",
    "option",
    default="truthlocks-audit",
    pattern=r'^(?![-_+])(?!\.{1,2}$)[^A-Z\\/*?"<>|\s,#:]{1,255}$',
    help="Where events are created. An index in the endpoint (…/my-index/_bulk) is used when this is empty.",
)
PIPELINE = Field(
    "pipeline", "Ingest pipeline", "option", help="Ingest pipeline that events pass. Empty: the index's own."
)


class _Members(msgspec.Struct, gc=False):
    id: str
    timestamp: str
    at_timestamp: Raw | UnsetType = msgspec.field(default=UNSET, name="@timestamp")


_decode_members = msgspec.json.Decoder(_Members).decode_lines


class ElasticCodec:
    limits = _LIMITS

    def __init__(self, settings: Settings) -> None:
        token = credential(settings, "token")
        self._key = encoded_api_key(token)
        self._secrets = (token, self._key)
        self._url, index = bulk_target(parse_endpoint(settings.endpoint), settings)
        self._action = f'{{"create":{{"_index":{_json(index)},"_id":'.encode()

    def encode(self, batch: Batch, context: Context) -> Encoded:
        columns = self._columns(batch, context.now_s)
        cut_up = bodies(columns, len(batch), last=b"\n", bytes_max=BODY_BYTES_MAX, events_max=EVENTS_MAX)
        return Encoded(tuple(self._request(body, range(start, stop)) for start, stop, body in cut_up))

    def classify(self, request: Request, reply: Reply, context: Context) -> Outcome:
        if 200 <= reply.status < 300:
            return classify_items(request.positions, reply, self._secrets)
        type_, words = read_error(reply, self._secrets)
        if reply.status == 400:
            return Split(
                f"Elasticsearch refuses the request (HTTP 400): {words}", code=type_ or http_code(400), alone="degrade"
            )
        hint = (
            "" if reply.headers.get("x-elastic-product") else "check that this is Elasticsearch's address, not Kibana's"
        )
        outcome = by_status(reply, context.now_s, words=words, hint=hint if reply.status < 500 else "")
        if isinstance(outcome, Misconfigured) and type_:
            return msgspec.structs.replace(outcome, code=type_)
        return outcome

    def _columns(self, batch: Batch, now_s: float) -> tuple[Column, ...]:
        """The action line, the start of the document, and the rest of the document."""
        events = _decode_members(batch.payload)
        texts = [event.timestamp for event in events]
        opened = {text: _opening(text, now_s) for text in set(texts)}
        openings = [opened[text] for text in texts]
        rests = [line[1:] for line in batch.lines]
        for at in [at for at, event in enumerate(events) if event.at_timestamp is not UNSET]:
            openings[at], rests[at] = b"", batch.lines[at]  # a document may not have the same key twice
        return self._action, _ids([event.id for event in events], batch.lines), b"}}\n", openings, rests, b"\n"

    def _request(self, body: bytes, positions: range) -> Request:
        return Request(
            url=self._url,
            headers=(("Authorization", f"ApiKey {self._key}"), ("Content-Type", "application/x-ndjson")),
            body=body,
            positions=positions,
            gzip=len(body) >= GZIP_BYTES_MIN,
            reply_bytes_max=REPLY_BYTES_MAX,
        )


def encoded_api_key(token: str) -> str:
    """Logstash's rule: base64 and ``essu_…`` stay as they are, ``id:api_key`` is encoded. A pasted ``ApiKey`` goes."""
    scheme, _, rest = token.partition(" ")
    if scheme.lower() == "apikey" and rest.strip():
        token = rest.strip()
    if token.startswith("essu_") or _is_base64(token) or ":" not in token:
        return token
    return base64.b64encode(token.encode()).decode()


def bulk_target(endpoint: Endpoint, settings: Settings) -> tuple[str, str]:
    """The address to post to, and the index. An address that ends in ``/_bulk`` is kept as it is."""
    path = endpoint.path.rstrip("/")
    index = text_option(settings, INDEX)
    if path.endswith("/_bulk"):
        index_of_path = unquote(path.removesuffix("/_bulk").rpartition("/")[2])
        if index_of_path and not settings.options.get(INDEX.name):
            index = index_of_path
    else:
        path = f"{path}/_bulk"
    if not _INDEX.fullmatch(index):
        raise option_error(
            INDEX.name, 'this is not a name of an index: lower case, without spaces and any of \\ / * ? " < > | , # :'
        )
    query = dict(parse_qsl(endpoint.query, keep_blank_values=True))
    pipeline = text_option(settings, PIPELINE)
    if pipeline:
        query["pipeline"] = pipeline
    query["filter_path"] = FILTER_PATH
    return f"{endpoint.base}{path}?{urlencode(query, safe=',*')}", index


def _ids(ids: Sequence[str], lines: Sequence[bytes]) -> list[bytes]:
    """As JSON. Nearly always all of them are plain, and then none is looked at alone."""
    exotic = "".join(ids).encode().translate(None, _PLAIN_ID_CHARACTERS)
    if not exotic and all(ids) and max(map(len, ids)) <= ID_BYTES_MAX:
        return '"{}"'.format('"\n"'.join(ids)).encode().split(b"\n")
    return [_id_json(event_id, line).encode() for event_id, line in zip(ids, lines, strict=True)]


def _opening(timestamp: str, now_s: float) -> bytes:
    """Dates as Elasticsearch reads them; it knows no leap second and no more than nanoseconds."""
    if timestamp[-1:] != "Z" or timestamp[10:11] != "T" or timestamp[17:19] == "60" or len(timestamp) > 30:
        timestamp = _utc_text(timestamp, now_s)
    return f'{{"@timestamp":"{timestamp}",'.encode()


def _id_json(event_id: str, line: bytes) -> str:
    """The id as JSON; a hash of it where Elasticsearch would refuse it as too long, of the event where it is empty."""
    raw = event_id.encode()
    if 0 < len(raw) <= ID_BYTES_MAX:
        return _json(event_id)
    return f'"sha256:{hashlib.sha256(raw or line).hexdigest()}"'


def _utc_text(timestamp: str, now_s: float) -> str:
    """The same moment in the form that every Elasticsearch reads; the present where it is outside its calendar."""
    micros = epoch_micros(timestamp)
    if micros is None:
        return rfc3339(now_s)
    seconds, rest = divmod(micros, 1_000_000)
    try:
        return f"{rfc3339(seconds)[:19]}.{rest:06}Z"
    except (ValueError, OverflowError, OSError):
        return rfc3339(now_s)


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _normalise_endpoint(endpoint: str) -> str:
    parsed = parse_endpoint(endpoint)
    if _KIBANA_HOST.fullmatch(parsed.host) or "/app/" in f"{parsed.path}/":
        raise endpoint_error("this is an address of Kibana; use the Elasticsearch endpoint")
    return parsed.address


def _build(settings: Settings) -> Codec:
    return ElasticCodec(settings)


ELASTIC = Provider(
    name="elastic",
    label="Elastic / ELK",
    fields=(TOKEN, INDEX, PIPELINE),
    endpoint_help="Elasticsearch address, for example https://es.example.com:9200. "
    "A proxy's path after it, /_bulk and /<index>/_bulk are fine.",
    credentials_help="In Kibana, go to Management > Dev Tools and create an ingest pipeline where one is wanted. "
    "Generate an API key with index write permissions (create_doc, and auto_configure to create the index).",
    example_endpoint="https://es.example.com:9200",
    normalise_endpoint=_normalise_endpoint,
    build=_build,
)
