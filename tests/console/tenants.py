"""A tenant for each test, so that all of them can share one gateway."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from tests.acceptance.api import Api
from tests.acceptance.gateway_process import GatewayProcess

_NUMBERS = itertools.count(1)


class Tenant(NamedTuple):
    """``api`` has every scope but keys:write, and so has ``key``; ``reader`` is a key that may only look."""

    name: str
    api: Api
    key: str
    key_id: str
    reader: str


async def new_tenant(gateway: GatewayProcess) -> Tenant:
    name = f"tenant-{next(_NUMBERS)}"
    made = await gateway.api.new_key(name, "events:write", "siem:read", "siem:write")
    reader = await gateway.api.new_key(name, "siem:read")
    return Tenant(name, gateway.api_with(made["key"]), made["key"], made["id"], reader["key"])
