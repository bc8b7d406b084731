"""Posting NDJSON of any length in bounded memory: in pieces, each repeated alone when it has to be."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from gateway.cli.client import Answer, Client
from gateway.cli.failure import CommandError, Interrupted, WrongUse

PIECE_BYTES = 512 << 10  # with its last line below the gateway's ingest.piece, so that it is taken whole or not at all
LINE_BYTES_MAX = 8 << 20  # the largest event that a gateway can be set to take
REJECTIONS_SHOWN_MAX = 1_000
_WAIT_MAX_S = 60.0
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd


class Piece(msgspec.Struct, frozen=True):
    """``first_line`` counts from 1 in the file. ``overlong`` numbers the lines that ``body`` leaves empty."""

    first_line: int
    body: bytes
    events: int
    bytes_read: int
    overlong: tuple[int, ...] = ()


class Rejection(msgspec.Struct, frozen=True):
    """``line`` counts from 1 in the file."""

    line: int
    id: str | None
    message: str


class Summary(msgspec.Struct):
    """``errors`` holds the first of the rejected; the counts are complete."""

    accepted: int = 0
    rejected: int = 0
    errors: list[Rejection] = []

    def add(self, accepted: int, rejected: int, errors: list[Rejection]) -> None:
        self.accepted += accepted
        self.rejected += rejected
        self.errors += errors[: REJECTIONS_SHOWN_MAX - len(self.errors)]


def read_pieces(stream: BinaryIO, *, from_line: int = 1, piece_bytes: int = PIECE_BYTES) -> Iterator[Piece]:
    """Cut at line ends. A line longer than LINE_BYTES_MAX is read over, and an empty one stands in its place.

    Raises WrongUse for what is compressed.
    """
    number, lines, events, size, overlong = 0, [], 0, 0, []
    first = from_line
    while raw := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if number == 1 and raw.startswith(_COMPRESSED):
            raise WrongUse("This is compressed, not NDJSON: unpack it first, as in `gunzip -c FILE | gateway send -`.")
        read = len(raw)
        if not raw.endswith(b"\n") and read > LINE_BYTES_MAX:
            read += _read_over(stream)
            raw = b"\n"
            overlong += [number] if number >= from_line else []
        if number < from_line:
            continue
        lines.append(raw)
        events += not raw.isspace()
        size += read
        if size >= piece_bytes:
            yield Piece(first, b"".join(lines), events, size, tuple(overlong))
            first, lines, events, size, overlong = number + 1, [], 0, 0, []
    if lines:
        yield Piece(first, b"".join(lines), events, size, tuple(overlong))


def _read_over(stream: BinaryIO) -> int:
    """Read to the end of the line and return how many bytes that were."""
    read = 0
    while rest := stream.readline(PIECE_BYTES):
        read += len(rest)
        if rest.endswith(b"\n"):
            break
    return read


async def upload(
    client: Client,
    path: str,
    pieces: Iterator[Piece],
    *,
    retry_for_s: float,
    on_progress: Callable[[int], None],
) -> Summary:
    """Post piece by piece. ``on_progress`` is told the bytes of the file that each piece took.

    A piece answered by 429 or 503 is sent again after its Retry-After, for at most ``retry_for_s`` without any success.
    Raises CommandError with the line to go on from, when cancelled too: that is what Ctrl-C does.
    """
    summary = Summary()
    next_line = 0  # of the file; 0 until a piece has been read
    try:
        while (piece := await _read_next(pieces)) is not None:
            next_line = piece.first_line
            if piece.events:
                _count(summary, piece, await _post(client, path, piece.body, retry_for_s))
            summary.add(
                0,
                len(piece.overlong),
                [Rejection(line, None, f"longer than {LINE_BYTES_MAX} bytes") for line in piece.overlong],
            )
            next_line += piece.body.count(b"\n")
            on_progress(piece.bytes_read)
    except asyncio.CancelledError as error:
        raise Interrupted("Stopped." + _resumption(summary, next_line)) from error
    except CommandError as error:
        if not summary.accepted:
            raise
        raise CommandError(str(error) + _resumption(summary, next_line)) from error
    return summary


def _resumption(summary: Summary, next_line: int) -> str:
    return f" {summary.accepted} accepted so far; go on with --from-line {next_line}." if next_line else ""


async def _read_next(pieces: Iterator[Piece]) -> Piece | None:
    """In a thread that nobody waits for: Ctrl-C must not have to wait for a pipe that says nothing."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Piece | None] = loop.create_future()

    def give(piece: Piece | None, error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(piece)
        else:
            found.set_exception(error)

    def read() -> None:
        piece, error = None, None
        try:
            piece = next(pieces, None)
        except Exception as raised:  # noqa: BLE001 - raised again by the one who waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(give, piece, error)

    threading.Thread(target=read, daemon=True).start()
    return await found


async def _post(client: Client, path: str, body: bytes, retry_for_s: float) -> Answer:
    deadline = time.monotonic() + retry_for_s
    while True:
        answer = await client.post_events(path, body)
        if answer.status not in {429, 503}:
            return answer
        wait_s = min(max(answer.retry_after_s, 0.05), _WAIT_MAX_S)
        if time.monotonic() + wait_s > deadline:
            detail = str(answer.body.get("detail", "")) if isinstance(answer.body, dict) else ""
            raise CommandError(f"The gateway takes no events for now ({answer.status}): {detail.rstrip('.')}.")
        await asyncio.sleep(wait_s)


def _count(summary: Summary, piece: Piece, answer: Answer) -> None:
    body = answer.body if isinstance(answer.body, dict) else {}
    errors = [
        Rejection(piece.first_line + int(error["line"]) - 1, error.get("id"), str(error.get("message", "")))
        for error in body.get("errors") or []
        if error.get("line") is not None
    ]
    if answer.status != 400:
        summary.add(int(body.get("accepted", 0)), int(body.get("rejected", 0)), errors)
        return
    if not errors:
        errors = [Rejection(piece.first_line, None, str(body.get("detail") or "refused"))]
    summary.add(0, piece.events, errors)
