"""Schemathesis asks the real process whatever its own description allows, and what it does not."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.acceptance import openapi_hooks
from tests.acceptance.gateway_process import OPERATOR_KEY, ROOT, StartGateway

# Left out: the stream never ends, which the tool would wait for; ``unit/server/test_stream.py`` has it.
STREAM = "/v1/audit/siem/stream"

# All checks hold everywhere. One knows more here than by itself: that a request which fits its schema may be refused
# with 400 or 422 where the schema cannot say what is taken: a cursor is one that a page gave, an address one that
# destinations may have, an option one of the provider's, a time lies ahead, a tenant's id can be printed, and a line of
# NDJSON is an event. 412: the state is not the one of ``If-Match``.
SETTINGS = """
hooks = "{hooks}"

[[operations]]
include-path-regex = "^/v1/audit/(siem|keys|activity|events)"
checks.positive_data_acceptance.expected-statuses = [
    "2xx", "3xx", 400, 401, 403, 404, 409, 412, 422, 429, "5xx"
]
"""


async def test_the_description_is_true(start_gateway: StartGateway, tmp_path: Path) -> None:
    """Every answer fits the description, what does not fit it is refused, and nothing is a fault: for each operation
    by itself, and for what becomes of destinations and keys that were made before.
    """
    # No destination can be reached: a short outage lets DELETE flush what events were posted meanwhile.
    gateway = await start_gateway(egress_allow_http="false", egress_allow_private="false", retry_window="100ms")
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS.format(hooks=openapi_hooks.__file__), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("schemathesis"), "--config-file", settings),
        *("run", f"{gateway.address}/openapi.json", "--header", f"X-API-Key: {OPERATOR_KEY}"),
        *("--checks", "all", "--max-examples", "3", "--generation-deterministic", "--continue-on-failure"),
        *("--exclude-path", STREAM, "--no-color"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-20_000:]
    report = output.decode()
    assert "Coverage" in report
    assert "Stateful" in report
