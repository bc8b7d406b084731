"""What the demo asks of the gateway, through its HTTP API like anybody else."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from gateway.demo.process import GatewayGone, RunningGateway
from gateway.demo.receivers import Receiver

REQUEST_TIMEOUT_S = 10.0


class Ledger(msgspec.Struct, frozen=True):
    accepted: int
    delivered: int
    dead_lettered: int
    dropped: int
    filtered: int
    pending: int
    balanced: bool


class Health(msgspec.Struct, frozen=True):
    breaker: str = "closed"
    lag_seconds: float | None = None


class Destination(msgspec.Struct, frozen=True):
    id: str
    provider: str
    status: str
    health: Health | None = None


class _Listing(msgspec.Struct):
    data: list[Destination]


class Client:
    """Raises GatewayGone when the gateway does not answer or answers what the demo does not expect."""

    def __init__(self, session: aiohttp.ClientSession, gateway: RunningGateway) -> None:
        self._session = session
        self._gateway = gateway

    async def create_destination(self, receiver: Receiver) -> Destination:
        content = {
            "provider": receiver.provider,
            "name": f"demo {receiver.provider}",
            "endpoint": receiver.endpoint,
            "enabled": True,
            "options": receiver.options,
            **receiver.credentials,
        }
        status, body, _ = await self._send("POST", "/v1/audit/siem", json=content)
        self._expect(status, body, {201}, "create a destination")
        return msgspec.json.decode(body, type=Destination)

    async def destinations(self) -> list[Destination]:
        status, body, _ = await self._send("GET", "/v1/audit/siem")
        self._expect(status, body, {200}, "list destinations")
        return msgspec.json.decode(body, type=_Listing).data

    async def ledger(self, destination_id: str) -> Ledger:
        status, body, _ = await self._send("GET", f"/v1/audit/siem/{destination_id}/ledger")
        self._expect(status, body, {200}, "show a ledger")
        return msgspec.json.decode(body, type=Ledger)

    async def post_events(self, lines: list[bytes]) -> float | None:
        """None once the events are durable; else how many seconds to wait before posting them again."""
        headers = {"Content-Type": "application/x-ndjson"}
        status, body, answered = await self._send("POST", "/v1/audit/events", data=b"\n".join(lines), headers=headers)
        if status in {429, 503}:
            return float(answered.get("Retry-After", "1"))
        self._expect(status, body, {202}, "take events")
        return None

    async def _send(self, method: str, path: str, **more: Any) -> tuple[int, bytes, Any]:  # noqa: ANN401 - aiohttp's own
        headers = {"X-API-Key": self._gateway.api_key, **more.pop("headers", {})}
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        url = f"{self._gateway.url}{path}"
        try:
            async with self._session.request(method, url, headers=headers, timeout=timeout, **more) as response:
                return response.status, await response.read(), response.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            raise GatewayGone(f"the gateway does not answer:\n{await self._gateway.last_words()}") from error

    def _expect(self, status: int, body: bytes, expected: set[int], what: str) -> None:
        if status not in expected:
            raise GatewayGone(f"the gateway did not {what} (HTTP {status}): {body[:300].decode(errors='replace')}")
