"""What the log asks of its files, of real ones, of those that fail on demand, and of those on a simulated disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import DataDirectoryInUse
from gateway.queue.wal.files import DiskFiles, Files
from tests.faulty_files import FaultyFiles
from tests.simulated_disk import SimulatedDisk


@pytest.fixture(params=["disk", "faulty", "simulated", "simulated with short writes"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "disk":
        return DiskFiles(tmp_path / "data")
    if request.param == "faulty":
        return FaultyFiles(tmp_path / "data")
    disk = SimulatedDisk()
    disk.short_writes = "short" in request.param
    return DiskFiles(Path("/data"), disk)


def content(files: Files, name: str) -> bytes:
    file = files.open(name)
    try:
        return file.read_at(0, file.size())
    finally:
        file.close()


def test_a_folder_is_made_when_it_is_asked_for(files: Files) -> None:
    """A folder that is not there is empty, and is there from then on."""
    assert files.names("log") == []
    files.create("log/b", 0).close()
    files.create("log/a", 0).close()
    assert files.names("log") == ["a", "b"]


def test_a_new_file_is_as_large_as_asked_and_holds_zeros(files: Files) -> None:
    """Also beyond the size of what is written in one call."""
    file = files.create("new", (2 << 20) + 5)
    assert file.size() == (2 << 20) + 5
    assert file.read_at((2 << 20) - 3, 100) == bytes(8)
    file.close()


def test_a_file_that_is_there_is_not_made_again(files: Files) -> None:
    """Making it twice fails and leaves the first as it was."""
    file = files.create("new", 0)
    file.write_at(0, [b"first"])
    file.close()
    with pytest.raises(FileExistsError):
        files.create("new", 10)
    assert content(files, "new") == b"first"


def test_buffers_are_written_one_behind_another(files: Files) -> None:
    """More buffers than one call takes, of many sizes, across sectors, at a place in the midst."""
    buffers = [b"%d," % n * (n % 7) for n in range(3000)]
    file = files.create("new", 100)
    file.write_at(700, buffers)
    file.sync(700)
    written = b"".join(buffers)
    assert file.read_at(0, 1 << 20) == bytes(700) + written
    assert file.read_at(705, 9) == written[5:14]
    assert file.read_at(700 + len(written), 10) == b""
    file.close()


def test_what_one_descriptor_writes_another_reads(files: Files) -> None:
    """Before any sync too; and asking for the device's bytes shows no older ones."""
    file = files.create("new", 2000)
    file.write_at(600, [b"shared"])
    assert content(files, "new")[600:606] == b"shared"
    file.forget_cached()
    assert file.read_at(600, 6) == b"shared"
    file.close()


def test_a_rename_takes_the_place_of_another_file(files: Files) -> None:
    """The old name is gone, the new one has the other's bytes; an open file stays readable."""
    files.replace("a", b"new")
    files.replace("b", b"old")
    reader = files.open("b")
    files.rename("a", "b")
    assert (files.exists("a"), content(files, "b"), reader.read_at(0, 3)) == (False, b"new", b"old")
    reader.close()


def test_replace_puts_a_whole_file_in_place(files: Files) -> None:
    """Shorter than before, with nothing of the old bytes and no other file left behind."""
    files.replace("x", b"a longer first content")
    files.replace("x", b"short")
    assert content(files, "x") == b"short"
    assert not files.exists("x.tmp")


def test_unlink_passes_over_what_is_gone(files: Files) -> None:
    """Names that are not there are no fault; the others go, and an open one stays readable."""
    assert files.names("log") == []
    file = files.create("log/a", 10)
    files.unlink(["log/a", "log/never"])
    files.unlink([])
    assert files.names("log") == []
    assert file.read_at(0, 10) == bytes(10)
    file.close()


def test_truncate_cuts_and_fills_up(files: Files) -> None:
    """What was cut off does not come back when the file grows again."""
    files.replace("x", b"0123456789" * 200)
    files.truncate("x", 1005)
    files.truncate("x", 1010)
    assert content(files, "x") == b"0123456789" * 100 + b"01234" + bytes(5)


def test_what_is_not_there_cannot_be_opened(files: Files) -> None:
    """Neither for reading nor for writing, and the name is in the message."""
    for writable in (False, True):
        with pytest.raises(FileNotFoundError, match="missing"):
            files.open("missing", writable=writable)
    assert not files.exists("missing")


def test_a_lock_is_held_until_it_is_given_up(files: Files) -> None:
    """A second one on the same directory is refused with the owner's process number."""
    files.lock("LOCK")
    with pytest.raises(DataDirectoryInUse, match=r"process \d+"):
        files.lock("LOCK")
    files.unlock()
    files.lock("LOCK")
    files.unlock()


def test_free_space_is_told(files: Files) -> None:
    """Some bytes are free."""
    assert files.free_bytes() > 0
