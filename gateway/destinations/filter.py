"""Which events a destination gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

import msgspec

from gateway.destinations.store import Filter

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
            (action is None or action(event.action) is not None)
            and (excluded is None or excluded(event.action) is None)
            and (service is None or service(event.service) is not None)
            and (outcome is None or outcome(event.outcome) is not None)
            and (actor_type is None or actor_type(event.actor_type) is not None)
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
    return lambda text: (action is None or bool(action(text))) and (excluded is None or not excluded(text))


def _passes_alone(line: bytes, passes: Callable[[_Event], bool]) -> bool:
    """An event that cannot be judged is delivered rather than silently left out."""
    try:
        return passes(_decode(line))
    except (msgspec.DecodeError, RecursionError):
        return True


def _compile(patterns: Sequence[str]) -> Callable[[str], re.Match[str] | None] | None:
    if not patterns:
        return None
    return re.compile("|".join(map(_glob, patterns)), re.DOTALL).fullmatch


def _glob(pattern: str) -> str:
    """Each run before the last is atomic and as short as it can be, so that no text takes more than linear time."""
    first, *rest = (re.escape(part) for part in re.sub(r"\*+", "*", pattern).split("*"))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{part})" for part in middle) + ".*" + last
