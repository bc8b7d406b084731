"""What callers send is refused before it meets the store: SQLite, a real PostgreSQL and memory answer alike."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.config import Activity, Ingest, Queue, RetryPolicy, Server
from gateway.destinations.store import DestinationStore
from gateway.quantity import Bytes
from tests.loopback_gateway import WEBHOOK, Gateway

SIEM, KEYS, ACTIVITY = "/v1/audit/siem", "/v1/audit/keys", "/v1/audit/activity"
HOSTILE = {"nul": b"\x00", "invalid UTF-8": b"\xff", "surrogate": b"\xed\xa0\x80", "infinite": b"1e999 act_1"}


@pytest.fixture
async def gateway(store: DestinationStore, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as resources:
        gateway = Gateway(tmp_path / "data", make_store=lambda _: store)
        await gateway.build(
            resources,
            ingest=Ingest(),
            server=Server(),
            queue=Queue(segment_bytes=Bytes(1 << 20)),
            retry=RetryPolicy(),
            activity=Activity(emit=False),
        )
        yield gateway


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
async def test_a_cursor(gateway: Gateway, hostile: bytes) -> None:
    """400 on every list, whether the text stands within a cursor or in its place; a page's own goes on."""
    one = f"{SIEM}/{await gateway.make_destination()}"
    await gateway.make_destination()
    await gateway.make_key("tenant-a")
    plain = "".join(f"%{byte:02x}" for byte in hostile)
    within = base64.urlsafe_b64encode(hostile if b" " in hostile else b"1.0 act_" + hostile).decode()
    for path in (SIEM, KEYS, ACTIVITY, f"{one}/activity", f"{one}/gaps", f"{one}/dead-letters"):
        for cursor in (plain, within):
            answer = await gateway.ask("GET", f"{path}?cursor={cursor}")
            assert (answer.status, set(answer.errors())) == (400, {"cursor"}), path
    for path in (SIEM, KEYS, ACTIVITY):
        first = (await gateway.ask("GET", f"{path}?limit=1")).json
        assert (await gateway.ask("GET", f"{path}?limit=1&cursor={first['next_cursor']}")).status == 200


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"], ids=["nul", "surrogate"])
async def test_a_member(gateway: Gateway, text: str) -> None:
    """400 or 422, and nothing is stored."""
    members: dict[str, object] = {"name": text, "tenant_id": text, "endpoint": f"https://example.com/{text}"}
    members |= {"filter": {"actions": [text]}, "options": {"headers": {"X-A": text}}, "secret": text}
    for name, value in members.items():
        answer = await gateway.ask("POST", SIEM, json={**WEBHOOK, name: value})
        assert answer.status in (400, 422), name
    for name in ("name", "tenant_id", "expires_at"):
        answer = await gateway.ask("POST", KEYS, json={"scopes": ["siem:read"], name: text})
        assert answer.status in (400, 422), name
    assert (await gateway.ask("GET", SIEM)).json["data"] == []
