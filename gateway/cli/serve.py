"""``serve``: run the gateway, and tell who started it what comes next."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from gateway.announcement import Announcement
from gateway.cli.check import ConfigOption, loaded
from gateway.cli.failure import one_line
from gateway.config import Config
from gateway.errors import ConfigError, DataDirectoryInUse, GatewayError

Run = Callable[..., Coroutine[Any, Any, int]]

# Without a file's name they are about the address; the latter two about the directory of a unix socket.
_ADDRESS_FAULTS = frozenset({errno.EADDRNOTAVAIL, errno.EACCES, errno.ENOENT, errno.ENOTDIR})

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FAILING = frozenset({errno.EIO, errno.EUCLEAN})

_EVENT = (
    '{"id":"evt_abc123","timestamp":"2026-06-30T12:34:56.789Z","tenant_id":"tenant-uuid","actor_type":"USER",'
    '"actor_id":"user-uuid","action":"attestation.mint","resource_type":"attestation",'
    '"resource_id":"attestation-uuid","service":"trust-registry","outcome":"SUCCESS"}'
)
_DESTINATION = (
    '{"provider":"splunk","name":"example","endpoint":"https://hec.splunk.example.com:8088/services/collector",'
    '"token":"your-hec-token"}'
)


def serve(
    config: ConfigOption = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT|unix:PATH", help="Address to listen on.")] = None,
    data_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Where the queue and the secrets live.")] = None,
) -> None:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C)."""
    settings = loaded({"server.listen": listen, "data_dir": data_dir}, config)
    from gateway.app import run  # noqa: PLC0415 - the other commands start without the server

    raise typer.Exit(serve_with(settings, run))


def serve_with(settings: Config, run: Run) -> int:
    """Run and return the exit code. What stops a start is one line on standard error and exit code 2."""
    try:
        return uvloop.run(run(settings, announce=lambda made: print(announcement_text(made), flush=True)))
    except (GatewayError, OSError) as error:
        return _stopped(error, settings)
    except BaseExceptionGroup as group:
        known = _first_known(group)
        if known is None:
            raise
        return _stopped(known, settings)


def announcement_text(made: Announcement) -> str:
    """For a person at a terminal: where it listens, the key, and two commands that work as they stand."""
    curl = f"curl --unix-socket {shlex.quote(made.address[5:])}" if made.address.startswith("unix:") else "curl"
    base = "http://localhost" if made.address.startswith("unix:") else _reachable(made.address)
    lines = [
        f"The gateway listens on {made.address} and keeps its data in {Path(made.data_dir).absolute()}",
        *_key_lines(made),
        f"API description:  {base}/openapi.json",
        *([f"Console:          {base}/console/"] if not made.address.startswith("unix:") else []),
        "",
        "Create a destination (put in your own endpoint and token):",
        f"  {_command(curl, base + '/v1/audit/siem', made, 'application/json', _DESTINATION)}",
        "Send an event:",
        f"  {_command(curl, base + '/v1/audit/events', made, 'application/json', _EVENT)}",
        "",
    ]
    return "\n".join(lines)


def _key_lines(made: Announcement) -> list[str]:
    if made.key_file is None:
        return ["API key:          the one that was given as GATEWAY_BOOTSTRAP_KEY"]
    kept = Path(made.key_file).absolute()
    if made.key is None:
        return [f"API key:          in {kept}"]
    return [f"API key:          {made.key}", f"                  (shown this once, kept in {kept})"]


def _command(curl: str, url: str, made: Announcement, content_type: str, body: str) -> str:
    """The key's file is named in full, so that the command works in any terminal."""
    kept = made.key_file and shlex.quote(str(Path(made.key_file).absolute()))
    key = "$GATEWAY_BOOTSTRAP_KEY" if kept is None else f"$(cat {kept})"
    return f"{curl} {url} -H \"X-API-Key: {key}\" -H 'Content-Type: {content_type}' -d '{body}'"


def _reachable(url: str) -> str:
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _stopped(error: Exception, settings: Config) -> int:
    if isinstance(error, OSError):
        message, code = _system_fault(error, settings)
    else:
        message, code = str(error), 2 if isinstance(error, ConfigError | DataDirectoryInUse) else 1
    print("gateway: " + one_line(message), file=sys.stderr)
    return code


def _system_fault(error: OSError, settings: Config) -> tuple[str, int]:
    if error.errno == errno.EADDRINUSE:
        return f"{settings.server.listen} is in use by another program; choose another address with --listen", 2
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}{_remedy(error, settings)}", 2
    if error.errno in _ADDRESS_FAULTS or isinstance(error, socket.gaierror):
        reason = os.strerror(error.errno) if error.errno is not None and error.errno in errno.errorcode else reason
        return f"cannot listen on {settings.server.listen}: {reason}; choose another address with --listen", 2
    return reason, 1


def _remedy(error: OSError, settings: Config) -> str:
    """What to do about a file of the data directory."""
    if not Path(str(error.filename)).is_relative_to(settings.data_dir):
        return ""
    if error.errno in _FULL:
        return "; free space there, or give the gateway another data directory (--data-dir)"
    if error.errno in _FAILING:
        return "; check the disk and its file system, then see what `gateway log verify` says of the data directory"
    return "; the data directory must be a folder that the gateway may write to (--data-dir)"


def _first_known(group: BaseExceptionGroup[BaseException]) -> GatewayError | OSError | None:
    """The fault that is worth a line of its own; None when the group holds something unforeseen."""
    known, unforeseen = group.split((GatewayError, OSError))
    if known is None or unforeseen is not None:
        return None
    first: BaseException = known
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, GatewayError | OSError) else None
