"""What is measured: a process that takes events in and delivers them, and what the kernel says it used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Protocol

from benchmarks.events import tenant
from benchmarks.producer import Target, http_head

KEY = "tl_live_benchmark-key-benchmark-key-benchmark-key"


class Measured(Protocol):
    """A running gateway or peer."""

    @property
    def target(self) -> Target: ...

    @property
    def usage(self) -> Usage: ...

    def stop(self) -> None: ...


class Usage:
    """Of one process with its threads."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")

    def cpu_s(self) -> float:
        """User and system seconds so far."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, name: str = "VmRSS") -> float:
        """``VmRSS`` now, ``VmHWM`` at most so far."""
        match = re.search(rf"{name}:\s+(\d+) kB", (self._process / "status").read_text())
        return int(match[1]) / 1024 if match else 0.0


class Gateway:
    """Started on a free port with its data in ``data_dir``. ``settings`` are variables of its environment."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self._log = (data_dir.parent / f"{data_dir.name}.log").open("ab")
        environment = {
            **os.environ,
            "GATEWAY_LISTEN": "127.0.0.1:0",
            "GATEWAY_DATA_DIR": str(data_dir),
            "GATEWAY_BOOTSTRAP_KEY": KEY,
            "GATEWAY_EGRESS_ALLOW_HTTP": "true",
            "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
            "GATEWAY_LOG_LEVEL": "warning",
            "GATEWAY_ACTIVITY_EMIT": "false",  # receivers count what producers sent, and nothing of the gateway's own
            **settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"], env=environment, stdout=subprocess.PIPE, stderr=self._log
        )
        self.usage = Usage(self._process.pid)
        self.pid = self._process.pid
        self.port = self._read_port()
        self.target = Target(
            self.port,
            head=http_head("/v1/audit/events", f"X-API-Key: {KEY}", "Content-Type: application/x-ndjson"),
        )

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if match is None:
            raise RuntimeError(f"the gateway did not start: {line!r}; see {self._log.name}")
        return int(match[1])

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"X-API-Key": KEY, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read() or b"null")

    def add_destination(
        self, number: int, port: int, provider: str = "splunk", *, tenant_number: int | None = None
    ) -> str:
        """Destination ``number`` of the receiver at ``port``, of all tenants or of one. Returns its id."""
        by_provider: dict[str, dict[str, Any]] = {
            "splunk": {"token": "bench"},
            "elastic": {"token": "id:bench"},
            "webhook": {"secret": "a-secret-of-32-characters-or-more", "options": {"format": "ndjson"}},
        }
        fields = by_provider[provider]
        if tenant_number is not None:
            fields["tenant_id"] = tenant(tenant_number)
        endpoint = f"http://127.0.0.1:{port}/d{number}"
        created = self.call(
            "POST", "/v1/audit/siem", {"provider": provider, "endpoint": endpoint, "name": f"d{number}", **fields}
        )
        return str(created["id"])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()
        self._process.wait(60)
        self._log.close()
