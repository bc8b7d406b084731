from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from gateway.cli.connection import connection
from gateway.cli.failure import CommandError, one_line

Command = Callable[..., Result]


def refused(result: Result, code: int = 1) -> str:
    """The one line of a command that did not work."""
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("gateway: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_no_gateway_there(gateway_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is one line that names the address and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("GATEWAY_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        line = refused(gateway_command("destinations", "list"))
    assert "No gateway answers at http://127.0.0.1" in line
    assert "Connection refused" in line
    assert "gateway serve" in line


def test_an_unknown_key(stub: Any, gateway_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 says which variable to set."""
    monkeypatch.setenv("GATEWAY_API_KEY", "tl_live_wrong")
    line = refused(gateway_command("keys", "list"))
    assert "(401): The key is unknown. Set GATEWAY_API_KEY" in line
    assert "tl_live_wrong" not in line


def test_a_key_without_the_scope(stub: Any, gateway_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """403 passes the gateway's own explanation on."""
    monkeypatch.setenv("GATEWAY_API_KEY", "tl_live_weak")
    assert "(403): Streaming needs the Enterprise tier." in refused(gateway_command("destinations", "list"))


def test_an_unknown_destination(stub: Any, gateway_command: Command) -> None:
    """404 is one line too."""
    assert "(404): There is no such destination." in refused(gateway_command("destinations", "show", "siem_absent"))


@pytest.mark.parametrize("url", ["ftp://host", "nonsense", "http://", "http://host:99999", "http://[::1"])
def test_an_address_that_is_none(gateway_command: Command, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A wrong GATEWAY_URL is named as such."""
    monkeypatch.setenv("GATEWAY_URL", url)
    assert "GATEWAY_URL must be" in refused(gateway_command("status"), code=2)


@pytest.mark.parametrize("key", ["tl_live\nx", "schlüssel"])
def test_a_key_that_cannot_be_one(gateway_command: Command, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """It is refused before it gets into a header, and is not repeated."""
    monkeypatch.setenv("GATEWAY_API_KEY", key)
    line = refused(gateway_command("status"), code=2)
    assert "GATEWAY_API_KEY is no key" in line
    assert key not in line


def test_no_key_at_all(stub: Any, gateway_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names both ways to give one."""
    monkeypatch.delenv("GATEWAY_API_KEY")
    line = refused(gateway_command("keys", "list"))
    assert "set GATEWAY_API_KEY, or GATEWAY_DATA_DIR" in line


def test_the_operators_key_is_read_from_the_data_directory(tmp_path: Path) -> None:
    """On the gateway's own machine no key has to be copied."""
    (tmp_path / "bootstrap-key").write_text("tl_live_kept\n")
    environment = {"GATEWAY_DATA_DIR": str(tmp_path)}
    assert connection(environment).key == "tl_live_kept"
    assert connection({**environment, "GATEWAY_URL": "unix:/run/gateway.sock"}).key == "tl_live_kept"
    assert connection({**environment, "GATEWAY_API_KEY": "tl_live_mine"}).key == "tl_live_mine"


def test_the_kept_key_does_not_travel_to_another_machine(tmp_path: Path) -> None:
    """A key that was not given for it is not sent to a remote address."""
    (tmp_path / "bootstrap-key").write_text("tl_live_kept\n")
    target = connection({"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_URL": "https://gateway.example.com"})
    assert target.key == ""


def test_a_connection_prints_without_its_key() -> None:
    """repr is safe for a traceback."""
    assert "tl_live" not in repr(connection({"GATEWAY_API_KEY": "tl_live_secret"}))


@pytest.mark.parametrize("variable", ["GATEWAY_CA_FILE", "GATEWAY_CLIENT_CERTIFICATE"])
@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), ("nonsense", "not in PEM form")])
def test_certificates_that_cannot_be_used(
    gateway_command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    content: str | None,
    reason: str,
) -> None:
    """Said before anything is sent."""
    if content is not None:
        (tmp_path / "c.pem").write_text(content)
    monkeypatch.setenv(variable, str(tmp_path / "c.pem"))
    assert reason in refused(gateway_command("status"), code=2)


def test_a_unix_socket_is_an_address() -> None:
    """unix:PATH names the socket that `serve --listen unix:PATH` made."""
    assert connection({"GATEWAY_URL": "unix:/run/g.sock"}).socket == "/run/g.sock"
    with pytest.raises(CommandError):
        connection({"GATEWAY_URL": "/run/g.sock"})


def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    """Escape sequences and line breaks become blanks."""
    assert one_line("a\x1b[31mb\nc\r\x07") == "a [31mb c"
