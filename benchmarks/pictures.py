"""The figures of a run as pictures, one for each kind of figure that the run has."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from benchmarks.report import Row, Run

_KINDS = {
    "throughput": ("events/s", "drained/s"),
    "cpu": ("CPU s per million",),
    "memory": ("peak MiB",),
    "latency": ("delivered p50 ms", "delivered p99 ms", "answer p50 ms", "answer p99 ms"),
}
_LEFT_OUT = frozenset({"headroom", "limits"})  # they measure the harness and the machine


def draw(run: Run, folder: Path) -> list[Path]:
    """Bars, row by row. Returns the files that were written."""
    written = []
    for kind, names in _KINDS.items():
        bars = [
            bar for title, rows in run.scenarios.items() if title not in _LEFT_OUT for bar in _bars(title, rows, names)
        ]
        if bars:
            written.append(_picture(kind, bars, folder / f"{kind}.svg"))
    return written


def _bars(title: str, rows: list[Row], names: tuple[str, ...]) -> list[tuple[str, float]]:
    return [
        (f"{title}: {row.name}, {name}", float(row.figures[name]))
        for row in rows
        if not row.name.endswith("ratio")
        for name in names
        if isinstance(row.figures.get(name), int | float)
    ]


def _picture(kind: str, bars: list[tuple[str, float]], path: Path) -> Path:
    labels, values = zip(*reversed(bars), strict=True)
    figure, axes = plt.subplots(figsize=(10, 0.6 + 0.28 * len(bars)), layout="constrained")
    drawn = axes.barh(labels, values, color="#3b6ea5")
    axes.bar_label(drawn, [f"{value:,.6g}" for value in values], padding=3, fontsize=8)
    axes.set_title(kind, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    axes.tick_params(axis="y", labelsize=8)
    figure.savefig(path)
    plt.close(figure)
    return path
