"""``gateway serve`` on a data directory that it cannot use: one line that says what, where and what to do."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(data_dir: Path, limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Start it and wait until it has given up."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return subprocess.run(  # noqa: S603 - the program of these tests
        [sys.executable, "-m", "gateway", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir)],
        cwd=ROOT,
        env=others,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limit,
    )


def assert_one_line(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("gateway: ")
    for word in (*words, "--data-dir"):
        assert word in line
    assert ended.stdout == ""


@pytest.mark.parametrize("taken", ["", "log", "cursors", "dead-letters"])
def test_a_file_stands_where_a_folder_must_be(tmp_path: Path, taken: str) -> None:
    """The data directory itself, or one of its folders, is a file: it is named and left alone."""
    data_dir = tmp_path / "data"
    path = data_dir / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"somebody's")
    assert_one_line(start(data_dir), str(path), "Not a directory")
    assert path.read_bytes() == b"somebody's"


def test_a_directory_that_nobody_may_make() -> None:
    """Not even root may make a folder there."""
    assert_one_line(start(Path("/sys/gateway-data")), "/sys/gateway-data", "not permitted")


def test_no_room_for_the_first_segment(tmp_path: Path) -> None:
    """The file that does not fit is named, and nothing of it stays; with room the same directory is used."""
    ended = start(tmp_path / "data", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    assert_one_line(ended, "log/spare-", "File too large", "free space")
    assert list((tmp_path / "data" / "log").iterdir()) == []
