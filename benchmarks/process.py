"""The gateway as a process of its own, and what the kernel says it used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

KEY = "tl_live_benchmark-key-benchmark-key-benchmark-key"


class Gateway:
    """Started on a free port with its data in ``data_dir``; stop it with ``stop``."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self._log = (data_dir.parent / f"{data_dir.name}.log").open("wb")
        environment = {
            **os.environ,
            "GATEWAY_LISTEN": "127.0.0.1:0",
            "GATEWAY_DATA_DIR": str(data_dir),
            "GATEWAY_BOOTSTRAP_KEY": KEY,
            "GATEWAY_EGRESS_ALLOW_HTTP": "true",
            "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
            "GATEWAY_LOG_LEVEL": "warning",
            **settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"], env=environment, stdout=subprocess.PIPE, stderr=self._log
        )
        self.port = self._read_port()

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if match is None:
            raise RuntimeError(f"the gateway did not start: {line!r}; see its log")
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

    def cpu_s(self) -> float:
        """User and system seconds so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, name: str = "VmRSS") -> float:
        """``VmRSS`` now, ``VmHWM`` at most so far."""
        match = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        return int(match[1]) / 1024 if match else 0.0

    def stop(self) -> float:
        """Seconds until it had ended."""
        began_s = time.monotonic()
        self._process.terminate()
        self._process.wait(60)
        self._log.close()
        return time.monotonic() - began_s
