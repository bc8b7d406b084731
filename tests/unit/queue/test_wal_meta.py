"""Which log a directory holds, whatever became of META."""

from __future__ import annotations

import pytest

from gateway.errors import LogCorrupt
from gateway.queue.wal import meta, segment
from tests.memory_files import MemoryFiles

LOG_ID = bytes(range(16))
OTHER_ID = bytes(16)


def header(log_id: bytes, number: int = 1) -> bytes:
    return segment.encode_header(segment.SegmentHeader(log_id, number, 0, 0, 0, 0, 0))


def test_an_empty_directory_gets_a_log_of_its_own() -> None:
    """Two fresh directories never hold the same log, and each keeps its id."""
    files = MemoryFiles()
    log_id = meta.establish(files)
    assert meta.establish(files) == log_id
    assert meta.establish(MemoryFiles()) != log_id


@pytest.mark.parametrize("name", ["log/00000000000000000000-0000000000000001.seg", "cursors/0000000000000001.journal"])
def test_every_damage_of_meta_is_mended_from_the_other_files(name: str) -> None:
    """Each flipped bit, each cut, and META gone: the id that stands in the other headers is taken, and kept."""
    sound = meta.encode(LOG_ID)
    damaged: list[bytes | None] = [None, b"{}", b'{"format":1}', *(sound[:at] for at in range(len(sound)))]
    for bit in range(len(sound) * 8):
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        files = MemoryFiles({name: header(LOG_ID)} | ({} if content is None else {meta.NAME: content}))
        assert meta.establish(files) == LOG_ID
        assert files.contents[meta.NAME] == sound


@pytest.mark.parametrize("content", [b'{"format":99}', b'{"format":2,"log_id":"00"}'])
def test_another_format_is_refused_and_not_touched(content: bytes) -> None:
    """Also when its segments look like ours: a newer version may have left them to be read."""
    whole = meta.encode(LOG_ID).replace(b'"format":1', b'"format":2')
    newer = whole.replace(whole.partition(b'"checksum":')[2][:-1], b"%d" % meta._checksum(LOG_ID.hex(), 2))
    for raw in (content, newer):
        files = MemoryFiles({meta.NAME: raw, "log/00000000000000000000-0000000000000001.seg": header(LOG_ID)})
        before = dict(files.contents)
        with pytest.raises(LogCorrupt, match="use a newer gateway"):
            meta.establish(files)
        assert files.contents == before


@pytest.mark.parametrize("blocks", [[b"rubbish"], [header(LOG_ID, 1), header(OTHER_ID, 2)]])
def test_without_meta_files_that_do_not_tell_their_log_are_refused(blocks: list[bytes]) -> None:
    """Nothing is guessed: a new log among the segments of another would hide their events."""
    names = [f"log/{n:020d}-{n + 1:016x}.seg" for n in range(len(blocks))]
    files = MemoryFiles(dict(zip(names, blocks, strict=True)))
    with pytest.raises(LogCorrupt, match="restore META"):
        meta.establish(files)
    assert meta.NAME not in files.contents
