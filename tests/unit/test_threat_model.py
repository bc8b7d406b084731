"""THREAT_MODEL.md claims no defence that nothing shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py(?:::\w+)+)`", TEXT)))
PARTS = (
    "Ingest",
    "Management API",
    "Console",
    "Store",
    "Log on disk",
    "Egress",
    "Metrics and telemetry",
    "Command line",
)


def names_in(path: Path) -> set[str]:
    """``test_x`` and ``TestY::test_z`` of a file."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inner = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}::{part.name}" for part in inner}
    return found


@pytest.mark.parametrize("name", NAMED)
def test_each_named_test_exists(name: str) -> None:
    """A test that was renamed or removed takes its claim along."""
    file, _, test = name.partition("::")
    assert test in names_in(ROOT / "tests" / file)


def test_every_threat_has_a_defence_and_a_test() -> None:
    """Each row has a letter of STRIDE, three texts, and names at least one test."""
    rows = re.findall(r"^\| ([STRIDE]) \| (.+?) \| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE)
    lines = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith(("| | ", "| --- "))]
    assert len(rows) == len(lines) > 40
    assert [row for row in rows if "::test_" not in row[3]] == []


def test_every_part_is_looked_at() -> None:
    """None of the gateway's parts is left out."""
    assert set(PARTS) <= set(re.findall(r"^## (.+)$", TEXT, re.MULTILINE))
