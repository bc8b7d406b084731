"""The gateway's HTTP API as a client sees it. Nothing here knows the product's types: answers are JSON."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import aiohttp
import msgspec

from gateway.demo.receivers import Receiver

NDJSON = "application/x-ndjson"
WAIT_S_MAX = 30.0

Members = dict[str, Any]


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Api:
    """One key's view. ``call`` gives whatever comes back; the others expect success."""

    def __init__(self, session: aiohttp.ClientSession, base: str, key: str | None) -> None:
        self._session = session
        self._base = base
        self._key = key

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"X-API-Key": self._key} if self._key is not None else {}
        if json is not None:
            sent["Content-Type"], body = "application/json", msgspec.json.encode(json)
        sent |= headers or {}
        data = io.BytesIO(body) if body is not None else None
        timeout = aiohttp.ClientTimeout(total=WAIT_S_MAX)
        async with self._session.request(
            method, f"{self._base}{path}", data=data, headers=sent, timeout=timeout, skip_auto_headers=["Content-Type"]
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def stream(self, path: str, body: AsyncIterator[bytes]) -> Answer:
        """Post NDJSON in pieces, as they come."""
        headers = {"X-API-Key": self._key or "", "Content-Type": NDJSON}
        async with self._session.post(f"{self._base}{path}", data=body, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def expect(
        self, status: int, method: str, path: str, *, json: object = None, body: bytes | None = None
    ) -> Any:
        """The JSON of the answer, which has this status; None for an empty one."""
        answer = await self.call(method, path, json=json, body=body)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body[:2000]!r}"
        return answer.json() if answer.body else None

    async def until_done(self, method: str, path: str, *, json: object = None) -> Any:
        """Ask again as long as the answer is 503; the JSON of the one that is not."""
        async with asyncio.timeout(WAIT_S_MAX):
            while (answer := await self.call(method, path, json=json)).status == 503:
                await asyncio.sleep(0.05)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body[:2000]!r}"
        return answer.json() if answer.body else None

    # -- events

    async def post_lines(
        self, lines: Iterable[bytes], path: str = "/v1/audit/events", headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await self.call(
            "POST", path, body=b"\n".join(lines) + b"\n", headers={"Content-Type": NDJSON, **(headers or {})}
        )

    async def accept(self, lines: Iterable[bytes], path: str = "/v1/audit/events") -> None:
        """All of them are taken."""
        lines = list(lines)
        answer = await self.post_lines(lines, path)
        assert (answer.status, answer.json()) == (202, {"accepted": len(lines), "rejected": 0})

    # -- destinations

    async def create(self, receiver: Receiver, **members: object) -> str:
        """A destination for a receiver; ``members`` go before what the receiver says of itself. Its id."""
        content = {
            "provider": receiver.provider,
            "endpoint": receiver.endpoint,
            "options": receiver.options,
            **receiver.credentials,
            **members,
        }
        made = await self.expect(201, "POST", "/v1/audit/siem", json=content)
        return str(made["id"])

    async def destination(self, destination_id: str) -> Members:
        found: Members = await self.expect(200, "GET", f"/v1/audit/siem/{destination_id}")
        return found

    async def change(self, destination_id: str, **members: object) -> Members:
        changed: Members = await self.expect(200, "PUT", f"/v1/audit/siem/{destination_id}", json=members)
        return changed

    async def ledger(self, destination_id: str) -> Members:
        """The books; they balance at every moment."""
        books: Members = await self.expect(200, "GET", f"/v1/audit/siem/{destination_id}/ledger")
        assert books["balanced"] is True
        names = ("delivered", "dead_lettered", "dropped", "filtered", "pending")
        assert books["accepted"] == sum(books[name] for name in names)
        return books

    async def listed(self, destination_id: str, what: str) -> list[Members]:
        """``what``: gaps, attempts or dead-letters."""
        page = await self.expect(200, "GET", f"/v1/audit/siem/{destination_id}/{what}")
        found: list[Members] = page["data"]
        return found

    async def until_status(self, destination_id: str, status: str) -> Members:
        return await self.until(destination_id, lambda shown: shown["status"] == status)

    async def until_settled(self, destination_id: str) -> Members:
        """Nothing waits any more: the books."""
        await self.until(destination_id, lambda shown: shown["health"]["pending_events"] == 0)
        return await self.ledger(destination_id)

    async def until(self, destination_id: str, holds: Callable[[Members], bool]) -> Members:
        shown: Members = {}
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                while not holds(shown := await self.destination(destination_id)):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"the destination stays at {shown}") from None
        return shown

    async def until_degraded(self, destination_id: str) -> Members:
        return await self.until_status(destination_id, "degraded")

    async def until_there(self, destination_id: str) -> None:
        """Another gateway with the same store made it."""
        async with asyncio.timeout(WAIT_S_MAX):
            while (await self.call("GET", f"/v1/audit/siem/{destination_id}/ledger")).status == 404:
                await asyncio.sleep(0.02)

    async def until_gone(self, destination_id: str) -> None:
        async with asyncio.timeout(WAIT_S_MAX):
            while (await self.call("GET", f"/v1/audit/siem/{destination_id}")).status != 404:
                await asyncio.sleep(0.02)

    # -- keys

    async def new_key(self, tenant_id: str, *scopes: str) -> Members:
        """``key`` is the key itself."""
        made: Members = await self.expect(
            201, "POST", "/v1/audit/keys", json={"name": "test", "tenant_id": tenant_id, "scopes": list(scopes)}
        )
        return made
