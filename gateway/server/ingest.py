"""Taking events in: ``POST /v1/audit/events``, and the backfill of one destination, which goes the same way.

The answer is given only once every accepted event is on stable storage. NDJSON of any length is worked through in
pieces of about a MiB: a piece is checked and handed to the queue while the next one is being read, at most a few at a
time, so that memory stays flat. What one request must hold whole (an array, a single object) is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.message import EmailMessage
from functools import lru_cache, partial
from typing import NamedTuple, TypeVar

import msgspec
from aiohttp import web

from gateway.destinations.store import ApiKey
from gateway.errors import Overloaded, QueueUnavailable, RequestRejected
from gateway.event import Checked, Rejection, Rules, checking, checking_objects
from gateway.queue import Subject, SubjectKind
from gateway.server.answers import Answer, told
from gateway.server.body import Source, pieces, source_of
from gateway.server.buffering import Share
from gateway.server.call import Call, Parts
from gateway.server.elements import cutting
from gateway.server.lines import Piece, cut
from gateway.server.problems import ProblemEntry, answer_to, problem_answer

APPENDS_IN_FLIGHT_MAX = 4
_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
_LONG_LINE_KEPT_BYTES = 4096
_CONTENT_TYPE_CHARS_MAX = 128  # the library takes time by the square of it
_FIRST_SHARE_BYTES = 64 << 10
_Result = TypeVar("_Result")


class Accepted(msgspec.Struct, frozen=True):
    """All events are durable."""

    accepted: int
    rejected: int = 0


class PartlyAccepted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The valid events are durable; of the others up to ``ingest.errors_max`` are listed."""

    accepted: int
    rejected: int
    errors: list[ProblemEntry]
    errors_truncated: bool = False


class _NotTaken(NamedTuple):
    """Lines that were not stored, up to the one before ``behind``, with so many events in them."""

    first: int
    behind: int
    events: int


def _joined(stretches: list[_NotTaken]) -> list[_NotTaken]:
    """In order, and those that follow on each other as one."""
    joined: list[_NotTaken] = []
    for first, behind, events in sorted(stretches):
        if joined and joined[-1].behind == first:
            joined[-1] = _NotTaken(joined[-1].first, behind, joined[-1].events + events)
        else:
            joined.append(_NotTaken(first, behind, events))
    return joined


class _Tally:
    """What has become of the request so far."""

    def __init__(self, errors_max: int) -> None:
        self.accepted = 0
        self.rejected = 0
        self.accepted_bytes = 0
        self.errors: list[ProblemEntry] = []
        self._errors_max = errors_max

    def refuse(self, rejections: list[Rejection], count: int) -> None:
        """``count`` of them, of which ``rejections`` are the first."""
        self.rejected += count
        room = self._errors_max - len(self.errors)
        self.errors += [ProblemEntry(line=r.line, id=r.id, message=r.message) for r in rejections[:room]]

    def note(self, error: ProblemEntry, count: int) -> None:
        """An error that stands for ``count`` lines; it is listed even when the list is full."""
        self.rejected += count
        self.errors.append(error)

    def answer(self) -> Answer:
        if not self.rejected:
            return (
                told(Accepted(self.accepted), 202)
                if self.accepted
                else problem_answer(400, "there is no event in the body")
            )
        truncated = self.rejected > len(self.errors)
        if self.accepted:
            return told(PartlyAccepted(self.accepted, self.rejected, self.errors, truncated), 207)
        noun = "event is" if self.rejected == 1 else "events are"
        return problem_answer(400, f"none of the {self.rejected} {noun} valid; nothing was taken", errors=self.errors)


async def post_events(call: Call) -> web.Response:
    """Events of the caller's tenant, or of any for an operator."""
    rules = rules_for(call.parts, call.caller.tenant_id)
    return (await take_in(call.parts, source_of(call.request), rules, call.caller)).response()


async def post_backfill(call: Call) -> web.Response:
    """An audit export, for the named destination alone and of its tenant."""
    destination = call.destination()
    call.consumer()
    call.check_open()
    rules = Rules(
        event_bytes_max=call.parts.ingest.event_bytes_max,
        tenant_id=destination.tenant_id,
        subject=Subject(SubjectKind.BACKFILL, destination.id),
        rejections_max=call.parts.ingest.errors_max,
    )
    return (await take_in(call.parts, source_of(call.request), rules, call.caller)).response()


def rules_for(parts: Parts, tenant_id: str) -> Rules:
    """Those of ``POST /v1/audit/events`` for a caller of this tenant."""
    ingest = parts.ingest
    return Rules(event_bytes_max=ingest.event_bytes_max, tenant_id=tenant_id, rejections_max=ingest.errors_max)


async def take_in(parts: Parts, source: Source, rules: Rules, caller: ApiKey) -> Answer:
    """Read, check, store, answer; and count."""
    tally = _Tally(parts.ingest.errors_max)
    answer = await _answer(parts, source, rules, caller, tally)
    parts.counts.add(answer.status, tally.accepted, tally.accepted_bytes, tally.rejected)
    return answer


async def _answer(parts: Parts, source: Source, rules: Rules, caller: ApiKey, tally: _Tally) -> Answer:
    try:
        if is_ndjson(source.content_type):
            return await _Intake(parts, source, rules, caller, tally).run()
        return await _take_whole(parts, source, rules, caller, tally)
    except (RequestRejected, Overloaded) as error:
        return answer_to(error)


def is_ndjson(content_type: str | None) -> bool:
    """Raises RequestRejected with 415 for what is neither NDJSON nor JSON in UTF-8."""
    media_type, charset = _parts_of(content_type or "")
    if charset is not None and charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise RequestRejected("the body must be UTF-8", status=415)
    if media_type in _NDJSON:
        return True
    if media_type == "application/json":
        return False
    raise RequestRejected("Content-Type must be application/x-ndjson or application/json", status=415)


@lru_cache(256)
def _parts_of(content_type: str) -> tuple[str, str | None]:
    """Media type and character set, both as written but for the type's case; nothing for what no sender writes."""
    if len(content_type) > _CONTENT_TYPE_CHARS_MAX:
        return "", None
    message = EmailMessage()
    try:
        message["Content-Type"] = content_type
        charset = message.get_param("charset")
    except (ValueError, IndexError, RecursionError):  # the library's own reader stumbles over some
        return "", None
    return message.get_content_type(), str(charset) if charset is not None else None


async def _take_whole(parts: Parts, source: Source, rules: Rules, caller: ApiKey, tally: _Tally) -> Answer:
    """One object, or an array of objects: it must fit in memory, since only its end shows that it is JSON."""
    limit = parts.ingest.body_bytes_max
    held: list[bytes] = []
    size = 0
    async with parts.budget.hold(_first_share_of(source), tenant_id=caller.tenant_id) as share:
        body = pieces(source, timeout_s=parts.server.body_timeout_s, small_bytes=limit, is_stopping=parts.stopping)
        async for piece in body:
            size += len(piece)
            if size > limit:
                text = f"the body is over {limit} bytes; send NDJSON, which may be of any length"
                raise RequestRejected(text, status=413)
            share.grow(size)
            held.append(piece)
        objects = await _gently(cutting(b"".join(held), event_bytes_max=rules.event_bytes_max))
        checked = await _gently(checking_objects(objects, rules))
        if checked.entries:
            await parts.queue.append(checked.entries)
    _count(tally, checked)
    if checked.rejections and checked.accepted:
        await _quarantine(parts, caller, checked.rejections)
    return tally.answer()


def _first_share_of(source: Source) -> int:
    """Of the memory, before anything is read. What is announced but does not come keeps nobody out."""
    declared = source.length if source.encoding == "identity" else None
    return _FIRST_SHARE_BYTES if declared is None else min(_FIRST_SHARE_BYTES, declared)


async def _gently(steps: Iterator[_Result | None]) -> _Result:
    """Other requests go on between the steps: a body of nothing but rubbish takes longest to be checked."""
    for result in steps:
        if result is not None:
            return result
        await asyncio.sleep(0)
    raise AssertionError("the last step is the result")


def _count(tally: _Tally, checked: Checked) -> None:
    tally.accepted += checked.accepted
    tally.accepted_bytes += sum(len(entry.payload) for entry in checked.entries)
    tally.refuse(checked.rejections, checked.rejected)


async def _quarantine(parts: Parts, caller: ApiKey, rejections: list[Rejection]) -> None:
    await parts.quarantine.keep(rejections, key_id=caller.id, tenant_id=caller.tenant_id)


class _Intake:
    """NDJSON in pieces. The refused lines are kept back until it is clear whether anything was accepted."""

    def __init__(self, parts: Parts, source: Source, rules: Rules, caller: ApiKey, tally: _Tally) -> None:
        self._parts, self._source, self._rules, self._caller, self._tally = parts, source, rules, caller, tally
        self._line = 1
        self._overload: Overloaded | None = None
        self._not_taken: list[_NotTaken] = []
        self._kept_back: list[Rejection] = []
        self._kept_back_bytes = 0
        self._slots = asyncio.Semaphore(APPENDS_IN_FLIGHT_MAX)

    async def run(self) -> Answer:
        first = _first_share_of(self._source)
        async with self._parts.budget.hold(first, tenant_id=self._caller.tenant_id) as share:
            return await self._run(share)

    async def _run(self, share: Share) -> Answer:
        broken: RequestRejected | None = None
        ingest = self._parts.ingest
        body = pieces(
            self._source,
            timeout_s=self._parts.server.body_timeout_s,
            small_bytes=ingest.body_bytes_max,
            is_stopping=self._parts.stopping,
        )
        async with asyncio.TaskGroup() as group:
            try:
                async for piece in cut(
                    body,
                    piece_bytes=ingest.piece_bytes,
                    line_bytes_max=ingest.event_bytes_max,
                    hold=partial(self._hold, share),
                ):
                    await self._slots.acquire()
                    await self._work(piece, group, share.part(len(piece.text)))
            except RequestRejected as error:
                broken = error  # kept until the appends under way have ended
            except Overloaded as error:
                self._overload = error
                self._not_taken.append(_NotTaken(self._line, self._line + 1, 1))
                self._line += 1
        if broken is not None:
            self._give_up(broken)
        if self._overload is not None and not self._tally.accepted:
            raise self._overload
        self._note_not_taken()
        if self._kept_back and self._tally.accepted:
            await _quarantine(self._parts, self._caller, self._kept_back)
        return self._tally.answer()

    def _give_up(self, error: RequestRejected) -> None:
        """The body is broken behind what was taken: say so beside it, or refuse the request."""
        if not self._tally.accepted:
            raise error
        text = f"nothing from this line on was taken: {error.detail}; send it again"
        self._tally.note(ProblemEntry(line=self._line, id=None, message=text), 1)

    def _note_not_taken(self) -> None:
        """A piece that failed may have others behind it that were stored: what is named was not, all of it."""
        for first, behind, events in _joined(self._not_taken):
            lines = f"the lines from {first} on" if behind == self._line else f"the lines {first} to {behind - 1}"
            text = f"{lines} were not taken: {self._overload}; send them again"
            self._tally.note(ProblemEntry(line=first, id=None, message=text), events)

    async def _hold(self, share: Share, size_bytes: int) -> None:
        """Where there is no room, once the pieces under way have given theirs back. Raises QueueUnavailable."""
        try:
            share.grow(size_bytes)
        except QueueUnavailable:
            for _ in range(APPENDS_IN_FLIGHT_MAX):
                await self._slots.acquire()
            for _ in range(APPENDS_IN_FLIGHT_MAX):
                self._slots.release()
            share.grow(size_bytes)

    async def _work(self, piece: Piece, group: asyncio.TaskGroup, share: Share) -> None:
        """The piece's share, and the slot, come back when it is stored or refused."""

        def end(_: object = None) -> None:
            share.give_back()
            self._slots.release()

        try:
            first_line = self._line
            checked = await self._checked(piece)
        except BaseException:
            end()
            raise
        if checked is not None and checked.entries:
            group.create_task(self._append(checked, first_line)).add_done_callback(end)  # also if it never begins
        else:
            end()

    async def _checked(self, piece: Piece) -> Checked | None:
        """None where nothing of it is to be stored."""
        if piece.is_too_long:
            message = f"the event has more than the {self._rules.event_bytes_max} bytes that one may have"
            self._refuse([Rejection(self._line, None, message, piece.text[:_LONG_LINE_KEPT_BYTES])], 1)
            self._line += 1
            return None
        checked = await _gently(checking(piece.text, self._rules, first_line=self._line))
        first_line, self._line = self._line, self._line + checked.lines
        if self._overload is not None:
            self._skip(first_line, checked)
            return None
        self._refuse(checked.rejections, checked.rejected)
        return checked

    async def _append(self, checked: Checked, first_line: int) -> None:
        try:
            await self._parts.queue.append(checked.entries)
            self._tally.accepted += checked.accepted
            self._tally.accepted_bytes += sum(len(entry.payload) for entry in checked.entries)
        except Overloaded as error:
            self._overload = error
            self._skip(first_line, checked)

    def _skip(self, first_line: int, checked: Checked) -> None:
        self._not_taken.append(_NotTaken(first_line, first_line + checked.lines, checked.accepted))

    def _refuse(self, rejections: list[Rejection], count: int) -> None:
        self._tally.refuse(rejections, count)
        ingest = self._parts.ingest
        for rejection in rejections:
            if len(self._kept_back) < ingest.errors_max and self._kept_back_bytes < ingest.body_bytes_max:
                self._kept_back.append(rejection)
                self._kept_back_bytes += len(rejection.raw)
