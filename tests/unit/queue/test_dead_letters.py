"""The file of one destination's dead letters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from gateway.queue import DeadLetter
from gateway.queue.wal.dead_letters import COPIED_AT_ONCE, REPLAYED_RUNS_MAX, DeadLetterFile
from tests.memory_files import MemoryFiles

LOG_ID = bytes(16)


def opened(files: MemoryFiles, *, replay_end: int = 0, replayed: Sequence[tuple[int, int]] = ()) -> DeadLetterFile:
    return DeadLetterFile(files, log_id=LOG_ID, consumer_id="siem_a", replay_end=replay_end, replayed=replayed)


def letters(*numbers: int, size: int = 2) -> list[DeadLetter]:
    return [DeadLetter(number, f"id-{number}", 0.0, "400", "no", bytes(size)) for number in numbers]


def test_reading_stops_at_so_many_bytes() -> None:
    """One letter comes however heavy, and the next call goes on behind the last."""
    file = opened(MemoryFiles())
    file.add(letters(1, 2, 3, 4, size=1000))
    assert file.read([1, 2, 3, 4], bytes_max=2500) == (letters(1, 2, size=1000), 2)
    assert file.read([3, 4], bytes_max=1) == (letters(3, size=1000), 1)


def test_what_cannot_be_read_is_left_out_and_counted() -> None:
    """It is forgotten, so that it is not counted again, and the others come."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3))
    content = files.contents["dead-letters/siem_a.log"]
    assert isinstance(content, bytearray)
    content[content.index(b"id-2")] ^= 1
    with capture_logs():
        assert file.read([1, 2, 3], bytes_max=100) == (letters(1, 3), 3)
    assert (file.lost, file.all_numbers()) == (1, [1, 3])


def test_a_page_of_large_letters_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One comes however heavy."""
    monkeypatch.setattr("gateway.queue.wal.dead_letters.PAGE_BYTES_MAX", 2500)
    file = opened(MemoryFiles())
    file.add([*letters(1, 2, 3, size=1000), *letters(4, size=3000), *letters(5)])
    assert file.page(after=0, limit=100) == letters(1, 2, size=1000)
    assert file.page(after=2, limit=100) == letters(3, size=1000)
    assert file.page(after=3, limit=100) == letters(4, size=3000)


def test_others_come_in_the_place_of_a_damaged_one() -> None:
    """A short page would be taken for the last."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3, 4))
    content = files.contents["dead-letters/siem_a.log"]
    assert isinstance(content, bytearray)
    content[content.index(b"id-2")] ^= 1
    with capture_logs():
        assert file.page(after=0, limit=2) == letters(1, 3)


def test_what_was_left_out_meanwhile_is_passed_over() -> None:
    """The one behind it does not come in its place, and then once more."""
    file = opened(MemoryFiles())
    file.add(letters(1, 2, 3, 4))
    file.forget([2])
    assert file.read([2, 3], bytes_max=100) == (letters(3), 2)


def test_the_end_of_the_lane_tells_which_letters_were_replayed() -> None:
    """Those that it has are dead letters no more, whenever the file is opened, in the order written down."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3, 4))
    file.begin_replay([2, 4], 7)
    assert [opened(files, replay_end=end).all_numbers() for end in (7, 8, 9)] == [[1, 2, 3, 4], [1, 3, 4], [1, 3]]


def test_a_later_replay_takes_back_what_the_lane_never_got() -> None:
    """Both begin at the same place: the lane has the events of the second."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3))
    file.begin_replay([1], 7)
    file.begin_replay([2], 7)
    file.end_replay()
    file.begin_replay([3], 8)
    assert opened(files, replay_end=8).all_numbers() == [1, 3]
    assert opened(files, replay_end=9).all_numbers() == [1]


def test_a_replay_under_way_is_not_forgotten_when_the_file_is_written_anew() -> None:
    """Deleting another letter meanwhile leaves it to the lane what became of the replayed one."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3))
    file.begin_replay([1], 7)
    file.forget([2])
    assert opened(files, replay_end=7).all_numbers() == [1, 3]
    assert opened(files, replay_end=8).all_numbers() == [3]


def test_a_letter_that_was_stored_again_after_its_replay_stays() -> None:
    """What was written down is of the letters before it."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2))
    file.begin_replay([1], 0)
    file.end_replay()
    file.add(letters(1))
    assert opened(files, replay_end=1).all_numbers() == [1, 2]


def test_a_long_file_is_written_anew_in_pieces() -> None:
    """However many letters there are, with what is under way."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(*range(1, 5 * COPIED_AT_ONCE), size=50))
    file.begin_replay([5], 0)
    file.forget([3])
    assert opened(files).page(after=0, limit=1000) == letters(1, 2, *range(4, 5 * COPIED_AT_ONCE), size=50)
    assert 5 not in opened(files, replay_end=1).all_numbers()


def test_a_file_is_worth_writing_anew_when_half_of_it_is_gone() -> None:
    """Also after a start."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3, 4, 5))
    file.begin_replay([2, 3], 0)
    file.end_replay()
    before = file.is_mostly_gone
    file.begin_replay([5], 2)
    file.end_replay()
    assert (before, file.is_mostly_gone, opened(files, replay_end=3).is_mostly_gone) == (False, True, True)
    file.mend()
    assert (file.is_mostly_gone, file.all_numbers()) == (False, [1, 4])


def test_a_finished_replay_leaves_nothing_behind() -> None:
    """The file is written anew with the others, and removed with the last."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2))
    file.begin_replay([1], 0)
    file.end_replay()
    file.mend()
    assert opened(files).all_numbers() == [2]
    file.begin_replay([2], 1)
    file.end_replay()
    file.mend()
    assert not files.exists("dead-letters/siem_a.log")


@pytest.mark.parametrize("where", [b"id-1", b"\xa7AG1"])
@pytest.mark.parametrize("is_rewritten", [False, True])
def test_a_damaged_letter_costs_none_that_was_written_with_it(where: bytes, is_rewritten: bool) -> None:
    """Also the first of many, in its header or its body. The file takes the next one when it has been written anew,
    which would else vouch for what may as well be a broken write.
    """
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3))
    if is_rewritten:
        file.mend()
    content = files.contents["dead-letters/siem_a.log"]
    assert isinstance(content, bytearray)
    content[content.index(where)] ^= 1
    again = opened(files)
    assert (again.all_numbers(), len(again.torn)) == ([2, 3], 1)
    again.add(letters(4))
    assert (opened(files).all_numbers(), opened(files).torn) == ([2, 3, 4], [])


def test_what_a_checkpoint_knows_of_replays_makes_up_for_their_record() -> None:
    """Letters that were replayed do not come back when it is damaged, and what else is lost is missed."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3, 4))
    file.begin_replay([1, 2, 4], 0)
    file.end_replay()
    known = file.replayed
    content = files.contents["dead-letters/siem_a.log"]
    assert isinstance(content, bytearray)
    content[content.rindex(b"\xa7AG1")] ^= 1
    assert opened(files, replay_end=3).all_numbers() == [1, 2, 3, 4]
    again = opened(files, replay_end=3, replayed=known)
    assert (again.all_numbers(), again.replayed, known) == ([3], known, ((1, 3), (4, 5)))


def test_a_letter_that_came_again_is_replayed_no_more() -> None:
    """Its event was handed out again after checkpoints were damaged, and was refused again."""
    files = MemoryFiles()
    file = opened(files)
    file.add(letters(1, 2, 3))
    file.begin_replay([1, 2], 0)
    file.end_replay()
    file.add(letters(2))
    assert file.replayed == ((1, 2),)
    assert opened(files, replay_end=2, replayed=file.replayed).all_numbers() == [2, 3]


def test_a_file_is_written_anew_before_checkpoints_have_to_know_too_much() -> None:
    """Letters that are replayed one by one, here and there."""
    file = opened(MemoryFiles())
    file.add(letters(*range(1, 4 * REPLAYED_RUNS_MAX)))
    for at, number in enumerate(range(1, 2 * REPLAYED_RUNS_MAX + 2, 2)):
        assert not file.is_mostly_gone
        file.begin_replay([number], at)
        file.end_replay()
    assert file.is_mostly_gone
    file.mend()
    assert (file.replayed, file.is_mostly_gone) == ((), False)
