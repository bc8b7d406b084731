"""Every setting, read once into one frozen tree.

Precedence: command line, then environment, then file, then the defaults here. A setting ``section.name`` of the file is
``GATEWAY_SECTION_NAME`` in the environment; the top-level ones are ``GATEWAY_NAME``, and ``server.listen`` is
``GATEWAY_LISTEN`` too. Durations are seconds or text such as ``"500ms"``, ``"10s"``, ``"24h"``; sizes are bytes or
text such as ``"64MiB"``. An unknown setting in the file is an error: a misspelt limit must not be taken for the
default. An unknown variable of the environment is told of and passed over, for others may use the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import field

from gateway.errors import ConfigError
from gateway.quantity import Bytes, Seconds
from gateway.settings import (
    Between,
    build,
    describe,
    read_arguments,
    read_environment,
    read_file,
    unknown_variables,
)

SHORT_NAMES = {"GATEWAY_LISTEN": "server.listen"}

# Read by other programs (the client commands), so not settings of the server.
FOREIGN_VARIABLES = frozenset(
    {"GATEWAY_URL", "GATEWAY_API_KEY", "GATEWAY_CONFIG", "GATEWAY_CA_FILE", "GATEWAY_CLIENT_CERTIFICATE"}
)

SECRET_SETTINGS = frozenset({"database_url", "secret_key", "bootstrap_key"})

Count = Annotated[int, Between(1, 1_000_000)]
Timeout = Annotated[Seconds, Between(0.1, 3_600)]
Buffer = Annotated[Bytes, Between(64 << 10, 16 << 30)]


class TcpAddress(msgspec.Struct, frozen=True):
    """``host`` without brackets; port 0 lets the system choose."""

    host: str
    port: int


class UnixAddress(msgspec.Struct, frozen=True):
    path: str


def parse_listen(text: str) -> TcpAddress | UnixAddress:
    """``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``. Raises ConfigError."""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return UnixAddress(text.removeprefix("unix:"))
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65_535:
        raise ConfigError("server.listen must be HOST:PORT, [IPV6]:PORT or unix:PATH, such as 127.0.0.1:8080")
    return TcpAddress(match[1] or match[2], int(match[3]))


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:8080"
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    head_timeout_s: Timeout = field(default=Seconds(10), name="head_timeout")
    body_timeout_s: Timeout = field(default=Seconds(60), name="body_timeout")
    keep_alive_s: Timeout = field(default=Seconds(75), name="keep_alive")
    connections_max: Count = 16_384
    rate_limit: Annotated[int, Between(0, 1_000_000)] = 500
    rate_limit_burst: Count = 5_000
    metrics_tenants: bool = False

    @property
    def address(self) -> TcpAddress | UnixAddress:
        return parse_listen(self.listen)


class Ingest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event_bytes_max: Annotated[Bytes, Between(1 << 10, 8 << 20)] = field(default=Bytes(256 << 10), name="event_max")
    body_bytes_max: Annotated[Bytes, Between(1 << 10, 32 << 20)] = field(default=Bytes(10 << 20), name="body_max")
    piece_bytes: Annotated[Bytes, Between(64 << 10, 16 << 20)] = field(default=Bytes(1 << 20), name="piece")
    buffered_bytes_max: Buffer = field(default=Bytes(256 << 20), name="buffered_max")
    errors_max: Count = 1_000
    quarantine_bytes_max: Buffer = field(default=Bytes(64 << 20), name="quarantine_max")


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Segments are smaller than ``segment_bytes`` where the budget would hold fewer than eight, down to 256 KiB."""

    url: str = ""
    disk_budget_bytes: Annotated[Bytes, Between(1 << 20, 1 << 50)] = field(default=Bytes(10 << 30), name="disk_budget")
    segment_bytes: Annotated[Bytes, Between(1 << 20, 1 << 30)] = field(default=Bytes(64 << 20), name="segment")
    tail_bytes: Buffer = field(default=Bytes(64 << 20), name="tail")
    pending_bytes_max: Buffer = field(default=Bytes(32 << 20), name="pending_max")
    checkpoint_s: Annotated[Seconds, Between(0.01, 60)] = field(default=Seconds(0.2), name="checkpoint")
    compression_level: Annotated[int, Between(0, 19)] = 1


class RetryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    window_s: Annotated[Seconds, Between(0.1, 366 * 86_400)] = field(default=Seconds(86_400), name="window")
    backoff_s: Annotated[Seconds, Between(0.001, 3_600)] = field(default=Seconds(0.5), name="backoff")
    backoff_max_s: Annotated[Seconds, Between(0.001, 86_400)] = field(default=Seconds(60), name="backoff_max")
    retry_after_max_s: Annotated[Seconds, Between(0, 86_400)] = field(default=Seconds(900), name="retry_after_max")
    misconfigured_s: Annotated[Seconds, Between(0.001, 3_600)] = field(default=Seconds(5), name="misconfigured")
    misconfigured_max_s: Annotated[Seconds, Between(0.001, 86_400)] = field(
        default=Seconds(300), name="misconfigured_max"
    )


class Delivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    in_flight_max: Annotated[int, Between(1, 256)] = 8
    linger_s: Annotated[Seconds, Between(0, 60)] = field(default=Seconds(0.02), name="linger")
    connect_timeout_s: Timeout = field(default=Seconds(10), name="connect_timeout")
    request_timeout_s: Timeout = field(default=Seconds(60), name="request_timeout")
    attempts_kept: Annotated[int, Between(1, 10_000)] = 100
    ca_file: str = ""


class Egress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow_http: bool = False
    allow_private: bool = False
    allow_networks: tuple[str, ...] = ()
    allow_insecure_tls: bool = False

    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(text) for text in self.allow_networks)


class Activity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``tenant`` is that of events about destinations of all tenants; when it is empty there are none of those."""

    emit: bool = True
    tenant: str = ""


class Shutdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grace_s: Annotated[Seconds, Between(0, 3_600)] = field(default=Seconds(10), name="grace")


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data_dir: str = "./data"
    database_url: str = ""
    secret_key: str = ""
    bootstrap_key: str = ""
    instance: str = ""
    server: Server = Server()
    ingest: Ingest = Ingest()
    queue: Queue = Queue()
    retry: RetryPolicy = RetryPolicy()
    delivery: Delivery = Delivery()
    egress: Egress = Egress()
    activity: Activity = Activity()
    shutdown: Shutdown = Shutdown()
    log: Log = Log()

    def __repr__(self) -> str:  # database_url, secret_key and bootstrap_key are secrets
        return "Config(…)"


def load(arguments: Mapping[str, object], environment: Mapping[str, str], file: Path | None) -> Config:
    """Everything that was set, checked. ``arguments`` is keyed by setting, None where an option was not given.

    Reads nothing but ``file``. Raises ConfigError with one line that says where the value stands and what it must be.
    """
    settings = describe(Config)
    values = read_file(file, settings) if file is not None else {}
    values |= read_environment(environment, settings, short_names=SHORT_NAMES, foreign=FOREIGN_VARIABLES)
    values |= read_arguments(arguments, settings)
    config = build(Config, values)
    _check(config)
    return config


def strange_variables(environment: Mapping[str, str]) -> list[str]:
    """What in the environment looks like a setting of the gateway and is none, a line for each."""
    return unknown_variables(environment, describe(Config), short_names=SHORT_NAMES, foreign=FOREIGN_VARIABLES)


def _check(config: Config) -> None:
    """What one value alone does not show. Raises ConfigError."""
    _check_listener(config.server)
    _check_text(config)
    _check_order("ingest.event_max", config.ingest.event_bytes_max, "ingest.body_max", config.ingest.body_bytes_max)
    _check_order(
        "ingest.body_max", config.ingest.body_bytes_max, "ingest.buffered_max", config.ingest.buffered_bytes_max
    )
    _check_order("retry.backoff", config.retry.backoff_s, "retry.backoff_max", config.retry.backoff_max_s)
    _check_order(
        "retry.misconfigured",
        config.retry.misconfigured_s,
        "retry.misconfigured_max",
        config.retry.misconfigured_max_s,
    )


def _check_listener(server: Server) -> None:
    address = parse_listen(server.listen)
    if bool(server.tls_certificate) != bool(server.tls_key):
        raise ConfigError("server.tls_certificate and server.tls_key: give both or neither")
    if server.tls_client_ca and not server.tls_certificate:
        raise ConfigError("server.tls_client_ca needs server.tls_certificate and server.tls_key")
    if server.tls_certificate and isinstance(address, UnixAddress):
        raise ConfigError("server.tls_certificate: a unix socket has no TLS; leave it out or listen on HOST:PORT")


def _check_text(config: Config) -> None:
    if not config.data_dir:
        raise ConfigError("data_dir must name a directory")
    if config.database_url and not config.database_url.startswith(("postgresql://", "postgres://")):
        raise ConfigError("database_url must begin with postgresql://, or be empty for the embedded store")
    if config.queue.url:
        raise ConfigError("queue.url: only the embedded write-ahead log is available in this version, leave it empty")
    if re.search(r"[^!-~]", config.bootstrap_key):
        raise ConfigError("bootstrap_key must be printable ASCII without spaces, for it travels in an HTTP header")
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", config.instance):
        raise ConfigError("instance must be at most 64 letters, digits, dots, dashes and underscores")
    if not re.fullmatch(r"([^\x00-\x1f\x7f*][^\x00-\x1f\x7f]{0,127})?", config.activity.tenant):
        raise ConfigError(
            "activity.tenant must be empty or the id of one tenant: up to 128 characters, not beginning with *"
        )
    for number, text in enumerate(config.egress.allow_networks, 1):
        try:
            ip_network(text)
        except ValueError as error:  # what is no address at all may be a secret that was put here
            reason = str(error) if "host bits" in str(error) else f"entry {number} is not a network"
            raise ConfigError(f"egress.allow_networks: {reason}; write networks such as 10.1.0.0/16") from None


def _check_order(low_name: str, low: float, high_name: str, high: float) -> None:
    if low > high:
        raise ConfigError(f"{low_name} must not be larger than {high_name}")
