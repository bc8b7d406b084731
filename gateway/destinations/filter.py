"""Which events a destination gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

import msgspec

from gateway.destinations.store import Filter

SEARCHES_MAX = 200  # ``*`` of one filter, those at the end of a pattern apart: each is a search in every event

Matcher = Callable[[Sequence[bytes]], list[bool]]


class _Event(msgspec.Struct, gc=False):
    tenant_id: str = ""
    action: str = ""
    service: str = ""
    outcome: str = ""
    actor_type: str = ""


_decode = msgspec.json.Decoder(_Event).decode
_decode_lines = msgspec.json.Decoder(_Event).decode_lines


def compile_filter(
    chosen: Filter, *, tell: Callable[[Collection[tuple[str, str]]], None] | None = None
) -> Matcher | None:
    """A function from events, one line of JSON each, to whether they pass. None when all do.

    ``tell`` is given tenant and action of those that do not, each once in a call.

    An event passes when each list that is not empty has a pattern for its member, and ``exclude_actions`` has none for
    its action. Patterns stand for the whole member, upper and lower case apart; ``*`` is any run of characters, dots
    and nothing included, and every other character is itself.
    """
    if chosen == Filter():
        return None
    action, service = _compile(chosen.actions), _compile(chosen.services)
    outcome, actor_type = _compile(chosen.outcomes), _compile(chosen.actor_types)
    excluded = _compile(chosen.exclude_actions)

    def passes(event: _Event) -> bool:
        return (
            (action is None or action(event.action))
            and (excluded is None or not excluded(event.action))
            and (service is None or service(event.service))
            and (outcome is None or outcome(event.outcome))
            and (actor_type is None or actor_type(event.actor_type))
        )

    def matcher(lines: Sequence[bytes]) -> list[bool]:
        try:
            events = _decode_lines(b"\n".join(lines))
        except (msgspec.DecodeError, RecursionError):
            return [_passes_alone(line, passes) for line in lines]
        assert len(events) == len(lines), "each line is one event"
        verdicts = [passes(event) for event in events]
        if tell is not None and not all(verdicts):
            pairs = zip(events, verdicts, strict=True)
            tell({(event.tenant_id, event.action) for event, has_passed in pairs if not has_passed})
        return verdicts

    return matcher


def compile_actions(chosen: Filter) -> Callable[[str], bool]:
    """Whether the filter lets events with an action through, as far as the action decides that."""
    action, excluded = _compile(chosen.actions), _compile(chosen.exclude_actions)
    return lambda text: (action is None or action(text)) and (excluded is None or not excluded(text))


def searches(chosen: Filter) -> int:
    """How many parts of its patterns have to be searched for in an event that has them all."""
    lists = (chosen.actions, chosen.exclude_actions, chosen.services, chosen.outcomes, chosen.actor_types)
    parts = [_parts(pattern) for patterns in lists for pattern in patterns]
    return sum(len(found) - 1 - (not found[-1]) for found in parts if len(found) > 1)


def _passes_alone(line: bytes, passes: Callable[[_Event], bool]) -> bool:
    """An event that cannot be judged is delivered rather than silently left out."""
    try:
        return passes(_decode(line))
    except (msgspec.DecodeError, RecursionError):
        return True


def _compile(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """The common kinds in one step each: whole texts, beginnings (``attestation.*``) and ends."""
    if not patterns:
        return None
    parts = [_parts(pattern) for pattern in patterns]
    whole = frozenset(first for first, *rest in parts if not rest)
    beginnings = tuple(first for first, *rest in parts if rest == [""])
    ends = tuple(rest[0] for first, *rest in parts if not first and len(rest) == 1)
    others = [found for found in parts if len(found) > 2 or (len(found) == 2 and all(found))]

    def matches(text: str) -> bool:
        if text in whole or text.startswith(beginnings) or text.endswith(ends):
            return True
        return bool(others) and any(_fits(text, found) for found in others)

    return matches


def _parts(pattern: str) -> tuple[str, ...]:
    """What stands before, between and behind its runs of ``*``."""
    return tuple(re.sub(r"\*+", "*", pattern).split("*"))


def _fits(text: str, parts: tuple[str, ...]) -> bool:
    """Whether it begins with the first part, ends with the last and has the others in their order between them. Each
    is looked for once, from where the one before ends: no text makes that start anew.
    """
    first, *middle, last = parts
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
