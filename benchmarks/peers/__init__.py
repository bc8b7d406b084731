"""Peers that are found on the machine, each configured as its documentation says for not losing events: a disk buffer
on, unlimited retries.

Their configurations are the files beside this one; ``@PORT@``, ``@RECEIVER@`` and ``@FOLDER@`` are filled in. None of
them syncs an event to disk before it answers (rsyslog can, at a few thousand events a second), the gateway always does.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.events import Form
from benchmarks.measured import Gateway, Measured, Usage
from benchmarks.producer import Load, Target, http_head
from benchmarks.receiver import Receiver
from benchmarks.report import Figure, Row
from benchmarks.scenarios import Size, load_of, measure_latency, measure_throughput

_HERE = Path(__file__).parent
_JSON = "Content-Type: application/json"


class Peer(msgspec.Struct, frozen=True):
    """``command`` has ``@CONFIG@`` in it. ``provider`` is the output: the gateway is given the same."""

    configuration: str
    command: tuple[str, ...]
    form: Form
    head: str = ""
    provider: str = "splunk"

    def found(self) -> bool:
        return shutil.which(self.command[0]) is not None


PEERS = {
    "fluent-bit": Peer(
        "fluent-bit.yaml", ("fluent-bit", "-q", "-c", "@CONFIG@"), Form.ARRAY, http_head("/audit", _JSON)
    ),
    "vector": Peer(
        "vector.yaml",
        ("vector", "-qq", "--config", "@CONFIG@"),
        Form.NDJSON,
        http_head("/", "Content-Type: application/x-ndjson"),
    ),
    "syslog-ng": Peer(
        "syslog-ng.conf",
        (
            "syslog-ng",
            "-F",
            "--no-caps",
            "-f",
            "@CONFIG@",
            "-R",
            "@FOLDER@/persist",
            "-p",
            "@FOLDER@/pid",
            "-c",
            "@FOLDER@/ctl",
        ),
        Form.LINES,
    ),
    "rsyslog": Peer(
        "rsyslog.conf",
        ("rsyslogd", "-n", "-f", "@CONFIG@", "-i", "@FOLDER@/pid"),
        Form.LINES,
        provider="elastic",  # Debian's package has no output for HEC
    ),
}


class RunningPeer:
    def __init__(self, peer: Peer, folder: Path, receiver_port: int) -> None:
        port = _free_port()
        words = {"PORT": str(port), "RECEIVER": str(receiver_port), "FOLDER": str(folder)}
        configuration = folder / peer.configuration
        configuration.write_text(_filled((_HERE / peer.configuration).read_text(), words))
        words["CONFIG"] = str(configuration)
        with (folder / "log").open("wb") as log:
            command = [_filled(word, words) for word in peer.command]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - from the table above
        self.usage = Usage(self._process.pid)
        self.target = Target(port, peer.form, peer.head)
        self._wait_until_it_listens(port, folder / "log")

    def _wait_until_it_listens(self, port: int, log: Path) -> None:
        for _ in range(200):
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the peer did not start:\n{log.read_text()}")

    def stop(self) -> None:
        self._process.kill()  # its queue goes with the folder
        self._process.wait(60)


def compare(name: str, size: Size, rounds: int) -> list[Row]:
    """The gateway and the peer in turns, each turn from an empty disk; medians, and the gateway's ratio to the peer."""
    peer = PEERS[name]
    if not peer.found():
        raise SystemExit(f"{peer.command[0]} is not on this machine; install it first")
    rows: list[Row] = []
    for per_request in (1000, 100, 1):
        load = load_of(per_request, size)
        rows += _in_turns(peer, name, f"{per_request} a request", load, rounds, measure_throughput)
    steady = Load(1, int(1000 * size.seconds), connections=32, rate=1000)
    return rows + _in_turns(peer, name, "1,000 single events/s", steady, rounds, measure_latency)


Measure = Callable[[str, Measured, Receiver, Load], Row]


def _in_turns(peer: Peer, name: str, title: str, load: Load, rounds: int, measure: Measure) -> list[Row]:
    results: dict[str, list[Row]] = {"gateway": [], name: []}
    for _ in range(rounds):
        for who, rows in results.items():
            receiving = Receiver(load.events, per_request=load.per_request, timed=load.rate > 0)
            with receiving as receiver, _running(who, peer, receiver.port) as measured:
                rows.append(measure(f"{title}, {who}", measured, receiver, load))
    ours, theirs = (_median(rows) for rows in results.values())
    return [*(msgspec.structs.replace(row) for row in (ours, theirs)), _ratio(f"{title}, ratio", ours, theirs)]


@contextmanager
def _running(who: str, peer: Peer, receiver_port: int) -> Iterator[Measured]:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        measured: Measured
        if who == "gateway":
            measured = running = Gateway(Path(folder) / "data")
            running.add_destination(0, receiver_port, peer.provider)
        else:
            measured = RunningPeer(peer, Path(folder), receiver_port)
        try:
            yield measured
        finally:
            measured.stop()


def _median(rows: list[Row]) -> Row:
    figures: dict[str, Figure] = {}
    for key in rows[0].figures:
        values = [row.figures[key] for row in rows]
        numbers = [value for value in values if not isinstance(value, str)]
        figures[key] = round(median(numbers), 2) if numbers else values[0]
    return Row(rows[0].name, figures)


def _ratio(name: str, ours: Row, theirs: Row) -> Row:
    def ratio(key: str) -> Figure:
        our, their = ours.figures[key], theirs.figures[key]
        if isinstance(our, str) or isinstance(their, str) or not their or key in {"lost", "duplicated"}:
            return "-"
        return round(our / their, 2)

    return Row(name, {key: ratio(key) for key in ours.figures})


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
