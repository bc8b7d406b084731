"""Figures of deliveries over time, for charts. What is not in the store yet is in them too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec
from aiohttp import web

from gateway.clock import rfc3339
from gateway.destinations.history import Figures
from gateway.server.call import Call, answer
from gateway.server.shapes import Sparkline, Stats, StatsPage, StatsPoint, UnreachedAction


class Window(msgspec.Struct, frozen=True):
    step_s: int
    steps: int

    def first_s(self, now_s: float) -> int:
        """When the first step begins; the last one is that of ``now_s``."""
        return (int(now_s) // self.step_s - self.steps + 1) * self.step_s

    def step_of(self, at_s: int, first_s: int) -> int:
        return (at_s - first_s) // self.step_s


WINDOWS: Mapping[str, Window] = MappingProxyType(
    {"1h": Window(60, 60), "24h": Window(900, 96), "7d": Window(3_600, 168)}
)
SPARKLINES: Mapping[str, Window] = MappingProxyType({"24h": Window(3_600, 24)})


async def of_destination(call: Call) -> web.Response:
    destination = call.destination()
    name = call.choice("window", WINDOWS, default="1h")
    window, now_s = WINDOWS[name], call.parts.clock.time_s()
    first_s = window.first_s(now_s)
    await call.parts.streams.catch_up(destination.id)
    figures = await call.parts.streams.figures([destination.id], step_s=window.step_s, since_s=first_s)
    shown = Stats(name, rfc3339(first_s), rfc3339(now_s), window.step_s, points(figures, window, first_s))
    return answer(shown)


async def of_all(call: Call) -> web.Response:
    name = call.choice("window", SPARKLINES, default="24h")
    window = SPARKLINES[name]
    first_s = window.first_s(call.parts.clock.time_s())
    ids = [item.id for item in call.parts.catalog.destinations().values() if call.may_see(item.tenant_id)]
    figures = await call.parts.streams.figures(ids, step_s=window.step_s, since_s=first_s)
    lines = {
        destination_id: Sparkline(destination_id, [0] * window.steps, [0] * window.steps) for destination_id in ids
    }
    for item in figures:
        step = window.step_of(item.at_s, first_s)
        if step < window.steps:  # the last step may have ended while they were read
            lines[item.destination_id].delivered[step] += item.delivered
            lines[item.destination_id].failed[step] += item.failed
    unreached = [UnreachedAction(*item) for item in call.parts.streams.unreached_actions() if call.may_see(item[0])]
    return answer(StatsPage(name, window.step_s, rfc3339(first_s), list(lines.values()), unreached))


def points(figures: Iterable[Figures], window: Window, first_s: int) -> list[StatsPoint]:
    """One for each step of the window, whether anything happened in it or not. ``figures`` are of one destination."""
    steps: list[list[Figures]] = [[] for _ in range(window.steps)]
    for item in figures:
        step = window.step_of(item.at_s, first_s)
        if 0 <= step < window.steps:
            steps[step].append(item)
    return [_point(first_s + number * window.step_s, items) for number, items in enumerate(steps)]


def _point(at_s: int, items: list[Figures]) -> StatsPoint:
    total = Figures("", at_s)
    answers: dict[str, int] = {}
    for item in items:
        total = total.plus(item)
        if item.answer:
            answers[item.answer] = answers.get(item.answer, 0) + item.attempts
    return StatsPoint(
        at=rfc3339(at_s),
        delivered=total.delivered,
        failed=total.failed,
        dead_lettered=total.dead_lettered,
        dropped=total.dropped,
        attempts=total.attempts,
        latency_ms_avg=round(total.latency_ms_sum / total.attempts, 3) if total.attempts else None,
        latency_ms_max=total.latency_ms_max if total.attempts else None,
        answers=answers,
    )
