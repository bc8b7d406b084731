"""Rows of figures as a table on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

Figure = float | int | str


class Row(msgspec.Struct, frozen=True):
    name: str
    figures: dict[str, Figure]


class Run(msgspec.Struct, frozen=True):
    """Everything of one ``make bench``. ``scenarios`` are rows by the scenario's name."""

    at: str
    machine: dict[str, str]
    scenarios: dict[str, list[Row]]


def describe_machine() -> dict[str, str]:
    model = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ":"
    )
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - of the user's own path
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "processor": model.partition(":")[2].strip(),
        "processors": str(os.cpu_count()),
        "memory GiB": str(round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "revision": revision.stdout.strip(),
    }


def now() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def percentiles_ms(name: str, values_us: list[int]) -> dict[str, Figure]:
    ordered = sorted(values_us)
    return {
        f"{name} {label} ms": round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1000, 2)
        if ordered
        else "-"
        for label, share in (("p50", 0.5), ("p99", 0.99))
    }


def show(title: str, rows: list[Row]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in rows[0].figures:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, *map(_text, row.figures.values()))
    Console(width=None if Console().is_terminal else 200).print(table)


def markdown(run: Run) -> str:
    parts = [f"Run of {run.at}: " + ", ".join(f"{name} {value}" for name, value in run.machine.items())]
    for title, rows in run.scenarios.items():
        names = list(rows[0].figures)
        parts += ["", f"### {title}", "", "| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
        parts += [f"| {row.name} | " + " | ".join(map(_text, row.figures.values())) + " |" for row in rows]
    return "\n".join(parts) + "\n"


def _text(value: Figure) -> str:
    return f"{value:,}" if isinstance(value, int | float) else value
