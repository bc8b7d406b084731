"""``make bench``: run the scenarios, print a table, keep the figures as JSON in ``benchmarks/results``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import scenarios

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of a throughput run")
    parser.add_argument("--backlog", type=int, default=5_000_000, help="events of the backlog run; 0 leaves it out")
    parser.add_argument("--seconds", type=float, default=15, help="length of the latency run")
    options = parser.parse_args()
    rows = [
        scenarios.throughput(1000, options.events, 8),
        scenarios.throughput(100, options.events // 2, 16),
        scenarios.throughput(1, options.events // 50, 64),
        scenarios.latency(1000, options.seconds),
    ]
    if options.backlog:
        rows.append(scenarios.backlog(options.backlog))
    _show(rows)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    Console().print(f"kept in {path.relative_to(Path.cwd())}")


def _show(rows: list[scenarios.Row]) -> None:
    console = Console(width=140)
    for row in rows:
        table = Table(title=row.scenario, title_justify="left")
        for name in row.figures:
            table.add_column(name, justify="right")
        table.add_row(*(f"{value:,}" if isinstance(value, int | float) else value for value in row.figures.values()))
        console.print(table)


if __name__ == "__main__":
    main()
