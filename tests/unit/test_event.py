"""Which lines are audit events, what of them is kept, and what is said of the others."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

import pytest

from gateway.event import NESTING_MAX, Checked, Rules, check, check_at_once, check_objects, readable_id
from gateway.queue import Subject, SubjectKind
from tests.events import MORE_SAMPLES, REAL_EVENTS, REQUIRED, event, events

EVENT_BYTES_MAX = 256 << 10
RULES = Rules(event_bytes_max=EVENT_BYTES_MAX)
SAMPLES = [REAL_EVENTS, *MORE_SAMPLES.glob("audit-events.ndjson")]
BAD_SAMPLES = list(MORE_SAMPLES.glob("bad-lines.ndjson"))

GOOD = event()
CONTROL_CHARACTERS = [bytes([number]) for number in range(0x20)]


def accepted_lines(checked: Checked) -> list[bytes]:
    return [line for entry in checked.entries for line in entry.payload.split(b"\n")]


def problem_with(line: bytes, rules: Rules = RULES) -> str:
    """What is said of a line that is refused."""
    checked = check(line, rules)
    assert (checked.accepted, checked.entries, len(checked.rejections)) == (0, [], 1)
    assert checked.rejections[0].raw == line
    return checked.rejections[0].message


def is_taken(line: bytes, rules: Rules = RULES) -> bool:
    checked = check(line, rules)
    assert checked.accepted + len(checked.rejections) == 1
    return checked.accepted == 1


def with_member(text: bytes) -> bytes:
    """A good event with one more member in front."""
    return b"{" + text + b"," + GOOD[1:]


# -- what is taken


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_real_events_are_taken_as_they_stand(path: Path) -> None:
    """Every real event is accepted, and what is kept of each are its own bytes, in the order of its tenant."""
    lines = path.read_bytes().splitlines()
    checked = check(b"\n".join(lines), RULES)
    assert (checked.accepted, checked.rejections) == (len(lines), [])
    for entry in checked.entries:
        own = [line for line in lines if json.loads(line)["tenant_id"] == entry.subject.name]
        assert entry.payload.split(b"\n") == own
        assert entry.count == len(own)


def test_ids_that_end_like_an_offset_are_no_cause_for_a_closer_look() -> None:
    """They come through at once, for a look at each line takes several times as long."""
    lines = [event(id=f"evt{ending}") for ending in ("0000", "-0000", "+0000")]
    assert check_at_once(b"\n".join(lines), RULES) is not None


@pytest.mark.parametrize("zone", ["+02:00", "-11:30", "+00:00", "-00:00", "Z"])
def test_offsets_with_a_colon_are_no_cause_for_a_closer_look(zone: str) -> None:
    """Producers in other zones are served as fast."""
    lines = [event(timestamp=f"2026-06-30T12:34:56{zone}"), event(2)]
    assert check_at_once(b"\n".join(lines), RULES) is not None


@pytest.mark.parametrize(
    "body",
    [
        GOOD + GOOD,
        GOOD + b" " + GOOD + b"\n" + GOOD,
        GOOD.replace(b"{", b"{\n") + b"\n" + GOOD,
        GOOD.replace(b"{", b"{\n") + GOOD,
        GOOD + b"\n\n" + GOOD,
        GOOD + b"\r\n" + GOOD,
        GOOD.replace(b"}", b"\n}") + GOOD + b"\n" + GOOD,
    ],
    ids=lambda body: repr(body.replace(GOOD, b"G"))[:30],
)
def test_events_that_are_not_one_a_line_are_not_taken_at_once(body: bytes) -> None:
    """Whatever the decoder makes of events that share a line, or have several, each line is looked at by itself."""
    assert check_at_once(body, RULES) is None


def test_each_line_of_a_long_body_is_held_to_the_size_of_one_event() -> None:
    """Not by the body's size: one line too long among many is refused, and none that just fits."""
    fits = with_member(b'"n":"' + b"x" * (RULES.event_bytes_max - len(with_member(b'"n":""'))) + b'"')
    assert len(fits) == RULES.event_bytes_max
    for lines in ([GOOD, fits, GOOD], [fits], [fits, fits], [GOOD] * 100 + [fits]):
        taken = check_at_once(b"\n".join(lines), RULES)
        assert taken is not None
        assert taken.accepted == len(lines)
        one_more = [line.replace(b'"n":"', b'"n":"x') for line in lines]
        assert check_at_once(b"\n".join(one_more), RULES) is None


@pytest.mark.parametrize(
    "member",
    [
        rb'"note":"\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\"',
        '"note":"é😀\u2028\x7f"'.encode(),
        b'"n":[1.0,1.00,1e400,-0,-0.0E-0,10000000000000000000000000000000000000000]',
        b'"n" :\t{ "b" : [ ] , "a" : { } }',
        b'"deep":' + b"[" * 500 + b"]" * 500,
        b'"":null',
        b'"note":1,"note":2',
        b'"n":' + b"1" * 5000,
        rb'"note":"\u0041","n":' + b"1" * 5000,
    ],
)
def test_valid_json_is_passed_on_byte_for_byte(member: bytes) -> None:
    """Member order, number spelling, escapes, white space, unknown and repeated members stay as they came."""
    line = with_member(member)
    assert accepted_lines(check(line, RULES)) == [line]
    assert accepted_lines(check(line + b"\n" + GOOD, RULES)) == [line, GOOD]


def test_metadata_and_integrity_hash_may_be_left_out() -> None:
    """Only the ten strings are required."""
    assert is_taken(event(without="metadata"))
    assert is_taken(event(without="integrity_hash"))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n", b" \t\n"])
def test_line_ends_and_blank_lines_are_no_events(end: bytes) -> None:
    """The last line may or may not end; white space around a line and lines of nothing else are passed over."""
    body = b"\r\n" + events(1)[0] + b"\r\n \t\n\n  " + events(1, 2)[0] + end
    checked = check(body, RULES)
    assert accepted_lines(checked) == events(2)
    assert checked.rejections == []


def test_a_body_without_an_event_comes_to_nothing() -> None:
    """Empty or blank: nothing taken, nothing refused."""
    for body in (b"", b"\n", b"\r\n \n\t"):
        checked = check(body, RULES)
        assert (checked.entries, checked.accepted, checked.rejections) == ([], 0, [])


def test_events_of_several_tenants_go_to_their_own_streams_in_order() -> None:
    """One entry for each tenant, in the order in which they came."""
    lines = [event(number, tenant_id="a" if number % 3 else "b") for number in range(1, 10)]
    checked = check(b"\n".join(lines), RULES)
    found = {entry.subject: entry.payload.split(b"\n") for entry in checked.entries}
    assert found == {
        Subject(SubjectKind.TENANT, "a"): [line for line in lines if b'"a"' in line],
        Subject(SubjectKind.TENANT, "b"): [line for line in lines if b'"b"' in line],
    }


@pytest.mark.parametrize("tenants", [("acme", "acme"), ("acme", "other")])
def test_a_backfill_goes_to_its_subject_whoever_the_events_are_of(tenants: tuple[str, str]) -> None:
    """With a subject in the rules everything is addressed to it, in one piece and in order."""
    subject = Subject(SubjectKind.BACKFILL, "siem_1")
    lines = [event(number, tenant_id=tenant) for number, tenant in enumerate(tenants)]
    checked = check(b"\n".join(lines), Rules(event_bytes_max=EVENT_BYTES_MAX, subject=subject))
    assert [(entry.subject, entry.payload, entry.count) for entry in checked.entries] == [
        (subject, b"\n".join(lines), 2)
    ]


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-06-30T12:34:56Z",
        "2026-06-30T12:34:56.1Z",
        "2026-06-30T12:34:56.123456789123Z",
        "2026-06-30t12:34:56z",
        "2026-06-30 12:34:56Z",
        "2026-06-30T12:34:56+00:00",
        "2026-06-30T12:34:56-00:00",
        "2026-06-30T12:34:56.5+05:45",
        "2024-02-29T23:59:59-23:59",
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.25Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
    ],
)
def test_every_rfc_3339_time_is_taken(timestamp: str) -> None:
    """Fractions of any length, small letters, every offset, the leap second."""
    line = event(timestamp=timestamp)
    assert accepted_lines(check(line, RULES)) == [line]


# -- what is refused


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "yesterday",
        "2026-06-30",
        "2026-06-30T12:34:56",
        "2026-06-30T12:34Z",
        "2026-06-30T12:34:56+01",
        "2026-06-30T12:34:56+0100",
        "2026-06-30T12:34:56.5-0000",
        "2026-06-30T12:34:56+0000",
        "2016-12-31T23:59:60+0100",
        "2026-06-30T12:34:56.Z",
        "2026-06-30T12:34:56,5Z",
        "2026-06-30T24:00:00Z",
        "2026-06-30T12:60:00Z",
        "2026-06-30T12:34:61Z",
        "2026-06-30T12:34:56+24:00",
        "2026-02-30T12:34:56Z",
        "2026-02-29T12:34:56Z",
        "20260630T123456Z",
        "2026-W27-2T12:34:56Z",
        " 2026-06-30T12:34:56Z",
        "2026-06-30T12:34:56Z ",
        "1782822896",
        1782822896789,
        None,
    ],
)
def test_a_time_that_is_not_rfc_3339_is_refused(timestamp: object) -> None:
    """Dates that do not exist, other notations and times without a zone; the message says what to write."""
    assert problem_with(event(timestamp=timestamp)).startswith("`timestamp` must be RFC 3339")


def test_an_escape_does_not_smuggle_a_wrong_time_past_the_check() -> None:
    """An offset without a colon is refused however its characters, or the member's name, are spelled."""
    plain = event(timestamp="2026-06-30T12:34:56+0100")
    for old, new in ((b"+0100", rb"\u002b0100"), (b'"timestamp"', rb'"time\u0073tamp"'), (b"+0100", rb"+010\u0030")):
        assert problem_with(plain.replace(old, new)).startswith("`timestamp` must be RFC 3339")


@pytest.mark.parametrize("name", REQUIRED)
def test_each_required_member_must_be_there_and_be_a_string(name: str) -> None:
    """Left out, null, a number, a boolean, a list or an object: refused, and the message names the member."""
    assert problem_with(event(without=name)) == f"missing required member `{name}`"
    for value in (None, 7, 1.5, True, [], ["a"], {}, {"a": "b"}):
        assert f"`{name}`" in problem_with(event(1, {name: value}))


@pytest.mark.parametrize("name", ["id", "tenant_id"])
def test_what_identifies_an_event_must_not_be_empty(name: str) -> None:
    """An empty id or tenant is as good as none."""
    assert f"`{name}`" in problem_with(event(1, {name: ""}))


@pytest.mark.parametrize(
    ("name", "values"),
    [("metadata", (None, [], "{}", 1, True)), ("integrity_hash", (None, 1, [], {}, False))],
)
def test_optional_members_must_be_of_their_type_where_present(name: str, values: tuple[object, ...]) -> None:
    """``metadata`` is an object and ``integrity_hash`` a string; null is neither."""
    for value in values:
        assert problem_with(event(1, {name: value})).startswith(f"`{name}`: expected")


@pytest.mark.parametrize(
    "value",
    [
        *("NaN", "Infinity", "-Infinity", "nul", "True", "truee", "undefined", "'a'", "/**/1", "1//", "", ","),
        *("01", "-01", "00", "+1", ".5", "1.", "-", "--1", "1e", "1e+", "1.5e", "0x1", "1_0", "1.2.3", "1a"),
        *("[1,]", "[,]", "[1 2]", "[", "]", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1,,"b":2}', "{1:2}", "{a:1}", "[1}"),
        *('"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\ud800"', '"\\udc00"', '"\\ud83d\\u0041"', '"a" "b"', "\x0b1"),
    ],
)
def test_what_is_not_json_is_refused_however_deep_it_stands(value: str) -> None:
    """Unknown members and everything in ``metadata`` are checked like the required ones."""
    for member in (f'"note":{value}', f'"note":[[{{"a":{value}}}]]'):
        assert problem_with(with_member(member.encode()))
    for metadata in (f'{{"k":{value}}}', f'{{"k":{{"k":[1,{value}]}}}}'):
        line = event(without="metadata")[:-1] + f',"metadata":{metadata}}}'.encode()
        assert problem_with(line)


@pytest.mark.parametrize("wrong", [b"\xc3(", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
def test_invalid_utf_8_is_refused_wherever_it_stands(wrong: bytes) -> None:
    """In known members, unknown ones and metadata, values and names; the message says which byte, and where."""
    for line in (
        with_member(b'"note":"' + wrong + b'"'),
        with_member(b'"' + wrong + b'":1'),
        GOOD.replace(b"issuer-uuid", wrong),
        GOOD.replace(b"user-uuid", wrong),
    ):
        place = line.index(wrong) + 1
        assert problem_with(line) == f"not valid UTF-8: byte 0x{wrong[0]:02x} at byte {place} of the line"


def test_control_characters_are_refused_in_strings_and_between_tokens() -> None:
    """A string holds them escaped; between tokens only blanks, tabs and returns may stand."""
    for character in CONTROL_CHARACTERS:
        if character != b"\n":
            assert problem_with(with_member(b'"note":"a' + character + b'b"'))
        if character not in b" \t\r\n":
            assert problem_with(GOOD.replace(b": ", b":" + character, 1))


@pytest.mark.parametrize(
    "line",
    [
        GOOD[:-1],
        GOOD[:60],
        GOOD + GOOD,
        GOOD + b" " + GOOD,
        GOOD + b",",
        GOOD + b" garbage",
        b"[" + GOOD + b"]",
        json.dumps(GOOD.decode()).encode(),
        b"null",
        b"{}",
        b"event",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b", ", b",\xef\xbb\xbf", 1),
        b"\x00" + GOOD,
        b"\x1e" + GOOD,
        b"data: " + GOOD,
    ],
)
def test_a_line_is_one_object_and_nothing_else(line: bytes) -> None:
    """Cut off, doubled, wrapped, followed or led by anything: refused, alone and amid good lines."""
    assert problem_with(line)
    checked = check(b"\n".join([*events(2), line, *events(2, 4)]), RULES)
    assert (checked.accepted, [r.line for r in checked.rejections]) == (4, [3])


def test_an_object_spread_over_lines_is_refused_line_by_line() -> None:
    """NDJSON has one object on a line: pretty-printed JSON is not taken for it."""
    pretty = json.dumps(json.loads(GOOD), indent=1).encode()
    checked = check(pretty, RULES)
    assert (checked.accepted, len(checked.rejections)) == (0, len(pretty.splitlines()))


def test_an_event_may_have_as_many_bytes_as_is_allowed_and_no_more() -> None:
    """The bound is on the line; the message names both sizes."""
    room = EVENT_BYTES_MAX - len(event(note=""))
    largest, larger = event(note="x" * room), event(note="x" * (room + 1))
    assert len(largest) == EVENT_BYTES_MAX
    assert is_taken(largest)
    assert problem_with(larger) == "the event has 262145 bytes, over the 262144 that one may have"
    checked = check(b"\n".join([largest, larger, GOOD]), RULES)
    assert (checked.accepted, [r.line for r in checked.rejections]) == (2, [2])


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_that_no_reader_follows_is_refused(opening: bytes) -> None:
    """Thousands of levels are a problem of this line alone, with or without escapes in it."""
    depth = 20_000 if opening == b"[" else 2_000
    closing = b"]" if opening == b"[" else b"}"
    deep = b'"deep":' + opening * depth + b"1" + closing * depth
    for line in (with_member(deep), with_member(rb'"note":"\u0041",' + deep)):
        assert (
            problem_with(line)
            == f"objects or arrays are nested too deep: {NESTING_MAX} within one another are possible"
        )


@pytest.mark.parametrize("frames", [0, 100, 300])
def test_how_deep_an_event_may_be_nested_is_the_same_on_every_stack(frames: int) -> None:
    """To the level, by each way in: brackets in texts do not count, and a shallow event is taken from any stack."""

    def on_a_deeper_stack(depth: int) -> tuple[bool, bool]:
        if depth:
            return on_a_deeper_stack(depth - 1)
        at_most, one_more = (nested(NESTING_MAX + more) for more in (0, 1))
        assert all(is_taken(line) and check_objects([line], RULES).accepted == 1 for line in (GOOD, at_most))
        return is_taken(one_more), check_objects([one_more], RULES).accepted == 1

    def nested(levels: int) -> bytes:
        inner = levels - 1  # the event is one
        return with_member(b'"text":"[[{{\\"[","deep":' + b"[" * inner + b"]" * inner)

    usual = sys.getrecursionlimit()
    assert on_a_deeper_stack(frames) == (False, False)
    assert sys.getrecursionlimit() == usual


def test_a_tenant_that_stands_twice_is_refused() -> None:
    """Whose event it is must not depend on which of two members a reader takes, however they are spelled."""
    for name in (rb'"tenant_id"', rb'"tenant\u005fid"'):
        line = with_member(name + b':"other"')
        assert problem_with(line).startswith("`tenant_id` stands twice")
        assert check(GOOD + b"\n" + line, RULES).accepted == 1
    assert is_taken(event(metadata={"tenant_id": "other"}))
    assert is_taken(event(action="tenant_id"))


def test_a_tenants_key_takes_in_its_own_events_only() -> None:
    """Another tenant's events are refused beside its own, and the message says why."""
    rules = Rules(event_bytes_max=EVENT_BYTES_MAX, tenant_id="acme")
    body = b"\n".join([event(1), event(2, tenant_id="other"), event(3)])
    checked = check(body, rules)
    assert (checked.accepted, [(r.line, r.id) for r in checked.rejections]) == (2, [(2, "evt_2")])
    assert "another tenant" in checked.rejections[0].message
    assert "another tenant" in problem_with(event(tenant_id="other"), rules)
    assert is_taken(rb'{"x":"\u0041",' + GOOD[1:], rules)


@pytest.mark.parametrize("tenant_id", ["*", "a\nb", "a\x00", "\x7f", "x" * 129])
def test_a_tenant_must_be_a_name_that_can_be_one(tenant_id: str) -> None:
    """The sign for all tenants, control characters and endless names are none."""
    assert "`tenant_id`" in problem_with(event(tenant_id=tenant_id))
    assert is_taken(event(tenant_id="x" * 128))


# -- what is said


def test_each_bad_line_is_refused_for_itself() -> None:
    """With its number, amid good ones too."""
    made = [
        b"rubbish",
        b"[]",
        GOOD[:-1],
        GOOD + GOOD,
        event(without="id"),
        event(actor_id=True),
        GOOD[:-1] + b',"x":\xff}',
    ]
    lines = made + [line for path in BAD_SAMPLES for line in path.read_bytes().removesuffix(b"\n").split(b"\n")]
    checked = check(b"\n".join(lines), RULES)
    assert (checked.accepted, [r.line for r in checked.rejections]) == (0, list(range(1, len(lines) + 1)))
    for line in lines:
        assert check(b"\n".join([GOOD, line, GOOD]), RULES).accepted == 2


def test_lines_are_counted_over_the_whole_request() -> None:
    """Blank lines count, and a later piece of a body begins where the one before ended."""
    body = b"\n\n" + event(7, without="action") + b"\n" + GOOD + b"\nrubbish\n"
    first = check(body, RULES)
    assert [(r.line, r.id) for r in first.rejections] == [(3, "evt_7"), (5, None)]
    later = check(body, RULES, first_line=101)
    assert [r.line for r in later.rejections] == [103, 105]
    assert (first.lines, check(b"\n".join(events(4)), RULES).lines) == (6, 4)


def test_elements_of_an_array_are_counted_from_one() -> None:
    """``line`` of a refused element is its number."""
    checked = check_objects([*events(2), b"1", *events(1, 4)], RULES)
    assert (checked.accepted, [(r.line, r.id) for r in checked.rejections]) == (3, [(3, None)])
    assert accepted_lines(checked) == [*events(2), *events(1, 4)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"id":"evt_1","x":', "evt_1"),
        (b'{ "id" : "a\\"b" }', 'a\\"b'),
        (b'{"id":"\xff"}', "\ufffd"),
        (b'{"id":7}', None),
        (b'{"id":""}', None),
        (b'{"id":"' + b"x" * 513 + b'"}', None),
        (b" " * 5000 + b'{"id":"evt_1"}', None),
        (b"", None),
    ],
)
def test_the_id_of_a_broken_line_is_read_where_it_can_be(line: bytes, found: str | None) -> None:
    """For the owner to find the event by; bounded, whatever stands there."""
    assert readable_id(line) == found


def test_no_message_repeats_what_the_event_holds() -> None:
    """Events may hold secrets: a message names members and places, not values."""
    generator = random.Random(7)
    for _ in range(200):
        name = generator.choice(REQUIRED)
        line = event(1, {name: [f"secret-{generator.random()}"], "metadata": {"k": "secret-"}})
        assert re.search("secret-", problem_with(line)) is None
