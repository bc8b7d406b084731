"""``make bench-smoke``: whether the gateway has become slow, in about a minute and a half, whatever the machine.

It compares ratios of one run with those of ``reference.json``, with a margin wide enough for a noisy machine: CPU
time for the most part, since other work on the machine disturbs it least. It is no part of the test suite. After a
change that is meant to move them: ``python -m benchmarks.smoke --record``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from benchmarks import limits, report, scenarios
from benchmarks.producer import Load
from benchmarks.report import Row

REFERENCE = Path(__file__).parent / "reference.json"
MARGIN = 1.6
ROUNDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoke", description=__doc__)
    parser.add_argument("--record", action="store_true", help="take what is measured now for the reference")
    ratios = measure()
    if parser.parse_args().record:
        REFERENCE.write_bytes(msgspec.json.format(msgspec.json.encode(ratios), indent=2) + b"\n")
        return
    reference = msgspec.json.decode(REFERENCE.read_bytes(), type=dict[str, float])
    rows = [
        Row(name, {"now": value, "reference": reference[name], "at most": round(reference[name] * MARGIN, 2)})
        for name, value in ratios.items()
    ]
    report.show("ratios, lower is better", rows)
    worse = [name for name, value in ratios.items() if value > reference[name] * MARGIN]
    if worse:
        sys.exit(f"slower than recorded: {', '.join(worse)}. Run it again on a quiet machine before you believe it.")


def measure() -> dict[str, float]:
    """The best of a few rounds of each, for noise only ever adds."""
    rounds = [_measure_once() for _ in range(ROUNDS)]
    best = {name: min(costs[name] for costs in rounds) for name in rounds[0]}
    return {
        "batch of 1,000, to the check of its events": round(best["thousands"] / best["check"], 2),
        "batch of 100, to one of 1,000": round(best["hundreds"] / best["thousands"], 2),
        "single events, to a batch of 1,000": round(best["singles"] / best["thousands"], 2),
        "4 destinations, to one": round(best["four"] / best["thousands"], 2),
        "drain of a backlog, to all of the way live": round(best["drain"] / best["thousands"], 2),
    }


def _measure_once() -> dict[str, float]:
    """CPU seconds of the gateway per million events."""
    four = scenarios.throughput("4", Load(1000, 60), destinations=4)
    return {
        "check": limits.check_us(),
        "thousands": _cpu(scenarios.throughput("1000", Load(1000, 150))),
        "hundreds": _cpu(scenarios.throughput("100", Load(100, 600, connections=16))),
        "singles": _cpu(scenarios.throughput("1", Load(1, 5_000, connections=64))),
        "four": _cpu(four),
        "drain": _cpu(scenarios.backlog(msgspec.structs.replace(scenarios.QUICK, backlog=150_000))[0]),
    }


def _cpu(row: Row) -> float:
    if row.figures["lost"]:
        sys.exit(f"{row.name}: {row.figures['lost']} events were lost")
    return float(row.figures["CPU s per million"])


if __name__ == "__main__":
    main()
