from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from gateway.cli.upload import LINE_BYTES_MAX, read_pieces

Command = Callable[..., Result]


@given(st.lists(st.sampled_from([b"", b"a", b"bb", b"{}" * 20, b"  "]), max_size=40), st.booleans())
def test_pieces_put_together_are_the_file(lines: list[bytes], ends_with_newline: bool) -> None:
    """Nothing is lost or changed, line numbers run on, and every line that is not blank counts as an event."""
    content = b"\n".join(lines) + (b"\n" if ends_with_newline else b"")
    pieces = list(read_pieces(io.BytesIO(content), piece_bytes=32))
    assert b"".join(piece.body for piece in pieces) == content
    assert sum(piece.events for piece in pieces) == sum(bool(line.strip()) for line in lines)
    line = 1
    for piece in pieces:
        assert piece.first_line == line
        line += piece.body.count(b"\n")


def test_a_line_that_is_too_long_is_left_out_and_numbered() -> None:
    """It is read over in bounded memory, and its neighbours keep their numbers."""
    content = b"one\n" + b"x" * (LINE_BYTES_MAX + 3_000_000) + b"\nthree\n"
    (piece,) = read_pieces(io.BytesIO(content), piece_bytes=LINE_BYTES_MAX * 3)
    assert piece.body == b"one\n\nthree\n"
    assert piece.overlong == (2,)
    assert piece.bytes_read == len(content)


def test_a_file_arrives_whole(stub: Any, gateway_command: Command, tmp_path: Path) -> None:
    """A file of several pieces is posted piece by piece, in order, byte for byte."""
    content = b"".join(b'{"n": %d, "pad": "%s"}\n' % (number, b"x" * 1_000) for number in range(2_500))
    (tmp_path / "events.ndjson").write_bytes(content)
    result = gateway_command("send", str(tmp_path / "events.ndjson"))
    assert result.exit_code == 0, result.output
    assert result.stdout == "2500 accepted, 0 rejected\n"
    assert len(stub.bodies) == 5
    assert b"".join(stub.bodies) == content


def test_standard_input_is_a_file_too(stub: Any, gateway_command: Command) -> None:
    """`gateway send -` reads what is piped in; a last line without a newline counts."""
    result = gateway_command("send", "-", "--json", stdin=b'{"a":1}\n\n{"a":2}')
    assert json.loads(result.stdout) == {"accepted": 2, "rejected": 0, "errors": []}


def test_only_the_refused_piece_is_sent_again(stub: Any, gateway_command: Command) -> None:
    """429 and 503 with Retry-After repeat that piece alone until it is taken."""
    stub.event_answers = [(429, {"detail": "full"}), (503, {"detail": "stopping"})]
    content = b'{"pad": "%s"}\n' % (b"x" * 1_000) * 1_500
    result = gateway_command("send", "-", stdin=content)
    assert result.exit_code == 0, result.output
    assert result.stdout == "1500 accepted, 0 rejected\n"
    assert stub.bodies[0] == stub.bodies[1] == stub.bodies[2]
    assert b"".join(stub.bodies[2:]) == content


def test_patience_ends_with_the_line_to_go_on_from(stub: Any, gateway_command: Command) -> None:
    """After --retry-for the command fails and says where to resume."""
    stub.event_answers = [(202, {"accepted": 1100, "rejected": 0}), (503, {"detail": "The disk is full."})]
    result = gateway_command("send", "-", "--retry-for", "0", stdin=b'{"pad": "%s"}\n' % (b"x" * 1_000) * 1_500)
    assert result.exit_code == 1
    resume = len(stub.bodies[0].splitlines()) + 1
    assert f"(503): The disk is full. 1100 accepted so far; go on with --from-line {resume}." in result.stderr
    assert result.stderr.count("\n") == 1


def test_resuming_skips_the_lines_before(stub: Any, gateway_command: Command) -> None:
    """--from-line leaves out what was taken before, and numbers stay those of the file."""
    stub.event_answers = [(207, {"accepted": 0, "rejected": 1, "errors": [{"line": 1, "id": "e", "message": "bad"}]})]
    result = gateway_command("send", "-", "--from-line", "3", stdin=b"1\n2\n3\n")
    assert stub.bodies == [b"3\n"]
    assert "line 3 (e): bad" in result.stderr


def test_rejected_lines_are_shown_with_the_numbers_of_the_file(stub: Any, gateway_command: Command) -> None:
    """Numbers within a piece are turned into numbers within the file, and the exit code tells of the rejection."""
    stub.event_answers = [
        (202, {"accepted": 519, "rejected": 0}),
        (207, {"accepted": 100, "rejected": 2, "errors": [{"line": 5, "id": None, "message": "actor_id is missing"}]}),
    ]
    result = gateway_command("send", "-", stdin=b'{"pad": "%s"}\n' % (b"x" * 1_000) * 800)
    first_piece = len(stub.bodies[0].splitlines())
    assert result.exit_code == 1
    assert f"line {first_piece + 5}: actor_id is missing\n… and 1 more\n" in result.stderr
    assert result.stdout == "619 accepted, 2 rejected\n"


def test_a_piece_with_nothing_valid_counts_as_rejected(stub: Any, gateway_command: Command) -> None:
    """400 rejects every event of its piece, and what follows is still sent."""
    stub.event_answers = [(400, {"detail": "Nothing valid.", "errors": [{"line": 1, "message": "no JSON"}]})]
    result = gateway_command("send", "-", "--json", stdin=b"nonsense\nnonsense\n")
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    assert (printed["accepted"], printed["rejected"]) == (0, 2)
    assert printed["errors"] == [{"line": 1, "id": None, "message": "no JSON"}]


def test_a_file_that_is_not_there(stub: Any, gateway_command: Command) -> None:
    """The line names the file; the exit code is that of a wrong command line."""
    result = gateway_command("send", "absent.ndjson")
    assert result.exit_code == 2
    assert result.stderr == "gateway: absent.ndjson cannot be read: No such file or directory\n"


@pytest.mark.parametrize("reference", ["soc", None])
def test_a_backfill_goes_to_one_destination(stub: Any, gateway_command: Command, reference: str | None) -> None:
    """The route is that of the destination, found by name or id."""
    identity = stub.add_destination("soc")
    result = gateway_command("backfill", reference or identity, "-", stdin=b'{"a":1}\n')
    assert result.exit_code == 0, result.output
    assert stub.requests[-1][:2] == ("POST", f"/v1/audit/siem/{identity}/backfill")
    assert stub.bodies == [b'{"a":1}\n']


def test_a_refusal_at_the_first_piece_says_nothing_of_going_on(stub: Any, gateway_command: Command) -> None:
    """Where nothing was accepted there is no line to go on from."""
    stub.event_answers = [(503, {"detail": "The disk is full"})]
    result = gateway_command("send", "-", "--retry-for", "0", stdin=b'{"a":1}\n')
    assert result.exit_code == 1
    assert result.stderr == "gateway: The gateway takes no events for now (503): The disk is full.\n"


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd"])
def test_what_is_compressed_is_refused_with_one_line(stub: Any, gateway_command: Command, start: bytes) -> None:
    """Instead of hundreds of lines that are no JSON."""
    result = gateway_command("send", "-", stdin=start + b"\xff\n" * 100)
    assert result.exit_code == 2
    assert "compressed" in result.stderr
    assert result.stderr.count("\n") == 1
    assert stub.bodies == []


def test_of_many_rejected_lines_the_first_are_shown(stub: Any, gateway_command: Command) -> None:
    """People see some of them and how many there are; programs get them all."""
    errors = [{"line": number, "id": None, "message": "no"} for number in range(1, 31)]
    stub.event_answers = [(400, {"detail": "none is valid", "errors": errors})] * 2
    content = b"x\n" * 30
    result = gateway_command("send", "-", stdin=content)
    assert result.exit_code == 1
    assert "line 20: no\n" in result.stderr
    assert "line 21: no\n" not in result.stderr
    assert "and 10 more" in result.stderr
    assert len(json.loads(gateway_command("send", "-", "--json", stdin=content).stdout)["errors"]) == 30
