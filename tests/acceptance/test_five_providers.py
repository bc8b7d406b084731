"""What is accepted arrives at every kind of provider, whole and unchanged, however it was sent in."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import zstandard

from gateway.demo.receivers import WebhookReceiver, all_kinds
from tests.acceptance.api import NDJSON, Api
from tests.acceptance.audit_events import bad_lines, by_id, event, events, real_events
from tests.acceptance.gateway_process import GatewayProcess
from tests.acceptance.moto_logs import running_moto

NOT_EVENTS = [
    b"rubbish",
    b"[1, 2]",
    b'"text"',
    event(name="evt_cut_off")[:-1],
    event(name="evt_no_tenant").replace(b"tenant_id", b"renamed_id"),
    event(name="evt_latin").replace("é".encode(), b"\xe9"),
    event(name="evt_too_large", text="x" * 300_000),
]


COMPRESSIONS: tuple[tuple[str, Callable[[list[bytes]], bytes]], ...] = (
    ("gzip", lambda halves: b"".join(map(gzip.compress, halves))),
    ("zstd", lambda halves: b"".join(map(zstandard.compress, halves))),
    ("deflate", lambda halves: zlib.compress(b"".join(halves))),
    ("deflate", lambda halves: zlib.compress(b"".join(halves), wbits=-15)),
)


async def test_every_event_arrives_at_all_five_exactly(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Events of several tenants and of any age arrive at five destinations and at moto with the bytes they had, once
    each, and every destination's books say so.
    """
    lines = events(100) + events(100, tenant_id="tenant-b") + real_events()
    async with running_moto(tmp_path) as moto, all_kinds() as receivers:
        made = await gateway.api.expect(201, "POST", "/v1/audit/siem", json=moto.destination)
        created = {await gateway.api.create(receiver): receiver for receiver in receivers.values()}
        for start in range(0, len(lines), 150):
            await gateway.api.accept(lines[start : start + 150])
        for destination in [made["id"], *created]:
            books = await gateway.api.until_settled(destination)
            assert books == settled(delivered=len(lines)), destination
        for receiver in receivers.values():
            assert receiver.events == by_id(lines), receiver.provider
            assert receiver.duplicates == {}, receiver.provider
        assert sorted(await moto.messages()) == sorted(lines)


async def test_bad_lines_cost_no_good_one(gateway: GatewayProcess) -> None:
    """Of a body with both, the good ones arrive; each bad one is named by its line and kept in the quarantine."""
    good, bad = events(60), NOT_EVENTS + bad_lines()
    mixed = good + bad
    random.Random(7).shuffle(mixed)
    async with WebhookReceiver(format="ndjson") as receiver:
        destination = await gateway.api.create(receiver)
        answer = await gateway.api.post_lines(mixed)
        assert answer.status == 207
        told = answer.json()
        assert (told["accepted"], told["rejected"]) == (len(good), len(bad))
        assert [error["line"] for error in told["errors"]] == [n for n, line in enumerate(mixed, 1) if line in bad]
        assert await gateway.api.until_settled(destination) == settled(delivered=len(good))
        assert receiver.events == by_id(good)
    kept = quarantined(gateway.data_dir)
    assert [text for _, text in kept] == [line.strip()[: 256 << 10] for line in mixed if line in bad]
    assert [line for line, _ in kept] == [error["line"] for error in told["errors"]]


async def test_nothing_valid_is_nothing_taken(gateway: GatewayProcess) -> None:
    """A body of bad lines alone is refused with 400, each line named, and nothing of it is kept."""
    async with WebhookReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        answer = await gateway.api.post_lines(NOT_EVENTS)
        assert answer.status == 400
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert [error["line"] for error in answer.json()["errors"]] == list(range(1, len(NOT_EVENTS) + 1))
        assert await gateway.api.ledger(destination) == settled()
    assert quarantined(gateway.data_dir) == []


async def test_bodies_may_be_compressed_or_arrays(gateway: GatewayProcess) -> None:
    """gzip of several members, zstd of several frames, deflate with and without its header, an array and single
    objects: the same bytes arrive.
    """
    async with WebhookReceiver(format="array") as receiver:
        destination = await gateway.api.create(receiver)
        sent: list[bytes] = []
        for encoding, compress in COMPRESSIONS:
            lines = events(40)
            sent += lines
            body = b"\r\n".join(lines)
            packed = compress([body[:5000], body[5000:]])
            await taken(gateway.api, packed, 40, NDJSON, {"Content-Encoding": encoding})
        in_array, single, pretty = events(3), event(), event(text="pretty")
        await taken(gateway.api, b"[ " + b" ,\n".join(in_array) + b" ]", 3, "application/json")
        await taken(gateway.api, single, 1, "application/json; charset=utf-8")
        spread = json.dumps(json.loads(pretty), indent=2, ensure_ascii=False).encode()
        await taken(gateway.api, spread, 1, "application/json")
        on_one_line = json.dumps(json.loads(pretty), separators=(",", ":"), ensure_ascii=False).encode()
        sent += [*in_array, single, on_one_line]
        await gateway.api.until_settled(destination)
        assert receiver.events == by_id(sent)


async def test_unreadable_bodies_are_refused_whole(gateway: GatewayProcess) -> None:
    """A content type or encoding that it does not read is 415, a damaged body 400, one that blows up 413."""
    lines = b"\n".join(events(10))
    bomb = gzip.compress(b" " * 40_000_000)
    async with WebhookReceiver() as receiver:
        destination = await gateway.api.create(receiver)
        for status, body, content_type, encoding in (
            (415, lines, "text/csv", "identity"),
            (415, lines, NDJSON, "br"),
            (415, lines, "application/x-ndjson; charset=utf-16", "identity"),
            (400, gzip.compress(lines)[:-20], NDJSON, "gzip"),
            (400, b"rubbish", NDJSON, "zstd"),
            (400, b"", NDJSON, "identity"),
            (413, bomb, NDJSON, "gzip"),
            (413, bomb, "application/json", "gzip"),
        ):
            headers = {"Content-Type": content_type, "Content-Encoding": encoding}
            answer = await gateway.api.call("POST", "/v1/audit/events", body=body, headers=headers)
            assert (answer.status, answer.json()["status"]) == (status, status), (content_type, encoding)
        assert await gateway.api.ledger(destination) == settled()


def settled(**counts: int) -> dict[str, object]:
    """The books where nothing waits."""
    empty = dict.fromkeys(("delivered", "dead_lettered", "dropped", "filtered", "pending"), 0)
    return {**empty, **counts, "accepted": sum(counts.values()), "balanced": True}


async def taken(api: Api, body: bytes, count: int, content_type: str, more: dict[str, str] | None = None) -> None:
    headers = {"Content-Type": content_type, **(more or {})}
    answer = await api.call("POST", "/v1/audit/events", body=body, headers=headers)
    assert (answer.status, answer.json()) == (202, {"accepted": count, "rejected": 0})


def quarantined(data_dir: Path) -> list[tuple[int, bytes]]:
    """The line's number and its text."""
    files = sorted((data_dir / "quarantine").glob("*")) if (data_dir / "quarantine").exists() else []
    rows = [msgspec.json.decode(line) for file in files for line in file.read_bytes().splitlines()]
    return [
        (row["line"], row["line_text"].encode() if "line_text" in row else base64.b64decode(row["line_base64"]))
        for row in rows
    ]
