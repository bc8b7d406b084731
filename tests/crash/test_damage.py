"""Damage of every kind at every place of a small log directory: it opens, and loses only what was damaged.

The whole sweep opens the directory about nine times for each of its bytes, which is why it is as small as it can be.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from gateway.queue.wal.inspect import Inspector
from tests.crash.damaged_directory import Fault, Judge, Layout, build, cut, flipped, gone, outcome, sectors, workshop
from tests.memory_files import MemoryFiles

SAMPLES_PER_STRUCTURE = 4


def test_damage_costs_only_what_it_hits(soak: bool) -> None:
    """Flipped bits, cuts, sectors and files that are gone: of every structure some, with ``--soak`` all there are."""
    with workshop() as loop:
        contents = loop.run_until_complete(build())
        assert Inspector(MemoryFiles(contents)).run().damage == []
        sound = loop.run_until_complete(outcome(contents))
        assert sound.corrupt == []
        layout = Layout(contents, sound)
        judge = Judge(layout)
        for fault in _everything(layout) if soak else _sampled(layout, random.Random(7)):
            loop.run_until_complete(judge.try_out(fault))
    assert judge.broken == []
    size = sum(map(len, layout.contents.values()))
    assert judge.tried > (9 * size if soak else 1_000)


def _sampled(layout: Layout, rng: random.Random) -> Iterator[Fault]:
    for name, content in layout.contents.items():
        yield gone(name, content)
        for _, start, end in layout.structures[name]:
            for _ in range(SAMPLES_PER_STRUCTURE if end > start else 0):
                yield flipped(name, content, rng.randrange(start * 8, end * 8))
                yield cut(name, content, rng.randrange(start, end))
        yield from sectors(layout.contents, name, rng)


def _everything(layout: Layout) -> Iterator[Fault]:
    rng = random.Random(7)
    for name, content in layout.contents.items():
        yield gone(name, content)
        yield from sectors(layout.contents, name, rng)
        for at in range(len(content)):
            yield cut(name, content, at)
            yield from (flipped(name, content, at * 8 + bit) for bit in range(8))
