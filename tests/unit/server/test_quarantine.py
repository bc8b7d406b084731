"""What is kept of refused lines, for an operator to read."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import rfc3339
from gateway.config import Ingest
from gateway.event import Rejection
from gateway.quantity import Bytes
from gateway.server.quarantine import Quarantine
from tests.clock import ManualClock
from tests.events import event, events
from tests.loopback_gateway import Gateway
from tests.unit.server.conftest import Start


def kept(folder: Path, name: str = "rejected.ndjson") -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def test_lines_refused_beside_good_ones_are_kept(gateway: Gateway) -> None:
    """With the time, the key and its tenant, the line's number and what is wrong; text as text, the rest as base64."""
    key = await gateway.make_key("acme", "events:write")
    key_id = (await gateway.ask("GET", "/v1/audit/whoami", key=key)).json["id"]
    body = b"\n".join([event(), b"caf\xc3\xa9 {", b"\xff\x00", event(4, tenant_id="other")])
    assert (await gateway.post(body, key=key)).status == 207
    about = {"time": rfc3339(gateway.clock.time_s()), "key_id": key_id, "tenant_id": "acme"}
    text, binary, foreign = kept(gateway.data_dir / "quarantine")
    assert text == {**about, "line": 2, "message": text["message"], "line_text": "café {"}
    assert binary == {
        **about,
        "line": 3,
        "message": binary["message"],
        "line_base64": base64.b64encode(b"\xff\x00").decode(),
    }
    assert foreign["line_text"].encode() == event(4, tenant_id="other")
    assert "not a JSON object" in text["message"]
    assert "not valid UTF-8" in binary["message"]


async def test_elements_of_arrays_are_kept_too(gateway: Gateway) -> None:
    """The number is that of the element."""
    body = b"[" + event() + b', {"id":"evt_bad"}]'
    answer = await gateway.ask("POST", "/v1/audit/events", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 207
    (element,) = kept(gateway.data_dir / "quarantine")
    assert (element["line"], element["line_text"]) == (2, '{"id":"evt_bad"}')


async def test_a_request_with_nothing_valid_leaves_nothing(gateway: Gateway) -> None:
    """400: nothing of it is taken, so nothing of it is kept."""
    assert (await gateway.post(b"rubbish\n{}")).status == 400
    assert not (gateway.data_dir / "quarantine").exists()


async def test_only_the_owner_may_read_them(gateway: Gateway) -> None:
    """Refused lines may hold what accepted ones hold: 0700 for the folder, 0600 for the file."""
    assert (await gateway.post(event() + b"\nx")).status == 207
    folder = gateway.data_dir / "quarantine"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "rejected.ndjson").stat().st_mode & 0o777 == 0o600


async def test_one_request_keeps_a_bounded_number(start: Start) -> None:
    """As many as one answer lists, over all its pieces."""
    gateway = await start(ingest=Ingest(errors_max=5, piece_bytes=Bytes(64 << 10)))
    lines = [line for good in events(1_000) for line in (good, b"x")]
    answer = await gateway.post(b"\n".join(lines))
    assert (answer.json["rejected"], len(answer.json["errors"])) == (1_000, 5)
    assert [found["line"] for found in kept(gateway.data_dir / "quarantine")] == [2, 4, 6, 8, 10]


async def test_a_line_that_is_too_long_is_kept_in_part(start: Start) -> None:
    """Enough to know it by, not all of it."""
    gateway = await start(ingest=Ingest(event_bytes_max=Bytes(1 << 10), piece_bytes=Bytes(64 << 10)))
    assert (await gateway.post(event() + b"\n" + event(2, note="x" * (1 << 20)))).status == 207
    (found,) = kept(gateway.data_dir / "quarantine")
    assert found["line"] == 2
    assert found["line_text"].startswith('{"id": "evt_2"')
    assert len(found["line_text"]) < 10_000


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def rejections(count: int, size: int = 100) -> list[Rejection]:
    return [Rejection(number, None, "wrong", b"%0*d" % (size, number)) for number in range(1, count + 1)]


async def keep(quarantine: Quarantine, found: list[Rejection]) -> None:
    await quarantine.keep(found, key_id="key_1", tenant_id="t")


async def test_the_oldest_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    """Two files of half the bound: the newer takes the place of the older when it is full."""
    quarantine = Quarantine(tmp_path, 20_000, ManualClock())
    for round_number in range(1, 41):
        await keep(quarantine, [Rejection(round_number, None, "wrong", b"x" * 1_000)])
        assert bytes_in(tmp_path) <= 20_000
    newer, older = kept(tmp_path), kept(tmp_path, "rejected.1.ndjson")
    numbers = [found["line"] for found in older + newer]
    assert numbers == list(range(numbers[0], 41))
    assert len(numbers) >= 9


async def test_more_than_fits_at_once_is_cut_at_a_line(tmp_path: Path) -> None:
    """What is in the file can always be read line by line."""
    quarantine = Quarantine(tmp_path, 20_000, ManualClock())
    for _ in range(2):
        await keep(quarantine, rejections(200))
        found = kept(tmp_path)
        assert [one["line"] for one in found] == list(range(1, len(found) + 1))
        assert 0 < len(found) < 200


async def test_a_line_is_cut_to_256_kib(tmp_path: Path) -> None:
    """Also one whose cut falls into a character."""
    quarantine = Quarantine(tmp_path, 8 << 20, ManualClock())
    await keep(quarantine, [Rejection(1, None, "wrong", b"x" + "é".encode() * 200_000)])
    (found,) = kept(tmp_path)
    raw = base64.b64decode(found["line_base64"]) if "line_base64" in found else found["line_text"].encode()
    assert 0 <= (256 << 10) - len(raw) <= 1


async def test_requests_do_not_mix_their_lines(tmp_path: Path) -> None:
    """Kept at the same time, each whole."""
    quarantine = Quarantine(tmp_path, 8 << 20, ManualClock())
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(keep(quarantine, rejections(50)))
    assert [found["line"] for found in kept(tmp_path)] == list(range(1, 51)) * 20


async def test_a_disk_that_fails_costs_no_request(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The producer was told of every line: the answer stays 207, and the log says what happened."""
    (gateway.data_dir / "quarantine").write_bytes(b"in the way")
    assert (await gateway.post(event() + b"\nx")).status == 207
    assert "quarantine.failed" in capsys.readouterr().out
