"""Damage of every kind at every place of a small log directory: it opens, and loses only what was damaged."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from tests.crash.damaged_directory import (
    Fault,
    Judge,
    Layout,
    build,
    cut,
    flipped,
    gone,
    outcome,
    sectors,
)

SAMPLES_PER_STRUCTURE = 2
SWEPT_BEHIND = 64  # bytes of the zeros behind the last frame that the whole sweep goes through


@pytest.fixture
async def layout() -> Layout:
    contents = await build()
    sound = await outcome(contents)
    assert sound.corrupt == []
    return Layout(contents, sound)


async def test_sampled_damage_costs_only_what_it_hits(layout: Layout) -> None:
    """Some bits and cuts of every structure, every sector and every file."""
    rng = random.Random(7)
    tried = await _try_all(layout, _sampled(layout, rng))
    assert tried > 1000


async def _try_all(layout: Layout, faults: Iterable[Fault]) -> int:
    judge, tried = Judge(layout), 0
    for fault in faults:
        await judge.try_out(fault)
        tried += 1
    return tried


def _sampled(layout: Layout, rng: random.Random) -> Iterator[Fault]:
    for name, content in layout.contents.items():
        yield gone(name, content)
        for _, start, end in layout.structures[name]:
            for _ in range(SAMPLES_PER_STRUCTURE if end > start else 0):
                yield flipped(name, content, rng.randrange(start * 8, end * 8))
                yield cut(name, content, rng.randrange(start, end))
        last = layout.structures[name][-1][1]
        yield from sectors(layout.contents, name, rng, last + 512)
