from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from gateway.clock import SystemClock
from gateway.config import Queue
from gateway.quantity import Bytes
from gateway.queue import Entry, Subject, SubjectKind
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.opening import open_queue
from gateway.telemetry import Metrics

Command = Callable[..., Result]
MARK = b"a-payload-that-can-be-found-again"


async def fill(directory: Path) -> None:
    """A queue with one destination and two commits of its tenant, four events in all, none delivered."""
    settings = Queue(segment_bytes=Bytes(1 << 20), compression_level=0)
    files = await asyncio.to_thread(DiskFiles, directory)
    queue = await open_queue(files, settings, clock=SystemClock(), metrics=Metrics())
    await queue.add_consumer("siem_one", "t1")
    line = b'{"id":"%s"}' % MARK
    await queue.append([Entry(Subject(SubjectKind.TENANT, "t1"), b"\n".join([line] * 3), 3)])
    await queue.append([Entry(Subject(SubjectKind.TENANT, "t1"), line, 1)])
    await queue.close()


def test_a_sound_directory_is_shown_and_verified(gateway_command: Command, tmp_path: Path) -> None:
    """Segments and destinations are tables for people and JSON for programs; nothing is changed on disk."""
    asyncio.run(fill(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shown = gateway_command("log", "inspect", str(tmp_path))
    assert shown.exit_code == 0, shown.output
    assert "siem_one" in shown.stdout
    assert "damaged" not in shown.stdout
    found = json.loads(gateway_command("log", "inspect", str(tmp_path), "--json").stdout)
    assert sum(segment["events"] for segment in found["segments"]) == 4
    assert [(consumer["id"], consumer["pending"]) for consumer in found["consumers"]] == [("siem_one", 4)]
    assert gateway_command("log", "verify", str(tmp_path)).exit_code == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_damage_fails_the_verification(gateway_command: Command, tmp_path: Path) -> None:
    """A flipped bit in a stored event is found, named with its file, and ends with exit code 1."""
    asyncio.run(fill(tmp_path))
    (segment,) = [path for path in tmp_path.rglob("*.seg") if MARK in path.read_bytes()]
    content = bytearray(segment.read_bytes())
    content[content.index(MARK)] ^= 1
    segment.write_bytes(content)
    result = gateway_command("log", "verify", str(tmp_path))
    assert result.exit_code == 1
    assert segment.name in result.stdout
    assert json.loads(gateway_command("log", "verify", str(tmp_path), "--json").stdout)["damage"][0]["events"] == 3


def test_a_directory_that_is_no_queue_is_refused(gateway_command: Command, tmp_path: Path) -> None:
    """One line says which directory is meant."""
    result = gateway_command("log", "inspect", str(tmp_path))
    assert result.exit_code == 1
    assert "is not a queue directory" in result.stderr
    assert result.stderr.count("\n") == 1
