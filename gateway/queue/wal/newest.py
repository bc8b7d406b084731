"""The newest events that are still in the log, to look at: from memory where it holds them all, else from the segments.

No consumer is involved and nothing is moved. A frame that is damaged is left out here; consumers report it. A search of
the segments takes a thread, and much of the interpreter's lock, for a quarter of a second: there is one at a time, so
that those who ask often hold up each other and neither producers nor destinations.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import zstandard

from gateway.queue import ALL_TENANTS, Subject, SubjectKind
from gateway.queue.wal import record, segment
from gateway.queue.wal.cursor import Place
from gateway.queue.wal.files import Files
from gateway.queue.wal.index import Segment
from gateway.queue.wal.reader import Wanted
from gateway.queue.wal.tail import MemoryTail

BYTES_MAX = 16 << 20

Search = Callable[[Sequence[Segment]], list[bytes]]


class Log(Protocol):
    @property
    def tail(self) -> MemoryTail: ...

    def end(self) -> Place: ...

    def end_sequence(self, subject: Subject) -> int: ...


class Newest:
    """``reading`` runs a search of all segments in a thread."""

    def __init__(self, log: Log, files: Files, reading: Callable[[Search], Awaitable[list[bytes]]]) -> None:
        self._log, self._files, self._reading = log, files, reading
        self._searching = asyncio.Lock()

    async def lines(self, tenant_id: str, events_max: int) -> list[bytes]:
        """The newest first; fewer than ``events_max`` where they weigh more than BYTES_MAX, one where there is one."""
        log = self._log
        is_all = tenant_id == ALL_TENANTS
        end = log.end().tenant if is_all else log.end_sequence(Subject(SubjectKind.TENANT, tenant_id))
        first = max(0, end - events_max)
        kept = log.tail.of_tenant(tenant_id).since(first)
        if kept is not None or not end:
            return last_lines([frame.payload for frame in kept or ()], events_max)
        wanted = Wanted(tenant_id, "")
        async with self._searching:
            return await self._reading(
                lambda segments: last_lines(_payloads(self._files, segments, wanted, first), events_max)
            )


def last_lines(payloads: Sequence[bytes], events_max: int) -> list[bytes]:
    """The last events of these frames, the last one first."""
    lines: list[bytes] = []
    size = 0
    for payload in reversed(payloads):
        for line in reversed(payload.split(b"\n")):
            size += len(line)
            if len(lines) == events_max or (lines and size > BYTES_MAX):
                return lines
            lines.append(line)
    return lines


def _payloads(files: Files, segments: Sequence[Segment], wanted: Wanted, first_sequence: int) -> list[bytes]:
    """Of the frames with events from ``first_sequence`` on, in order: the newest of about BYTES_MAX. Blocks."""
    newest: list[bytes] = []
    size = 0
    for item in reversed(segments):
        if not wanted.may_be_in(item):
            continue
        found: deque[bytes] = deque()
        lowest = None
        for sequence, payload in _walk(files, item, wanted, first_sequence):
            lowest = sequence if lowest is None else lowest
            found.append(payload)
            size += len(payload)
            while size > BYTES_MAX and len(found) > 1:
                size -= len(found.popleft())
        newest = [*found, *newest]
        if size > BYTES_MAX or (lowest is not None and lowest <= first_sequence):
            break
    return newest


def _walk(files: Files, item: Segment, wanted: Wanted, first_sequence: int) -> Iterator[tuple[int, bytes]]:
    """Sequence and payload of the frames that are wanted; only their bodies are read."""
    is_all = wanted.tenant_id == ALL_TENANTS

    def wants(header: record.Header, name: bytes) -> bool:
        sequence = header.stream_sequence if is_all else header.sequence
        return (
            header.kind == record.Kind.EVENTS
            and wanted.matches(header.subject_kind, name)
            and sequence + header.events > first_sequence
        )

    limit = item.durable_end
    file = files.open(item.name)
    try:
        for found in segment.walk(file.read_at, seed=item.seed, limit=limit, proven=limit, wants=wants):
            if isinstance(found, segment.Located) and found.body is not None:
                payload = _payload(found.header, found.body)
                if payload is not None:
                    yield found.header.stream_sequence if is_all else found.header.sequence, payload
    finally:
        file.close()


def _payload(header: record.Header, body: bytes) -> bytes | None:
    payload = body[header.name_bytes :]
    if not header.compressed:
        return payload
    try:
        return zstandard.ZstdDecompressor().decompress(payload, max_output_size=header.payload_bytes)
    except zstandard.ZstdError:
        return None
