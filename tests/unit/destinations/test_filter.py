"""Which events pass a filter."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.destinations.filter import compile_filter
from gateway.destinations.store import Filter


def line(**members: object) -> bytes:
    event = {
        "id": "e",
        "action": "a.b",
        "service": "s",
        "outcome": "SUCCESS",
        "actor_type": "USER",
        "metadata": {"x": 1},
    }
    return msgspec.json.encode({**event, **members})


def passing(chosen: Filter, actions: list[str]) -> list[str]:
    matcher = compile_filter(chosen)
    assert matcher is not None
    return [
        action
        for action, passes in zip(actions, matcher([line(action=action) for action in actions]), strict=True)
        if passes
    ]


def test_an_empty_filter_needs_no_matcher() -> None:
    """All events pass, and no work is done for it."""
    assert compile_filter(Filter()) is None


@pytest.mark.parametrize(
    ("pattern", "passes"),
    [
        ("attestation.mint", ["attestation.mint"]),
        ("attestation.*", ["attestation.mint", "attestation.", "attestation.mint.x\ny"]),
        ("*.mint", ["attestation.mint", "key.mint"]),
        ("*e*t*", ["attestation.mint", "attestation.", "attestation.mint.x\ny", "key.mint"]),
        ("a**t", ["attestation.mint"]),
        ("ATTESTATION.*", []),
        ("attestation", []),
        ("attestation?mint", []),
        ("attestation[.]mint", []),
    ],
)
def test_patterns(pattern: str, passes: list[str]) -> None:
    """``*`` is any run of characters, also none, dots and line ends; the rest is literal, whole and case-sensitive."""
    actions = ["attestation.mint", "attestation.", "attestation.mint.x\ny", "key.mint"]
    assert passing(Filter(actions=(pattern,)), actions) == passes


def test_one_pattern_of_a_list_is_enough() -> None:
    """Patterns of one member are alternatives, and one with an alternative inside does not leak into the next."""
    actions = ["a.x", "b", "b.x", "c"]
    assert passing(Filter(actions=("a.*", "b")), actions) == ["a.x", "b"]


def test_excluding_is_stronger_than_including() -> None:
    """An action on both lists does not pass; with an exclusion alone the others do."""
    actions = ["key.create", "key.delete", "user.login"]
    assert passing(Filter(actions=("key.*",), exclude_actions=("*.delete",)), actions) == ["key.create"]
    assert passing(Filter(exclude_actions=("key.*",)), actions) == ["user.login"]


@pytest.mark.parametrize(
    ("chosen", "member"),
    [
        (Filter(services=("trust-*",)), {"service": "trust-registry"}),
        (Filter(outcomes=("DENIED",)), {"outcome": "DENIED"}),
        (Filter(actor_types=("API_*",)), {"actor_type": "API_KEY"}),
    ],
)
def test_the_other_members(chosen: Filter, member: dict[str, str]) -> None:
    """Each list judges its own member of the event."""
    matcher = compile_filter(chosen)
    assert matcher is not None
    assert matcher([line(**member), line()]) == [True, False]


def test_every_list_has_to_agree() -> None:
    """An event passes when it passes each list that is not empty."""
    matcher = compile_filter(Filter(actions=("a.*",), outcomes=("FAILURE",)))
    assert matcher is not None
    assert matcher([line(outcome="FAILURE"), line(), line(action="b", outcome="FAILURE")]) == [True, False, False]


def test_escapes_are_read() -> None:
    """The member's value is compared, however the producer spelled it."""
    matcher = compile_filter(Filter(actions=("é.mint",)))
    assert matcher is not None
    assert matcher([rb'{"action":"\u00e9.m\u0069nt","outcome":"x"}', '{"action":"é.mint"}'.encode()]) == [True, True]


def test_no_events_are_no_answers() -> None:
    """An empty batch has an empty answer."""
    matcher = compile_filter(Filter(actions=("a",)))
    assert matcher is not None
    assert matcher([]) == []


def test_an_event_that_cannot_be_judged_is_delivered() -> None:
    """Nothing is left out silently, and the events beside it are judged as ever."""
    matcher = compile_filter(Filter(actions=("a.b",)))
    assert matcher is not None
    assert matcher([line(), b'{"action":7}', line(action="x")]) == [True, True, False]


def test_a_hostile_pattern_takes_linear_time() -> None:
    """A pattern that would make a backtracking match take longer than the universe exists answers."""
    assert passing(Filter(actions=("*a" * 60 + "*b",)), ["a" * 3_000 + "c"]) == []


def reference(pattern: str, text: str) -> bool:
    """The definition, by recursion."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(reference(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and text[0] == pattern[0] and reference(pattern[1:], text[1:])


@given(st.lists(st.text("ab.*", min_size=1, max_size=6), min_size=1, max_size=3), st.text("ab.", max_size=8))
def test_globs_mean_what_their_definition_says(patterns: list[str], text: str) -> None:
    """Compiled patterns agree with the plain recursive definition."""
    expected = any(reference(re.sub(r"\*+", "*", pattern), text) for pattern in patterns)
    assert (passing(Filter(actions=tuple(patterns)), [text]) == [text]) is expected
