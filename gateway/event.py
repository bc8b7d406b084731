"""What an audit event is, and which lines are one. Plain functions over bytes.

The common case costs about a microsecond an event: the whole body is checked as UTF-8 and decoded line by line in C,
and a few counts prove that each line is exactly one object. Only when one of those checks fails is the body looked at
line by line, to say which lines are wrong and why. What is passed on are the producer's bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.queue import ALL_TENANTS, Entry, Subject, SubjectKind

TENANT_ID_CHARS_MAX = 128
_WHITE = b" \t\r\n"

_Text = Annotated[str, Meta(min_length=1)]


class AuditEvent(msgspec.Struct, gc=False):
    """The members that every event must have, and the two that must be of their type where present.

    Other members may be there. ``metadata`` is kept raw, but checked as JSON all the way down.
    """

    id: _Text
    timestamp: Annotated[datetime, Meta(tz=True)]
    tenant_id: Annotated[str, Meta(min_length=1, max_length=TENANT_ID_CHARS_MAX)]
    actor_type: str
    actor_id: str
    action: str
    resource_type: str
    resource_id: str
    service: str
    outcome: str
    metadata: dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    integrity_hash: str | msgspec.UnsetType = msgspec.UNSET


class Rejection(msgspec.Struct, frozen=True):
    """A line that was not taken. ``line`` counts from 1 over the whole request; ``id`` is None when it cannot be
    read.
    """

    line: int
    id: str | None
    message: str
    raw: bytes = b""


class Checked(msgspec.Struct, frozen=True):
    """What a piece of a body came to: entries for the queue, in order for each tenant, and what was refused.

    ``rejected`` counts all that were; ``rejections`` holds the first of them, as many as the rules let be kept.
    """

    entries: list[Entry]
    accepted: int
    rejections: list[Rejection]
    lines: int
    rejected: int = 0


class Rules(msgspec.Struct, frozen=True):
    """``tenant_id`` restricts whose events may come in; ALL_TENANTS lets everybody's.

    ``subject`` addresses all of them to one place instead of their tenants' streams (a backfill).
    """

    event_bytes_max: int
    tenant_id: str = ALL_TENANTS
    subject: Subject | None = None
    rejections_max: int = 1_000


_decoder = msgspec.json.Decoder(AuditEvent)
_OFFSET_WITHOUT_COLON = re.compile(rb'"timestamp"[ \t]*:[ \t]*"[^"]*[+-]\d{4}"')
_LEAP_SECOND = re.compile(rb'("timestamp"[ \t]*:[ \t]*"[^"]*T\d\d:\d\d:)60', re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check(body: bytes, rules: Rules, *, first_line: int = 1) -> Checked:
    """Check NDJSON. ``first_line`` is the number of its first line within the request."""
    if not body.strip(_WHITE):
        return Checked([], 0, [], body.count(b"\n") + 1)
    return _check_at_once(body, rules) or _check_lines(body.split(b"\n"), rules, first_line)


def check_objects(objects: Sequence[bytes], rules: Rules) -> Checked:
    """Check the elements of an array; ``line`` of a rejection is the element's number."""
    return _check_lines(objects, rules, 1)


def _check_at_once(body: bytes, rules: Rules) -> Checked | None:
    """None when anything is out of the ordinary."""
    text = body.removesuffix(b"\n")
    breaks = text.count(b"\n")
    if not text.startswith(b"{") or not text.endswith(b"}") or text.count(b"}\n{") != breaks:
        return None
    try:
        text.decode()
        events = _decoder.decode_lines(text)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return None
    count = len(events)
    if count != breaks + 1 or text.count(b'"tenant_id"') != count or (b"\\" in text and b"\\u00" in text):
        return None
    if _lacks_a_colon(text) or any(event.timestamp.tzinfo is not UTC for event in events):
        return None
    if len(text) > rules.event_bytes_max and max(map(len, text.split(b"\n"))) > rules.event_bytes_max:
        return None
    tenants = {event.tenant_id for event in events}
    if len(tenants) != 1 or not _may_use(next(iter(tenants)), rules):
        return None
    subject = rules.subject or Subject(SubjectKind.TENANT, events[0].tenant_id)
    return Checked([Entry(subject, text, count)], count, [], body.count(b"\n") + 1)


def _lacks_a_colon(text: bytes) -> bool:
    """Whether an offset of zero is written ``+0000``, which the decoder takes for UTC. Ids may end like that too, so
    that only a timestamp counts. Each look is slower than the one before, and five bytes are found fastest.
    """
    return any(
        sign in text and sign + b'"' in text and _OFFSET_WITHOUT_COLON.search(text) is not None
        for sign in (b"+0000", b"-0000")
    )


def _may_use(tenant_id: str, rules: Rules) -> bool:
    if _CONTROL.search(tenant_id) or tenant_id == ALL_TENANTS:
        return False
    return rules.tenant_id in (ALL_TENANTS, tenant_id)


def _check_lines(lines: Iterable[bytes], rules: Rules, first_line: int) -> Checked:
    by_subject: dict[Subject, list[bytes]] = {}
    rejections: list[Rejection] = []
    accepted = rejected = seen = 0
    for number, raw in enumerate(lines, first_line):
        seen += 1
        line = raw.strip(_WHITE)
        if not line:
            continue
        tenant_id, problem = _examine(line, rules)
        if problem:
            rejected += 1
            if rejected <= rules.rejections_max:
                rejections.append(Rejection(number, readable_id(line), problem, line))
            continue
        subject = rules.subject or Subject(SubjectKind.TENANT, tenant_id)
        by_subject.setdefault(subject, []).append(line)
        accepted += 1
    entries = [Entry(subject, b"\n".join(good), len(good)) for subject, good in by_subject.items()]
    return Checked(entries, accepted, rejections, seen, rejected)


def _examine(line: bytes, rules: Rules) -> tuple[str, str]:
    """The event's tenant, and what is wrong with the line (empty: nothing)."""
    if len(line) > rules.event_bytes_max:
        return "", f"the event has {len(line)} bytes, over the {rules.event_bytes_max} that one may have"
    problem = _not_json(line)
    if problem:
        return "", problem
    try:
        event = _decoder.decode(_LEAP_SECOND.sub(rb"\g<1>59", line))
        return event.tenant_id, _problem_of(event, line, rules)
    except msgspec.ValidationError as error:
        return "", _explain(error)
    except msgspec.DecodeError as error:
        return "", f"not one JSON object on the line: {error}"
    except RecursionError:
        return "", "objects or arrays are nested too deep"


def _not_json(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"not valid UTF-8: byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line"
    if not line.startswith(b"{"):
        return "not a JSON object: a line must hold one object and nothing else"
    return ""


def _problem_of(event: AuditEvent, line: bytes, rules: Rules) -> str:
    if event.tenant_id == ALL_TENANTS:
        return '`tenant_id` must name one tenant; "*" stands for all of them'
    if _CONTROL.search(event.tenant_id):
        return "`tenant_id` holds a control character"
    if rules.tenant_id not in (ALL_TENANTS, event.tenant_id):
        return "`tenant_id` is not the tenant of this key: a tenant's key takes in its own tenant's events only"
    if line.count(b'"tenant_id"') == 1 and b"\\u00" not in line and _OFFSET_WITHOUT_COLON.search(line) is None:
        return ""
    members = _top_level(line)
    if [name for name, _ in members].count("tenant_id") > 1:
        return "`tenant_id` stands twice in the event, so that readers may differ on whose it is"
    if re.search(r"[+-]\d{4}$", str(dict(members)["timestamp"])) is not None:
        return "`timestamp` must be RFC 3339, with a zone such as Z or +01:00"
    return ""


def _top_level(line: bytes) -> list[tuple[str, object]]:
    """The members of the object, repeated ones too. Slow; for lines that gave cause."""
    pairs: list[tuple[str, object]] = []

    def keep(members: list[tuple[str, object]]) -> None:
        pairs[:] = members  # the outermost object is the last to be closed

    json.loads(line, object_pairs_hook=keep, parse_int=str)  # int() refuses more than 4300 digits
    return pairs


_PATH = re.compile(r" - at `\$\.(\w+)[^`]*`$")


def _explain(error: msgspec.ValidationError) -> str:
    """Msgspec's words with the member in front."""
    text = str(error)
    match = _PATH.search(text)
    if match is None:
        return text.replace("Object missing required field", "missing required member")
    what = text[: match.start()]
    if match[1] == "timestamp":
        return (
            f"`timestamp` must be RFC 3339 with a zone, such as 2026-06-30T12:34:56.789Z ({what[0].lower()}{what[1:]})"
        )
    return f"`{match[1]}`: {what[0].lower()}{what[1:]}"


_ID = re.compile(rb'"id"\s*:\s*"((?:[^"\\]|\\.){1,512})"')


def readable_id(line: bytes) -> str | None:
    """The id of a line that may not even be JSON, for its owner to find it by."""
    match = _ID.search(line[:4096])
    return match[1].decode(errors="replace") if match else None
