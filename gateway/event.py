"""What an audit event is, and which lines are one. Plain functions over bytes.

The common case costs less than a microsecond an event: the whole body is checked as UTF-8 and decoded in C, and a few
searches prove that there is nothing out of the ordinary. Only when one of those checks fails is the body looked at line
by line, to say which lines are wrong and why; that is done in slices, between which others may work.
What is passed on are the producer's bytes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from gateway import scan
from gateway.queue import ALL_TENANTS, Entry, Subject, SubjectKind

EVENT_BYTES_MIN = len(
    b'{"id":"x","timestamp":"2026-06-30T12:34:56Z","tenant_id":"x","actor_type":"","actor_id":"","action":"",'
    b'"resource_type":"","resource_id":"","service":"","outcome":""}'
)
TENANT_ID_CHARS_MAX = 128
NESTING_MAX = 512  # objects and arrays within one another; delivery decodes events on a deeper stack
SLICE_BYTES, STEP_LINES = 32 << 10, 512  # of a body that is looked at line by line: a few milliseconds of work
AT_ONCE_BYTES_MAX = 1 << 20  # of an array, so that it keeps others waiting for no longer than NDJSON does
_WHITE = b" \t\r\n"
_OPENS, _CLOSES = b"{}"

_Text = Annotated[str, Meta(min_length=1)]
T = TypeVar("T")


class Members(msgspec.Struct, gc=False):
    """Any members, checked as JSON all the way down."""  # and, having no fields here, read over without a copy


class AuditEvent(msgspec.Struct, gc=False):
    """The members that every event must have, and the two that must be of their type where present.

    Other members may be there.
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
    metadata: Members | msgspec.UnsetType = msgspec.UNSET
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
_OFFSET_WITHOUT_COLON = re.compile(rb'"timestamp"[ \t\r]*:[ \t\r]*"[^"]*[+-]\d{4}"')
_LEAP_SECOND = re.compile(rb'("timestamp"[ \t\r]*:[ \t\r]*"[^"]*T\d\d:\d\d:)60', re.IGNORECASE)
_NOT_BLANK = re.compile(rb"[^ \t\r\n][^\n]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BRACKET_OR_TEXT = re.compile(rb'[\[\]{}]|%b"' % scan.UNENDED_STRING)
_STEP = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def check(body: bytes, rules: Rules, *, first_line: int = 1) -> Checked:
    """Check NDJSON. ``first_line`` is the number of its first line within the request."""
    *_, checked = checking(body, rules, first_line=first_line)
    assert checked is not None
    return checked


def checking(body: bytes, rules: Rules, *, first_line: int = 1) -> Iterator[Checked | None]:
    """``check`` in steps of a few milliseconds: None until the last of them, which is the result."""
    if not body.strip(_WHITE):
        yield Checked([], 0, [], body.count(b"\n") + 1)
        return
    at_once = check_at_once(body, rules)
    if at_once is None:
        sorting = _Sorting(rules, first_line)
        for text in _slices(body):
            yield from sorting.take_text(text)
        at_once = sorting.checked()
    yield at_once


def check_objects(objects: Sequence[bytes], rules: Rules) -> Checked:
    """Check the elements of an array; ``line`` of a rejection is the element's number."""
    *_, checked = checking_objects(objects, rules)
    assert checked is not None
    return checked


def checking_objects(objects: Sequence[bytes], rules: Rules) -> Iterator[Checked | None]:
    """``check_objects`` in steps, as ``checking``."""
    if sum(map(len, objects)) <= AT_ONCE_BYTES_MAX:
        at_once = check_at_once(b"\n".join(objects), rules)
        if at_once is not None:
            yield at_once
            return
    sorting = _Sorting(rules, 1)
    size = 0
    first = 0
    for behind, element in enumerate(objects, 1):
        size += len(element) + 1
        if size >= SLICE_BYTES:
            sorting.take(objects[first:behind])
            first, size = behind, 0
            yield None
    sorting.take(objects[first:])
    yield sorting.checked()


def check_at_once(body: bytes, rules: Rules) -> Checked | None:
    """Check NDJSON in which nothing is out of the ordinary; None for any other."""
    text = body.removesuffix(b"\n")
    try:
        if not text.isascii():
            text.decode()
        events = _decode_shallow(_decoder.decode_lines, text)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return None
    if not _all_plain(text, len(events)) or _lacks_a_colon(text, events):
        return None
    if len(text) > rules.event_bytes_max and not _lines_fit(text, rules.event_bytes_max):
        return None
    tenants = {event.tenant_id for event in events}
    if not all(_may_use(tenant_id, rules) for tenant_id in tenants):
        return None
    if rules.subject is not None or len(tenants) == 1:
        entries = [Entry(rules.subject or _stream_of(events[0].tenant_id), text, len(events))]
    else:
        entries = _by_tenant(events, text)
    return Checked(entries, len(events), [], len(events) + (len(text) != len(body)))


def _decode_shallow(decode: Callable[[bytes], T], data: bytes) -> T:
    """Raises RecursionError for what is nested deeper than NESTING_MAX, and for a little less the deeper the stack is.

    What can only just be decoded here could not be where the stack is deeper, and would stop its destinations. From
    Python 3.12 on the bound of C code is one of its own, the same on every stack.
    """
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(NESTING_MAX)
    try:
        return decode(data)
    finally:
        sys.setrecursionlimit(usual)


def _decode_exactly(line: bytes) -> AuditEvent:
    """Raises RecursionError for what is nested deeper than NESTING_MAX, whatever the stack."""
    try:
        return _decode_shallow(_decoder.decode, line)
    except RecursionError:
        if _is_too_deep(line):
            raise
        return _decoder.decode(line)


def _is_too_deep(line: bytes) -> bool:
    depth = 0
    for match in _BRACKET_OR_TEXT.finditer(line):
        depth += _STEP.get(match[0], 0)
        if depth > NESTING_MAX:
            return True
    return False


def _by_tenant(events: Sequence[AuditEvent], text: bytes) -> list[Entry]:
    """One entry for each tenant; ``text`` is a line for each event."""
    by_tenant: dict[str, list[bytes]] = {}
    for event, line in zip(events, text.split(b"\n"), strict=True):
        by_tenant.setdefault(event.tenant_id, []).append(line)
    return [Entry(_stream_of(name), b"\n".join(theirs), len(theirs)) for name, theirs in by_tenant.items()]


def _all_plain(text: bytes, events: int) -> bool:
    """Whether a text in which so many events were found needs no closer look: each is a line without white space around
    it, and names its tenant once.

    The decoder takes events that share a line, or spread over several. Within JSON no ``}`` is followed by a line that
    begins with ``{``: where that is so between all of them and nowhere else a line ends, each has one.
    """
    return (
        events > 0
        and text[0] == _OPENS
        and text[-1] == _CLOSES
        and scan.count(text, b"}\n{") == events - 1
        and scan.count(text, b"\n") == events - 1
        and scan.count(text, b'"tenant_id"') == events
        and scan.find(text, b"\\u00") < 0
    )


def _lines_fit(text: bytes, bytes_max: int) -> bool:
    start = 0
    while len(text) - start > bytes_max:
        end = text.rfind(b"\n", start, start + bytes_max + 1)
        if end < 0:
            return False
        start = end + 1
    return True


@lru_cache(1 << 12)
def _stream_of(tenant_id: str) -> Subject:
    return Subject(SubjectKind.TENANT, tenant_id)


@lru_cache(1 << 12)
def _is_tenant(tenant_id: str) -> bool:
    return tenant_id != ALL_TENANTS and _CONTROL.search(tenant_id) is None


def _lacks_a_colon(text: bytes, events: Sequence[AuditEvent]) -> bool:
    """Whether an offset is written like ``+0100``, which the decoder takes. Ids may end like that too, so that only a
    timestamp counts; which is looked for where an offset is not UTC or may be a zero without a colon.
    """
    may_lack = (
        any([event.timestamp.tzinfo is not UTC for event in events])  # noqa: C419 - half the time
        or scan.find(text, b'+0000"') >= 0
        or scan.find(text, b'-0000"') >= 0
    )
    return may_lack and _OFFSET_WITHOUT_COLON.search(text) is not None


def _may_use(tenant_id: str, rules: Rules) -> bool:
    return rules.tenant_id in (ALL_TENANTS, tenant_id) and _is_tenant(tenant_id)


def _slices(body: bytes) -> Iterator[bytes]:
    """The body cut at line ends, into about SLICE_BYTES each."""
    start = 0
    while (end := body.find(b"\n", start + SLICE_BYTES)) >= 0:
        yield body[start:end]
        start = end + 1
    yield body[start:]


class _Sorting:
    """Lines one by one: the good ones by their subject, what is wrong with the others, and how many there are."""

    def __init__(self, rules: Rules, first_line: int) -> None:
        self._rules = rules
        self._first_line = self._next_line = first_line
        self._by_subject: dict[Subject, list[bytes]] = {}
        self._rejections: list[Rejection] = []
        self._accepted = self._rejected = 0

    def take_text(self, text: bytes) -> Iterator[None]:
        """In steps, as ``checking``."""
        yield None
        if self._tells_no_more and b"{" not in text:
            self._rejected += len(_NOT_BLANK.findall(text))
            self._next_line += text.count(b"\n") + 1
            return
        lines = text.split(b"\n")
        for first in range(0, len(lines), STEP_LINES):
            self.take(lines[first : first + STEP_LINES])
            yield None

    def take(self, lines: Sequence[bytes]) -> None:
        for number, raw in enumerate(lines, self._next_line):
            line = raw.strip(_WHITE)
            if not line:
                continue
            if self._tells_no_more and (len(line) < EVENT_BYTES_MIN or not line.startswith(b"{")):
                self._rejected += 1
            else:
                self._sort(number, line)
        self._next_line += len(lines)

    @property
    def _tells_no_more(self) -> bool:
        """Enough was refused: of further lines that cannot be events nobody is told why."""
        return self._rejected >= self._rules.rejections_max

    def _sort(self, number: int, line: bytes) -> None:
        tenant_id, problem = _examine(line, self._rules)
        if not problem:
            subject = self._rules.subject or _stream_of(tenant_id)
            self._by_subject.setdefault(subject, []).append(line)
            self._accepted += 1
            return
        self._rejected += 1
        if self._rejected <= self._rules.rejections_max:
            self._rejections.append(Rejection(number, readable_id(line), problem, line))

    def checked(self) -> Checked:
        entries = [Entry(subject, b"\n".join(good), len(good)) for subject, good in self._by_subject.items()]
        lines = self._next_line - self._first_line
        return Checked(entries, self._accepted, self._rejections, lines, self._rejected)


def _examine(line: bytes, rules: Rules) -> tuple[str, str]:
    """The event's tenant, and what is wrong with the line (empty: nothing)."""
    if len(line) > rules.event_bytes_max:
        return "", f"the event has {len(line)} bytes, over the {rules.event_bytes_max} that one may have"
    problem = _not_json(line)
    if problem:
        return "", problem
    try:
        event = _decode_exactly(_LEAP_SECOND.sub(rb"\g<1>59", line))
        return event.tenant_id, _problem_of(event, line, rules)
    except msgspec.ValidationError as error:
        return "", _explain(error)
    except msgspec.DecodeError as error:
        return "", f"not one JSON object on the line: {error}"
    except RecursionError:
        return "", f"objects or arrays are nested too deep: {NESTING_MAX} within one another are possible"


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
        return "`tenant_id` is another tenant: the key, or the destination of a backfill, takes its own tenant's only"
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
