"""The gateway as a child process, with programs in its place that behave badly."""

import sys
from pathlib import Path

import pytest

from gateway.demo.process import GatewayGone, running_gateway

SHOWS_ITSELF = """#!/bin/sh
echo "The gateway listens on http://127.0.0.1:4711 and keeps its data in $GATEWAY_DATA_DIR"
echo "$GATEWAY_BOOTSTRAP_KEY|$GATEWAY_URL|$HOME_OF_TEST" >&2
trap 'echo stopped >&2; exit 0' TERM
while :; do sleep 0.01; done
"""
FAILS = """#!/bin/sh
echo "gateway: something is wrong" >&2
exit 2
"""


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


async def test_runs_until_the_end_of_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the address and a key of its own, settings of another gateway do not reach it, and it is asked to stop."""
    monkeypatch.setattr(sys, "executable", program(tmp_path, SHOWS_ITSELF))
    environment = {"GATEWAY_URL": "http://elsewhere", "HOME_OF_TEST": "kept"}
    async with running_gateway(tmp_path, environment) as gateway:
        assert gateway.url == "http://127.0.0.1:4711"
        assert gateway.api_key.startswith("tl_live_")
        assert gateway.api_key not in repr(gateway)
    said = gateway.log_file.read_text().splitlines()
    assert said[0] == f"{gateway.api_key}||kept"
    assert said[-1] == "stopped"
    assert (await gateway.last_words()).endswith("stopped")


async def test_says_why_it_did_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code and the program's own words are in the message."""
    monkeypatch.setattr(sys, "executable", program(tmp_path, FAILS))
    with pytest.raises(GatewayGone, match=r"(?s)exit code 2.*something is wrong"):
        async with running_gateway(tmp_path, {}):
            pass
