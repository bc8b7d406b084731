from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
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


async def opened(directory: Path) -> list[bytes]:
    """Start a queue and take what it has for the destination."""
    files = await asyncio.to_thread(DiskFiles, directory)
    try:
        queue = await open_queue(files, Queue(), clock=SystemClock(), metrics=Metrics())
    except OSError:
        files.unlock()  # as the end of the process would
        raise
    try:
        consumer = queue.consumer("siem_one")
        assert consumer is not None
        records = await consumer.take(events_max=10, bytes_max=1 << 20)
        return records.lines if records is not None else []
    finally:
        await queue.close()


async def fill(directory: Path, mark: bytes = MARK) -> None:
    """A queue with one destination and two commits of its tenant, four events in all, none delivered."""
    settings = Queue(segment_bytes=Bytes(1 << 20), compression_level=0)
    files = await asyncio.to_thread(DiskFiles, directory)
    queue = await open_queue(files, settings, clock=SystemClock(), metrics=Metrics())
    await queue.add_consumer("siem_one", "t1")
    line = b'{"id":"%s"}' % mark
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


def damaged(folder: Path) -> Path:
    """A directory with three damaged events; returns their segment."""
    asyncio.run(fill(folder))
    (segment,) = [path for path in folder.rglob("*.seg") if MARK in path.read_bytes()]
    content = bytearray(segment.read_bytes())
    content[content.index(MARK)] ^= 1
    segment.write_bytes(content)
    return segment


def test_the_verification_names_file_byte_tenant_and_events(gateway_command: Command, tmp_path: Path) -> None:
    """And what each destination misses of it, counted frame by frame."""
    segment = damaged(tmp_path)
    found = json.loads(gateway_command("log", "verify", str(tmp_path), "--json").stdout)
    (damage,) = found["damage"]
    assert (damage["file"], damage["at_byte"]) == (f"log/{segment.name}", 4096)
    assert (damage["tenant"], damage["events"]) == ("t1", 3)
    (books,) = found["books"]
    assert (books["accepted"], books["pending"], books["unreadable"], books["balanced"]) == (4, 4, 3, True)


def test_files_that_are_missing_are_damage(gateway_command: Command, tmp_path: Path) -> None:
    """A segment with events that a destination waits for, META, dead letters."""
    asyncio.run(fill(tmp_path))
    (segment,) = [path for path in tmp_path.rglob("*.seg") if MARK in path.read_bytes()]
    segment.unlink()
    (tmp_path / "META").unlink()
    result = gateway_command("log", "verify", str(tmp_path), "--json")
    assert result.exit_code == 1
    damage = {item["file"]: (item["tenant"], item["events"]) for item in json.loads(result.stdout)["damage"]}
    assert damage == {"META": (None, None), "log/": ("t1", 4)}


def test_a_repair_is_shown_first_and_done_when_it_is_wanted(gateway_command: Command, tmp_path: Path) -> None:
    """Without ``--yes`` no byte changes; with it the directory is sound, and the damaged bytes are kept."""
    segment = damaged(tmp_path)
    (tmp_path / "META").write_text("rubbish")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shown = gateway_command("log", "repair", str(tmp_path))
    assert (shown.exit_code, "nothing was changed" in shown.stdout) == (0, True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    done = json.loads(gateway_command("log", "repair", "--yes", "--json", str(tmp_path)).stdout)["done"]
    assert any(segment.name in line and "rewritten" in line for line in done)
    assert any(line.startswith("META") for line in done)
    assert not segment.exists()
    assert any(MARK[1:] in piece.read_bytes() for piece in (tmp_path / "damaged").iterdir())
    again = gateway_command("log", "verify", str(tmp_path), "--json")
    assert [item["what"] for item in json.loads(again.stdout)["damage"]] == [
        "events that a destination waits for are in no segment"
    ]


def test_what_the_disk_refuses_to_read_can_be_given_up(gateway_command: Command, tmp_path: Path) -> None:
    """A start and a destination wait for such a place, since it may come back; a repair takes it for damaged."""
    asyncio.run(fill(tmp_path, b"x" * 10_000))
    (segment,) = [path for path in tmp_path.rglob("*.seg") if b"x" * 10_000 in path.read_bytes()]
    inode = segment.stat().st_ino
    pread = os.pread

    def refusing(descriptor: int, size: int, position: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode and position < 12_288 and position + size > 8_192:
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, size, position)

    with mock.patch("os.pread", refusing):
        with pytest.raises(OSError, match="Input/output error"):
            asyncio.run(opened(tmp_path))
        found = json.loads(gateway_command("log", "verify", str(tmp_path), "--json").stdout)["damage"]
        assert [(item["file"], item["events"]) for item in found] == [(f"log/{segment.name}", 3)]
        assert gateway_command("log", "repair", "--yes", str(tmp_path)).exit_code == 0
        assert asyncio.run(opened(tmp_path)) == [b'{"id":"%s"}' % (b"x" * 10_000)]


def test_a_repair_keeps_off_a_running_gateway(gateway_command: Command, tmp_path: Path) -> None:
    """The lock of the directory is held: one line says by whom, and nothing is changed."""
    damaged(tmp_path)
    files = DiskFiles(tmp_path)
    files.lock("LOCK")
    result = gateway_command("log", "repair", "--yes", str(tmp_path))
    files.unlock()
    assert result.exit_code != 0
    assert "in use by process" in result.stderr


def test_a_sound_directory_needs_no_repair(gateway_command: Command, tmp_path: Path) -> None:
    """It says so and does nothing."""
    asyncio.run(fill(tmp_path))
    result = gateway_command("log", "repair", "--yes", str(tmp_path))
    assert (result.exit_code, result.stdout.strip()) == (0, "sound: there is nothing to repair")


def test_a_directory_that_is_no_queue_is_refused(gateway_command: Command, tmp_path: Path) -> None:
    """One line says which directory is meant."""
    result = gateway_command("log", "inspect", str(tmp_path))
    assert result.exit_code == 1
    assert "is not a queue directory" in result.stderr
    assert result.stderr.count("\n") == 1
