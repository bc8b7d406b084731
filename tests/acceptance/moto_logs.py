"""CloudWatch Logs as moto plays it, in a process of its own, read with AWS' client: a second opinion."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import botocore.session
from botocore.client import BaseClient
from botocore.config import Config

from gateway.demo.receivers import CloudWatchReceiver

START_S_MAX = 30.0

REGION, GROUP, STREAM = "eu-west-1", "/truthlocks/audit", "gateway/one"

_ADDRESS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


class MotoLogs:
    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        receiver = CloudWatchReceiver()
        self.destination: dict[str, object] = {
            "provider": receiver.provider,
            "endpoint": endpoint,
            **receiver.credentials,
            "options": {"region": REGION, "log_group": GROUP, "log_stream": STREAM},
        }
        self._client: BaseClient = botocore.session.Session().create_client(
            "logs",
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id=receiver.credentials["access_key_id"],
            aws_secret_access_key=receiver.credentials["secret_access_key"],
            config=Config(retries={"max_attempts": 0}),
        )

    async def create_group(self) -> None:
        await asyncio.to_thread(self._client.create_log_group, logGroupName=GROUP)

    async def messages(self) -> list[bytes]:
        """Everything in the stream, in its order."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[bytes]:
        found: list[bytes] = []
        token: dict[str, str] = {}
        while True:
            page: dict[str, Any] = self._client.get_log_events(
                logGroupName=GROUP, logStreamName=STREAM, startFromHead=True, **token
            )
            found += [event["message"].encode() for event in page["events"]]
            if page["nextForwardToken"] == token.get("nextToken"):
                return found
            token = {"nextToken": page["nextForwardToken"]}

    def close(self) -> None:
        self._client.close()


@contextlib.asynccontextmanager
async def running_moto(folder: Path) -> AsyncIterator[MotoLogs]:
    """A fresh one on a free port, with the log group and no stream."""
    log = folder / "moto.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"), stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(START_S_MAX):
            while (found := _ADDRESS.search(log.read_text())) is None:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        logs = MotoLogs(found[1])
        try:
            await logs.create_group()
            yield logs
        finally:
            logs.close()
    finally:
        process.kill()
        await process.wait()
