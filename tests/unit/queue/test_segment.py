"""Walking the frames of a segment."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.queue import Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.segment import Damage, End, Located

SEED = 0x1234
SUBJECT = Subject(SubjectKind.TENANT, "a")


def batch(content: bytes, *numbers: int) -> bytes:
    """What is written and synced together: each frame says how much of the file was durable before."""
    frames = [
        record.encode(
            seed=SEED,
            kind=record.Kind.EVENTS,
            subject=SUBJECT,
            payload=b"%d" % number,
            first_offset=number,
            events=1,
            synced_end=len(content),
        )
        for number in numbers
    ]
    return content + b"".join(piece for frame in frames for piece in frame)


def rotten(content: bytes, number: int, part: str) -> bytes:
    """With a flipped bit in a frame's header or body."""
    at = segment.HEADER_BYTES + number * 80 + (record.HEADER_BYTES if part == "body" else 20)
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def walked(content: bytes, *, passes_torn: bool = False) -> list[int | str]:
    """The numbers of the sound frames, and what lies between them."""
    found: list[int | str] = []
    for item in segment.walk(
        lambda at, size: content[at : at + size], seed=SEED, limit=len(content), passes_torn=passes_torn
    ):
        match item:
            case Located(header=header):
                found.append(header.first_offset)
            case Damage(was_durable=was_durable):
                found.append("damaged" if was_durable else "torn")
            case End(position=position):
                found += ["cut"] if position < len(content) else []
    return found


@pytest.mark.parametrize("part", ["header", "body"])
@pytest.mark.parametrize(
    ("batches", "found"),
    [
        ([[0, 1, 2], [3]], [0, "damaged", 2, 3]),  # the word of the next batch
        ([[0], [1], [2]], [0, "damaged", 2]),
        ([[0, 1, 2]], [0, "cut"]),  # as a crash within the write of the batch leaves it
        ([[0], [1]], [0, "cut"]),
    ],
)
def test_a_later_frame_tells_damage_from_a_broken_write(
    batches: Sequence[Sequence[int]], found: list[int | str], part: str
) -> None:
    """However many frames that were written together with the bad one lie between."""
    content = bytes(segment.HEADER_BYTES)
    for numbers in batches:
        content = batch(content, *numbers)
    assert walked(rotten(content, 1, part)) == found


@pytest.mark.parametrize("part", ["header", "body"])
def test_sound_frames_behind_a_broken_write_are_found_when_they_are_wanted(part: str) -> None:
    """Without a word that it was durable; and a bad frame at the end is the end."""
    content = batch(bytes(segment.HEADER_BYTES), 0, 1, 2)
    assert walked(rotten(content, 1, part), passes_torn=True) == [0, "torn", 2]
    assert walked(rotten(content, 2, part), passes_torn=True) == [0, 1, "cut"]
