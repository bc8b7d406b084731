"""The checks of events against a second opinion: Python's own JSON reader and a dozen lines of rules.

Random damage is done to good events. Whatever comes of it, ``check`` and the model must agree, and a body that is
checked at once must come to the same as its lines one by one.
"""

from __future__ import annotations

import json
import re
from datetime import datetime

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.event import Rules, check, check_at_once, check_objects, checking
from gateway.queue import Entry
from tests.events import REAL_EVENTS, REQUIRED, event

RULES = Rules(event_bytes_max=8 << 10)
TENANT_RULES = Rules(event_bytes_max=8 << 10, tenant_id="acme")

TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
WHITE = b" \t\r\n"

GOOD = [
    event(),
    event(2, tenant_id="other"),
    event(3, timestamp="2026-06-30T12:34:56.123456+05:30"),
    event(4, timestamp="2016-12-31T23:59:60Z", metadata={"tenant_id": 1, "timestamp": "2026-06-30T12:34:56+0100"}),
    event(5, note="é\u2028😀", metadata={"deep": [[{"a": [1.5e300, -0.0, None, True, ""]}]]}),
    event(6, without="metadata"),
    json.dumps(json.loads(event(7, note="é")), ensure_ascii=False).encode(),
    *REAL_EVENTS.read_bytes().splitlines()[:40:8],
]
PIECES = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\r", b"\t", b"\0", b"\x0b", b"\x1f", b"\x7f"),
    *(
        b"null",
        b"true",
        b"false",
        b"NaN",
        b"Infinity",
        b"-",
        b"+",
        b".",
        b"e",
        b"E5",
        b"0",
        b"1",
        b"01",
        b"1e400",
        b"9",
    ),
    *(rb"\u0000", rb"\ud800", rb"\udc00", rb"\ud83d\ude00", rb"\u0041", rb"\"", rb"\x", rb"\/", b"/", b"'"),
    *(
        b"\xff",
        b"\xc3",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\xc2\x85",
    ),
    *(b"}\n{", b'{"a":1}', b"[1]", b'"x"', b'"tenant_id":"acme",', b'"tenant_id":', rb'"tenant\u005fid":"acme",'),
    *(
        b'"timestamp":"2026-06-30T12:34:56+0100",',
        b"+0000",
        b"Z",
        b"60",
        b"T",
        b'"metadata":[],',
        b'"id":1,',
        b'"id":"",',
    ),
    *(b'"*"', b'"other"', b'"acme"', b"1" * 5000, b"[" * 60 + b"]" * 60),
]


def reject_constant(text: str) -> object:
    raise ValueError(text)


def is_time(value: object) -> bool:
    match = TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    day, minute, second, zone = match.groups()
    second = "59" if second == "60" else second
    try:
        datetime.fromisoformat(f"{day}T{minute}:{second}{zone.upper()}")
    except ValueError:
        return False
    return True


def with_colon(value: object) -> object:
    """A time that another of the same name replaces may have its offset without the colon."""
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", value) if isinstance(value, str) else value


def members_of(line: bytes) -> list[tuple[str, object]]:
    """The members of the one object on the line, those of inner ones as dicts. Raises ValueError for anything else."""
    outermost: list[tuple[str, object]] = []

    def keep(pairs: list[tuple[str, object]]) -> dict[str, object]:
        outermost[:] = pairs
        return dict(pairs)

    value = json.loads(line.decode(), object_pairs_hook=keep, parse_constant=reject_constant, parse_int=len)
    if not isinstance(value, dict):
        raise TypeError("no object")
    json.dumps(value, ensure_ascii=False).encode()  # halves of surrogate pairs cannot be encoded
    return outermost if value else []


def is_event(line: bytes, rules: Rules) -> bool:
    """The contract, word by word."""
    try:
        members = members_of(line)
    except (ValueError, TypeError):
        return False
    last = dict(members)
    tenant_id = last.get("tenant_id")
    return (
        len(line) <= rules.event_bytes_max
        and all(isinstance(value, str) for name, value in members if name in REQUIRED)
        and all(name in last for name in REQUIRED)
        and all(value for name, value in members if name == "id")
        and is_time(last["timestamp"])
        and all(is_time(with_colon(value)) for name, value in members if name == "timestamp")
        and [name for name, _ in members].count("tenant_id") == 1
        and isinstance(tenant_id, str)
        and 0 < len(tenant_id) <= 128
        and tenant_id != "*"
        and re.search(r"[\x00-\x1f\x7f]", tenant_id) is None
        and rules.tenant_id in ("*", tenant_id)
        and all(isinstance(value, dict) for name, value in members if name == "metadata")
        and all(isinstance(value, str) for name, value in members if name == "integrity_hash")
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good event with up to three cuts, insertions, copies or changed bytes."""
    line = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(line)))
        end = draw(st.integers(start, min(start + 12, len(line))))
        match draw(st.sampled_from(["insert", "insert", "replace", "cut", "copy", "flip"])):
            case "insert":
                line[start:start] = draw(st.sampled_from(PIECES))
            case "replace":
                line[start:end] = draw(st.sampled_from(PIECES))
            case "cut":
                del line[start:end]
            case "copy":
                place = draw(st.integers(0, len(line)))
                line[place:place] = line[start:end]
            case "flip" if start < len(line):
                line[start] = draw(st.integers(0, 255))
    return bytes(line)


def by_subject(entries: list[Entry]) -> dict[str, list[bytes]]:
    return {entry.subject.name: entry.payload.split(b"\n") for entry in entries}


@settings(max_examples=1_500, deadline=None, derandomize=True)
@given(damaged(), st.sampled_from([RULES, TENANT_RULES]))
@example(event(timestamp="2026-06-30T12:34:56+0100").replace(b"+", rb"\u002b"), RULES)
@example(
    event(without="metadata", timestamp="2016-12-31T23:59:60Z").replace(
        b"{", b'{"metadata":{"timestamp":"T00:00:60"},', 1
    ),
    RULES,
)
@example(rb'{"note":"\u0041","n":' + b"1" * 5000 + b"," + event()[1:], RULES)
def test_a_line_is_taken_exactly_when_the_rules_say_so(line: bytes, rules: Rules) -> None:
    """Python's strict JSON, the required members and their types: nothing else is taken, and nothing else refused."""
    for part in line.split(b"\n"):
        text = part.strip(WHITE)
        checked = check(part, rules)
        taken = [kept for entry in checked.entries for kept in entry.payload.split(b"\n")]
        assert taken == ([text] if is_event(text, rules) else [])
        assert checked.accepted + len(checked.rejections) == (1 if text else 0)


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.sampled_from(GOOD), damaged()), max_size=5), st.sampled_from([RULES, TENANT_RULES]))
@example([event(), event()[:-1] + b"}" + event(), b"", event()], RULES)
@example([event(tenant_id="acme"), event(tenant_id="*")], RULES)
def test_a_body_comes_to_the_same_as_its_lines(lines: list[bytes], rules: Rules) -> None:
    """The quick way over a whole body changes no answer: same events in the same order, same lines refused."""
    body = b"\n".join(lines)
    at_once = check(body, rules)
    one_by_one = check_objects([*body.split(b"\n"), b"nothing for the quick way"], rules)
    assert by_subject(at_once.entries) == by_subject(one_by_one.entries)
    assert at_once.rejections == one_by_one.rejections[:-1]
    assert (at_once.accepted, at_once.lines) == (one_by_one.accepted, body.count(b"\n") + 1)
    assert at_once.accepted == sum(entry.count for entry in at_once.entries)


def test_bodies_against_the_model(soak: bool) -> None:
    """Whole bodies against the rules, line by line: those that are looked at in several steps, with few rejections
    told, and single events, which have a way of their own.
    """

    @settings(max_examples=100_000 if soak else 300, deadline=None, derandomize=not soak, database=None)
    @given(
        st.lists(st.one_of(st.sampled_from(GOOD), damaged(), st.sampled_from([b"", b"x", b"{", b" \r"])), max_size=6),
        st.sampled_from([1, 600]),
        st.sampled_from([RULES, TENANT_RULES]),
    )
    def agree(lines: list[bytes], times: int, rules: Rules) -> None:
        few = msgspec.structs.replace(rules, rejections_max=3)
        body = b"\n".join(lines * times)
        parts = [part.strip(WHITE) for line in lines for part in line.split(b"\n")] * times
        good = [part for part in parts if is_event(part, rules)]
        steps = list(checking(body, few))
        checked = steps[-1]
        assert checked is not None
        assert all(step is None for step in steps[:-1])
        taken = [line for entry in checked.entries for line in entry.payload.split(b"\n")]
        assert sorted(taken) == sorted(good)
        assert checked.rejected == len([part for part in parts if part]) - len(good)
        assert len(checked.rejections) == min(3, checked.rejected)
        assert checked.lines == len(parts) or not body.strip(WHITE)
        at_once = check_at_once(body, few)
        assert at_once is None or (at_once.entries, at_once.rejected) == (checked.entries, 0)

    agree()
