"""Taking events in: what is stored, what is answered, and that both agree."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.config import Ingest, Queue
from gateway.errors import QueueFull
from gateway.quantity import Bytes
from gateway.queue import Entry
from gateway.queue.wal.log import WalQueue
from gateway.server.ingest import APPENDS_IN_FLIGHT_MAX
from tests.events import REAL_EVENTS, event, events
from tests.loopback_gateway import JSON, Answer, Gateway, stored
from tests.unit.server.conftest import Start

SMALL_PIECES = Ingest(piece_bytes=Bytes(64 << 10), event_bytes_max=Bytes(4 << 10))


async def post_json(gateway: Gateway, body: object, content_type: str = "application/json") -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await gateway.ask("POST", "/v1/audit/events", data=data, headers={"Content-Type": content_type})


async def in_chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


async def test_what_is_answered_with_202_is_on_disk(gateway: Gateway) -> None:
    """The answer comes behind the sync: what it counts is in the log, byte for byte, also when all else is lost."""
    consumer = await gateway.watch()
    lines = REAL_EVENTS.read_bytes().splitlines()
    synced = len(gateway.files.synced)
    answer = await gateway.post(b"\n".join(lines))
    assert (answer.status, answer.json) == (202, {"accepted": len(lines), "rejected": 0})
    assert answer.headers["Content-Type"] == "application/json"
    assert len(gateway.files.synced) > synced
    assert sorted(await stored(consumer)) == sorted(lines)


@pytest.mark.parametrize("size", [1, 64, 4095, 1 << 20])
async def test_lines_may_be_cut_anywhere_by_the_wire(gateway: Gateway, size: int) -> None:
    """A line that comes in several chunks, of a body of unknown length, is one line."""
    consumer = await gateway.watch()
    lines = events(20, note="é\u2028😀")
    answer = await gateway.post(in_chunks(b"\r\n".join(lines) + b"\r\n\n", size))
    assert answer.json == {"accepted": 20, "rejected": 0}
    assert await stored(consumer) == lines


async def test_a_long_body_is_taken_in_pieces_and_in_order(start: Start) -> None:
    """Pieces are stored one behind the other, however many there are."""
    gateway = await start(ingest=SMALL_PIECES)
    consumer = await gateway.watch()
    lines = events(5_000)
    answer = await gateway.post(in_chunks(b"\n".join(lines), 10_000))
    assert answer.json == {"accepted": 5_000, "rejected": 0}
    assert await stored(consumer) == lines


async def test_one_object_and_arrays_are_taken_as_json(gateway: Gateway) -> None:
    """A single event, a pretty-printed one, and arrays of both; white space between tokens may go, nothing else."""
    consumer = await gateway.watch()
    written = b'{"note":"a  b \\" c\\\\","n":1.00,"u":"\\u00e9",' + event()[1:]
    spread = written.replace(b",", b" ,\r\n\t").replace(b"a  b", b"a  b")
    for body, count in (
        (written, 1),
        (b"\n  " + written + b"\n", 1),
        (b"[" + written + b", " + event(2) + b"]", 2),
        (b" [ ] ", 0),
    ):
        answer = await post_json(gateway, body, "application/json; charset=utf-8")
        assert (answer.status, answer.json.get("accepted", 0)) == (202 if count else 400, count)
    assert await stored(consumer) == [written, written, written, event(2)]
    answer = await post_json(gateway, spread)
    array = await post_json(gateway, b"[\n" + spread + b",\n" + spread + b"\n]")
    assert (answer.status, array.json) == (202, {"accepted": 2, "rejected": 0})
    (line, *others) = await stored(consumer)
    assert others == [line, line]
    assert b"\n" not in line
    assert line.startswith(b'{"note":"a  b \\" c\\\\","n":1.00,"u":"\\u00e9","id":"evt_1",')
    assert json.loads(line) == json.loads(written)


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"[", b"[1,]", b"[" + event() + b"}", b"[" + event() + b"] x", b"nonsense", b"\xff", b"[" * 9999],
)
async def test_what_is_not_json_is_refused_as_a_whole(gateway: Gateway, body: bytes) -> None:
    """400 with a reason; nothing is taken, of a broken array neither."""
    consumer = await gateway.watch()
    answer = await post_json(gateway, body)
    assert (answer.status, bool(answer.detail)) == (400, True)
    assert await stored(consumer) == []


async def test_elements_of_an_array_stand_for_themselves(gateway: Gateway) -> None:
    """207 names the elements that were refused by their number; the others are stored."""
    consumer = await gateway.watch()
    answer = await post_json(gateway, [json.loads(event()), 7, {"id": "evt_x"}, json.loads(event(4))])
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (207, 2, 2)
    assert [(error["line"], error["id"]) for error in answer.json["errors"]] == [(2, None), (3, "evt_x")]
    assert await stored(consumer) == [event(), event(4)]


async def test_an_array_of_more_than_can_be_events_is_refused_as_a_whole(gateway: Gateway) -> None:
    """400 that says so, and nothing of it is taken."""
    consumer = await gateway.watch()
    answer = await post_json(gateway, b"[" + event() + b",0" * 50_000 + b"]")
    assert (answer.status, "more elements than" in answer.detail) == (400, True)
    assert await stored(consumer) == []


async def test_bad_lines_do_not_keep_good_ones_out(gateway: Gateway) -> None:
    """207: each refused line with its number over the whole body, its id where it can be read, and what is wrong."""
    consumer = await gateway.watch()
    answer = await gateway.post(b"\n".join([event(1), b"", event(3, without="action"), b"{", event(5), b"\xff"]))
    assert answer.status == 207
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "accepted": 2,
        "rejected": 3,
        "errors": [
            {"line": 3, "id": "evt_3", "message": "missing required member `action`"},
            {"line": 4, "id": None, "message": "not one JSON object on the line: Input data was truncated"},
            {"line": 6, "id": None, "message": "not valid UTF-8: byte 0xff at byte 1 of the line"},
        ],
    }
    assert await stored(consumer) == [event(1), event(5)]


async def test_lines_are_numbered_over_all_pieces(start: Start) -> None:
    """The number of a bad line is that in the body, whichever piece it came in, and the list of errors is bounded."""
    gateway = await start(ingest=Ingest(piece_bytes=Bytes(64 << 10), errors_max=3))
    lines = events(3_000)
    wrong = [7, 900, 1_800, 2_999]
    for number in wrong:
        lines[number - 1] = b"rubbish"
    answer = await gateway.post(b"\n".join(lines))
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (207, 2_996, 4)
    assert [error["line"] for error in answer.json["errors"]] == wrong[:3]
    assert answer.json["errors_truncated"] is True


async def test_nothing_valid_is_a_400_and_nothing_taken(gateway: Gateway) -> None:
    """With the lines and what is wrong with them; an empty body says that it is empty."""
    consumer = await gateway.watch()
    answer = await gateway.post(b"x\n\n" + event(without="id"))
    assert (answer.status, answer.detail) == (400, "none of the 2 events are valid; nothing was taken")
    assert list(answer.errors("line")) == [1, 3]
    for empty in (b"", b"\n", b" \r\n\t\n"):
        answer = await gateway.post(empty)
        assert (answer.status, answer.detail) == (400, "there is no event in the body")
    assert await stored(consumer) == []


@pytest.mark.parametrize("length", [4 << 10, 100_000, 3 << 20])
@pytest.mark.parametrize("size", [1_000, 1 << 20])
async def test_a_line_that_is_too_long_costs_only_itself(start: Start, length: int, size: int) -> None:
    """In the middle of a body, at its start and its end, with or without a line end: the others are taken."""
    gateway = await start(ingest=SMALL_PIECES)
    consumer = await gateway.watch()
    good, long = events(40), event(note="x" * length)
    for place in (0, 17, 40):
        lines = [*good[:place], long, *good[place:]]
        answer = await gateway.post(in_chunks(b"\n".join(lines), size))
        assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (207, 40, 1)
        (error,) = answer.json["errors"]
        assert error["line"] == place + 1
        assert "4096" in error["message"]
        assert await stored(consumer) == good
    alone = await gateway.post(long)
    assert (alone.status, list(alone.errors("line"))) == (400, [1])


async def test_an_array_must_fit_in_memory(start: Start) -> None:
    """Over ``ingest.body_max``, declared or not: 413, and NDJSON of the same length is taken."""
    gateway = await start(ingest=Ingest(body_bytes_max=Bytes(256 << 10)))
    consumer = await gateway.watch()
    lines = events(1_000)
    array = b"[" + b",".join(lines) + b"]"
    for body in (array, in_chunks(array, 50_000)):
        answer = await gateway.ask("POST", "/v1/audit/events", data=body, headers=JSON)
        assert (answer.status, "send NDJSON" in answer.detail) == (413, True)
    assert await stored(consumer) == []
    assert (await gateway.post(b"\n".join(lines))).json["accepted"] == 1_000


async def test_lines_that_wait_for_the_rest_of_their_piece_count_too(start: Start) -> None:
    """Who finds no room for them is told to come again; what it would have needed is there for the other."""
    gateway = await start(ingest=Ingest(buffered_bytes_max=Bytes(1 << 20)))
    consumer = await gateway.watch()
    lines = events(1_600)
    assert 600_000 < len(b"\n".join(lines)) < 1 << 20
    end = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"\n".join(lines)
        await end.wait()

    posting = {asyncio.create_task(gateway.post(slowly())) for _ in range(2)}
    (refused,), (other,) = await asyncio.wait(posting, return_when=asyncio.FIRST_COMPLETED)
    end.set()
    assert (refused.result().status, int(refused.result().headers["Retry-After"]) > 0) == (503, True)
    assert (await other).json == {"accepted": 1_600, "rejected": 0}
    assert await stored(consumer) == lines


async def test_a_long_body_needs_no_more_memory_than_there_is(start: Start) -> None:
    """It waits for its own pieces to be stored where all of them together have no room."""
    gateway = await start(ingest=Ingest(piece_bytes=Bytes(64 << 10), buffered_bytes_max=Bytes(64 << 10)))
    consumer = await gateway.watch()
    lines = events(5_000)
    for _ in range(2):
        assert (await gateway.post(in_chunks(b"\n".join(lines), 10_000))).json == {"accepted": 5_000, "rejected": 0}
        assert await stored(consumer) == lines


async def test_an_array_that_does_not_come_keeps_nobody_out(start: Start) -> None:
    """What a sender announces counts once it is there; who then finds no room is told to come again."""
    gateway = await start(ingest=Ingest(body_bytes_max=Bytes(1 << 20), buffered_bytes_max=Bytes(1 << 20)))
    half = b"[" + b" " * (600 << 10)
    go_on, end = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield half[:100]
        await go_on.wait()
        yield half[100:]
        await end.wait()
        yield event() + b"]"

    posting = {
        asyncio.create_task(gateway.ask("POST", "/v1/audit/events", data=slowly(), headers=JSON)) for _ in range(2)
    }
    await asyncio.sleep(0.1)
    assert (await post_json(gateway, half + event(2) + b"]")).status == 202
    go_on.set()
    (refused,), (other,) = await asyncio.wait(posting, return_when=asyncio.FIRST_COMPLETED)
    end.set()
    assert (refused.result().status, int(refused.result().headers["Retry-After"]) > 0) == (503, True)
    assert (await other).status == 202


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/plain", "application/xml", "application/x-ndjson+json", "application/octet-stream", "", "json"),
        *("application/json; charset=latin-1", "application/x-ndjson; charset=utf-16"),
    ],
)
async def test_other_content_types_are_not_read(gateway: Gateway, content_type: str) -> None:
    """415, which says what is; other character sets are not read either."""
    consumer = await gateway.watch()
    answer = await post_json(gateway, event(), content_type)
    assert answer.status == 415
    assert "UTF-8" in answer.detail or "application/x-ndjson" in answer.detail
    assert await stored(consumer) == []


@pytest.mark.parametrize(
    "content_type",
    ["application/x-ndjson", "Application/X-NDJSON; Charset=UTF-8", "application/ndjson", "application/jsonl"],
)
async def test_ndjson_has_several_names(gateway: Gateway, content_type: str) -> None:
    """In any case, with or without the one character set."""
    answer = await post_json(gateway, event() + b"\n" + event(2), content_type)
    assert answer.json == {"accepted": 2, "rejected": 0}


async def test_a_tenants_key_takes_in_its_own_events_only(gateway: Gateway) -> None:
    """Another tenant's events are refused beside its own, and alone; an operator's key takes in all."""
    consumer = await gateway.watch()
    key = await gateway.make_key("acme", "events:write")
    body = event(1) + b"\n" + event(2, tenant_id="other")
    mixed = await gateway.post(body, key=key)
    assert (mixed.status, mixed.json["accepted"]) == (207, 1)
    (error,) = mixed.json["errors"]
    assert (error["line"], error["id"], "another tenant" in error["message"]) == (2, "evt_2", True)
    assert (await gateway.post(event(2, tenant_id="other"), key=key)).status == 400
    assert await stored(consumer) == [event(1)]
    assert (await gateway.post(body)).json["accepted"] == 2


async def test_a_backfill_is_for_its_destination_alone(gateway: Gateway) -> None:
    """The same rules, the events of its tenant, through the same queue; nobody else gets them."""
    destination, other = await gateway.make_destination(tenant_id="acme"), await gateway.make_destination()
    body = b"\n".join([*events(3), event(4, tenant_id="other"), b"x"])
    answer = await gateway.ask(
        "POST", f"/v1/audit/siem/{destination}/backfill", data=body, headers={"Content-Type": "application/x-ndjson"}
    )
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (207, 3, 2)
    consumer = gateway.queue.consumer(destination)
    assert consumer is not None
    assert await stored(consumer) == events(3)
    assert (await gateway.ledger(other))["accepted"] == 0
    assert (await gateway.ledger(destination))["accepted"] == 3


async def test_a_full_queue_is_answered_with_429(start: Start) -> None:
    """When the disk budget is used up: nothing of the request is taken, and the answer says when to come again."""
    budget = Queue(disk_budget_bytes=Bytes(2 << 20), segment_bytes=Bytes(1 << 20), compression_level=0)
    gateway = await start(queue=budget)
    consumer = await gateway.watch()
    accepted = 0
    for count in (300, 30, 1):
        while (answer := await gateway.post(b"\n".join(events(count)))).status == 202:
            accepted += count
    for refused in (answer, await post_json(gateway, event()), await post_json(gateway, [json.loads(event())])):
        assert (refused.status, int(refused.headers["Retry-After"]) > 0) == (429, True)
        assert "disk budget" in refused.detail
    assert len(await stored(consumer)) == accepted > 0


async def test_a_failing_disk_is_answered_with_503(gateway: Gateway) -> None:
    """Nothing of the request is taken; when the disk takes writes again, so does the gateway."""
    consumer = await gateway.watch()
    for operation in ("write", "create"):
        gateway.files.fail(operation, "log/", times=1_000)
    answer = await gateway.post(event())
    assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert "disk" in answer.detail
    assert str(gateway.data_dir) not in answer.detail
    assert await stored(consumer) == []


async def test_a_gateway_that_stops_takes_nothing_more(gateway: Gateway) -> None:
    """503 with Retry-After: the next one will take it."""
    consumer = await gateway.watch()
    gateway.queue.refuse_appends()
    for answer in (await gateway.post(event()), await post_json(gateway, event())):
        assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True)
        assert "stopping" in answer.detail
    assert await stored(consumer) == []


@pytest.mark.parametrize("good_pieces", [0, 1, 2])
async def test_a_queue_that_fills_in_mid_body_keeps_what_it_took(
    start: Start, monkeypatch: pytest.MonkeyPatch, good_pieces: int
) -> None:
    """207 with one error that names the first line that was not taken; with nothing stored it is a 429."""
    gateway = await start(ingest=SMALL_PIECES)
    consumer = await gateway.watch()
    append, calls = WalQueue.append, 0

    async def append_some(queue: WalQueue, entries: Sequence[Entry]) -> None:
        nonlocal calls
        calls += 1
        if calls > good_pieces:
            raise QueueFull("the queue's disk budget is used up", retry_after_s=7)
        await append(queue, entries)

    monkeypatch.setattr(WalQueue, "append", append_some)
    lines = events(2_000)
    answer = await gateway.post(b"\n".join([b"x", *lines]))
    taken = await stored(consumer)
    assert taken == lines[: len(taken)]
    if not good_pieces:
        assert (answer.status, answer.headers["Retry-After"], taken) == (429, "7", [])
        return
    assert 0 < len(taken) < 2_000
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (207, len(taken), 2_001 - len(taken))
    first, overload = answer.json["errors"]
    assert (first["line"], overload["line"], overload["id"]) == (1, len(taken) + 2, None)
    assert "disk budget is used up; send them again" in overload["message"]


async def test_a_piece_that_fails_before_others_are_stored_is_named_alone(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not named as not taken was taken: what is to be sent again is exactly what is not there."""
    gateway = await start(ingest=SMALL_PIECES)
    consumer = await gateway.watch()
    append, calls, others_stored = WalQueue.append, 0, asyncio.Event()

    async def append_some(queue: WalQueue, entries: Sequence[Entry]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            await others_stored.wait()
            raise QueueFull("the queue's disk budget is used up", retry_after_s=7)
        call = calls
        await append(queue, entries)
        if call == 3:
            others_stored.set()

    monkeypatch.setattr(WalQueue, "append", append_some)
    lines = events(2_000)
    answer = await gateway.post(b"\n".join(lines))
    taken = await stored(consumer)
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (207, len(taken), 2_000 - len(taken))
    missing = [number for number, line in enumerate(lines, 1) if line not in taken]
    first, *_ = errors = answer.json["errors"]
    assert first["line"] == missing[0]
    last = next(number for number in missing if number + 1 not in missing)
    assert f"the lines {missing[0]} to {last} were not taken" in first["message"]
    starts = [number for number in missing if number - 1 not in missing]
    assert [error["line"] for error in errors] == starts


async def test_a_body_that_breaks_behind_stored_pieces_says_from_where(start: Start) -> None:
    """What was stored stays stored: 207 with an error that names the first line that was not."""
    gateway = await start(ingest=SMALL_PIECES)
    consumer = await gateway.watch()
    lines = events(2_000)
    answer = await gateway.post(gzip.compress(b"\n".join(lines), 0)[:-200_000], Content_Encoding="gzip")
    taken = await stored(consumer)
    assert taken == lines[: len(taken)]
    assert 0 < len(taken) < 2_000
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (207, len(taken), 1)
    (error,) = answer.json["errors"]
    assert (error["line"], "not valid gzip" in error["message"]) == (len(taken) + 1, True)


async def test_a_slow_disk_slows_the_sender_down(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """While pieces wait to be stored no more of the body is read: memory does not grow with what is sent."""
    gateway = await start(ingest=SMALL_PIECES)
    append, go_on, waiting = WalQueue.append, asyncio.Event(), 0

    async def append_later(queue: WalQueue, entries: Sequence[Entry]) -> None:
        nonlocal waiting
        waiting += 1
        assert waiting <= APPENDS_IN_FLIGHT_MAX
        await go_on.wait()
        await append(queue, entries)
        waiting -= 1

    monkeypatch.setattr(WalQueue, "append", append_later)
    chunk, sent = b"\n".join(events(200)) + b"\n", 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            yield chunk
            sent += 1

    posting = asyncio.create_task(gateway.post(endless()))
    known = -1
    while sent != known or not sent:
        known = sent
        await asyncio.sleep(0.05)
    assert sent < 500
    go_on.set()
    answer = await posting
    assert answer.json == {"accepted": 200_000, "rejected": 0}
