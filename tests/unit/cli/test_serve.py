from __future__ import annotations

import errno
import json
import os
import shlex
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import Result

from gateway.announcement import Announcement
from gateway.cli.serve import Run, announcement_text, serve_with
from gateway.config import Config
from gateway.errors import ConfigError, DataDirectoryInUse, StoreUnavailable

Command = Callable[..., Result]
STARTED = Announcement("http://127.0.0.1:8080", "/data", "tl_live_new", "/data/bootstrap-key")


def raising(error: BaseException) -> Run:
    async def run(_: Config, *, announce: Callable[[Announcement], None]) -> int:
        raise error

    return run


def commands(made: Announcement) -> list[list[str]]:
    """The commands that are printed, as a shell would split them."""
    return [shlex.split(line) for line in announcement_text(made).splitlines() if line.startswith("  curl")]


def test_a_start_prints_what_comes_next_and_passes_the_exit_code_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Address, key, the file that keeps it, and two commands are on standard output."""

    async def run(_: Config, *, announce: Callable[[Announcement], None]) -> int:
        announce(STARTED)
        return 0

    assert serve_with(Config(), run) == 0
    printed = capsys.readouterr().out
    for text in ("http://127.0.0.1:8080", "tl_live_new", "/data/bootstrap-key", "/openapi.json", ":8080/console/\n"):
        assert text in printed


def test_the_printed_commands_are_complete() -> None:
    """Each carries the key from its file and a JSON body, to the right route."""
    create, send = commands(STARTED)
    assert create[1] == "http://127.0.0.1:8080/v1/audit/siem"
    assert send[1] == "http://127.0.0.1:8080/v1/audit/events"
    for command in (create, send):
        assert "X-API-Key: $(cat /data/bootstrap-key)" in command
        assert isinstance(json.loads(command[-1]), Mapping)


def test_a_later_start_does_not_print_the_key() -> None:
    """Only the start that generated it knows the key; later the file is named."""
    text = announcement_text(Announcement("http://127.0.0.1:1", "/d", None, "/d/bootstrap-key"))
    assert "in /d/bootstrap-key" in text
    assert "tl_live" not in text


def test_the_key_is_found_from_any_directory() -> None:
    """A relative data directory is printed in full: the next terminal may be somewhere else."""
    text = announcement_text(Announcement("http://127.0.0.1:1", "./d", None, "d/bootstrap-key"))
    kept = shlex.quote(str(Path.cwd() / "d" / "bootstrap-key"))
    assert text.count(f"$(cat {kept})") == 2
    assert f"keeps its data in {Path.cwd() / 'd'}\n" in text


def test_a_key_of_the_settings_is_not_printed() -> None:
    """The variable stands in the commands instead."""
    made = Announcement("http://127.0.0.1:1", "d", None, None)
    assert all("X-API-Key: $GATEWAY_BOOTSTRAP_KEY" in command for command in commands(made))
    assert "http://127.0.0.1:1/console/" in announcement_text(made)


def test_commands_reach_a_gateway_that_listens_everywhere_or_on_a_socket() -> None:
    """An unspecified address is replaced by loopback; a socket is named to curl."""
    everywhere = Announcement("http://0.0.0.0:80", "d", None, "/a b/key")
    assert commands(everywhere)[0][1] == "http://127.0.0.1:80/v1/audit/siem"
    assert "$(cat '/a b/key')" in announcement_text(everywhere)
    unix = Announcement("unix:/run/g.sock", "d", None, "k")
    assert "/console/" not in announcement_text(unix), "no browser opens a socket"
    assert commands(unix)[1][:4] == ["curl", "--unix-socket", "/run/g.sock", "http://localhost/v1/audit/events"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataDirectoryInUse("./data is used by process 7"), 2, "./data is used by process 7"),
        (ConfigError("secret_key is no key"), 2, "secret_key is no key"),
        (StoreUnavailable("the database does not answer"), 1, "the database does not answer"),
        (OSError(errno.EADDRINUSE, "address already in use"), 2, "127.0.0.1:8080 is in use"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), 2, "/data: Permission denied"),
        (
            OSError(errno.EADDRNOTAVAIL, "bind: x"),
            2,
            "cannot listen on 127.0.0.1:8080: Cannot assign requested address",
        ),
        (socket.gaierror(-2, "Name not known"), 2, "cannot listen on 127.0.0.1:8080: Name not known"),
        (FileNotFoundError(errno.ENOENT, "bind: x"), 2, "cannot listen on 127.0.0.1:8080: No such file or directory"),
        (OSError(errno.EIO, "Input/output error"), 1, "Input/output error"),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [DataDirectoryInUse("taken")])]), 2, "taken"),
    ],
)
def test_what_stops_the_gateway_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 is for what the operator can change before the start, 1 for a fault while running."""
    assert serve_with(Config(), raising(error)) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"gateway: {line}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("data_dir", ["./data", "data", "data/", "/srv/data"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOTDIR, "the data directory must be a folder that the gateway may write to"),
        (errno.ENOSPC, "free space there"),
        (errno.EIO, "check the disk and its file system"),
    ],
)
def test_a_fault_of_the_data_directory_says_what_to_do(
    data_dir: str, number: int, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """However the directory was written; a fault of another file has no such remedy."""
    fault = OSError(number, os.strerror(number), str(Path(data_dir) / "LOCK"))
    assert serve_with(Config(data_dir=data_dir), raising(fault)) == 2
    assert f"{os.strerror(number)}; {remedy}" in capsys.readouterr().err
    assert serve_with(Config(data_dir=data_dir), raising(OSError(number, "no", "/srv/database"))) == 2
    assert capsys.readouterr().err == "gateway: /srv/database: no\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ExceptionGroup("tasks", [OSError(5, "x"), KeyError("bug")])])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    """What nobody foresaw is not reduced to a line."""
    with pytest.raises(type(error)):
        serve_with(Config(), raising(error))


def test_a_wrong_configuration_stops_serve_with_one_line(
    gateway_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 2 and nothing was started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.toml").write_text("[queue]\nsegment = 1\n")
    result = gateway_command("serve", "--config", "g.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith("gateway: g.toml: queue.segment must be a size")
    assert list(tmp_path.iterdir()) == [tmp_path / "g.toml"]


def test_config_check_shows_what_would_be_used(
    gateway_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of file and environment are shown together; a secret is not."""
    file = tmp_path / "g.toml"
    file.write_text('[retry]\nwindow = "2h"\n')
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "hunter2-hunter2-hunter2")
    result = gateway_command("config", "check", "--config", str(file))
    assert result.exit_code == 0, result.output
    assert "hunter2" not in result.output
    shown = json.loads(gateway_command("config", "check", "--config", str(file), "--json").stdout)
    assert (shown["retry.window"], shown["secret_key"], shown["queue.segment"]) == ("2h", "***", "64MiB")


def test_config_check_refuses_what_serve_would_refuse(
    gateway_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that cannot be one is found before the start."""
    monkeypatch.setenv("GATEWAY_RETRY_WINDOW", "soon")
    result = gateway_command("config", "check")
    assert result.exit_code == 2
    assert result.stderr.startswith("gateway: environment, GATEWAY_RETRY_WINDOW: retry.window must be")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("GATEWAY_SECRET_KEY", "short", "secret_key: each key needs 16 characters or more"),
        ("GATEWAY_SERVER_TLS_KEY", "absent.pem", "server.tls_certificate and server.tls_key: give both or neither"),
        ("GATEWAY_DELIVERY_CA_FILE", "absent.pem", "delivery.ca_file: absent.pem cannot be read: No such file"),
    ],
)
def test_config_check_tries_what_serve_uses_later(
    gateway_command: Command, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, line: str
) -> None:
    """A key that is too short and a file that is not there are found before the start too."""
    monkeypatch.setenv(variable, value)
    result = gateway_command("config", "check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"gateway: {line}")


def test_config_check_tries_the_listeners_certificate(
    gateway_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are read as `serve` would read them."""
    monkeypatch.setenv("GATEWAY_SERVER_TLS_CERTIFICATE", "absent.pem")
    monkeypatch.setenv("GATEWAY_SERVER_TLS_KEY", "absent.pem")
    result = gateway_command("config", "check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("gateway: server.tls_certificate: absent.pem cannot be read")


def test_config_check_names_a_variable_that_is_perhaps_misspelt(
    gateway_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may use the prefix too, so it is a warning."""
    monkeypatch.setenv("GATEWAY_RETRY_WINDOWS", "2h")
    result = gateway_command("config", "check")
    assert result.exit_code == 0
    assert "the nearest one is GATEWAY_RETRY_WINDOW" in result.stderr
