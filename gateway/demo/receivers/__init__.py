"""A local receiver of each provider kind, which behaves as the real server does and keeps what it was sent.

For the demo, the tests and the benchmarks: a ``Receiver`` listens on a port of 127.0.0.1, checks credentials, formats
and limits, stores events by id with the bytes they had before they were put into an envelope, and can be told what to
do wrong (``script``). All state is in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType

from gateway.demo.receivers.cloudwatch import CloudWatchReceiver
from gateway.demo.receivers.datadog import DatadogReceiver
from gateway.demo.receivers.elastic import ElasticReceiver
from gateway.demo.receivers.receiver import Answer, Arrival, Call, Receiver
from gateway.demo.receivers.script import (
    NORMAL,
    Fault,
    Hang,
    HugeReply,
    Normal,
    Refuse,
    Reset,
    Respond,
    Script,
    Slow,
    always,
    in_turn,
    redirect,
)
from gateway.demo.receivers.splunk import SplunkReceiver, hec_reply
from gateway.demo.receivers.webhook import WebhookReceiver

KINDS: Mapping[str, type[Receiver]] = MappingProxyType(
    {
        kind.provider: kind
        for kind in (SplunkReceiver, DatadogReceiver, CloudWatchReceiver, ElasticReceiver, WebhookReceiver)
    }
)


@asynccontextmanager
async def all_kinds(*, count_only: bool = False) -> AsyncIterator[dict[str, Receiver]]:
    """One started receiver of each kind, by provider name."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(kind(count_only=count_only)) for name, kind in KINDS.items()}


__all__ = [
    "KINDS",
    "NORMAL",
    "Answer",
    "Arrival",
    "Call",
    "CloudWatchReceiver",
    "DatadogReceiver",
    "ElasticReceiver",
    "Fault",
    "Hang",
    "HugeReply",
    "Normal",
    "Receiver",
    "Refuse",
    "Reset",
    "Respond",
    "Script",
    "Slow",
    "SplunkReceiver",
    "WebhookReceiver",
    "all_kinds",
    "always",
    "hec_reply",
    "in_turn",
    "redirect",
]
