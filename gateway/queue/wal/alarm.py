"""Says on the log that the books of a consumer do not balance, once a minute while they do not."""

from __future__ import annotations

import math

import msgspec
import structlog

from gateway.queue import Ledger
from gateway.telemetry import Event

INTERVAL_S = 60.0


class ImbalanceAlarm:
    def __init__(self, consumer_id: str, tenant_id: str) -> None:
        self._consumer_id, self._tenant_id = consumer_id, tenant_id
        self._said_s = -math.inf

    def look_at(self, ledger: Ledger, now_s: float) -> None:
        if ledger.balanced or abs(now_s - self._said_s) < INTERVAL_S:
            return
        self._said_s = now_s
        structlog.get_logger().error(
            Event.LEDGER_IMBALANCED,
            destination=self._consumer_id,
            tenant=self._tenant_id,
            imbalance=ledger.imbalance(),
            **msgspec.structs.asdict(ledger),
        )
