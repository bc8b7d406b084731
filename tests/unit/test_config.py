from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import SECRET_SETTINGS, Config, TcpAddress, UnixAddress, load, parse_listen, strange_variables
from gateway.errors import ConfigError
from gateway.quantity import Bytes, Seconds
from gateway.settings import describe


def write(directory: Path, content: str) -> Path:
    path = directory / "gateway.toml"
    path.write_text(content)
    return path


def test_nothing_given_means_the_defaults() -> None:
    """Without file, environment and arguments the tree equals its defaults."""
    assert load({}, {"PATH": "/bin"}, None) == Config()


def test_the_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    """Each source overrides the one below it, setting by setting."""
    file = write(tmp_path, 'data_dir = "from-file"\n[server]\nlisten = "127.0.0.1:1"\n[log]\nlevel = "debug"\n')
    environment = {"GATEWAY_LISTEN": "127.0.0.1:2", "GATEWAY_DATA_DIR": "from-environment"}
    config = load({"server.listen": "127.0.0.1:3", "data_dir": None}, environment, file)
    assert config.server.listen == "127.0.0.1:3"
    assert config.data_dir == "from-environment"
    assert config.log.level == "debug"


def test_every_setting_can_be_given_in_file_and_environment(tmp_path: Path) -> None:
    """The dotted name of the file and GATEWAY_SECTION_NAME reach the same setting."""
    file = write(tmp_path, '[retry]\nwindow = "2h"\n[shutdown]\ngrace = 3\n[queue]\ndisk_budget = "2GB"\n')
    environment = {"GATEWAY_RETRY_WINDOW": "2h", "GATEWAY_SHUTDOWN_GRACE": "3", "GATEWAY_QUEUE_DISK_BUDGET": "2GB"}
    config = load({}, environment, None)
    assert config == load({}, {}, file)
    assert (float(config.retry.window_s), float(config.shutdown.grace_s)) == (7_200.0, 3.0)
    assert config.queue.disk_budget_bytes == 2_000_000_000
    assert isinstance(config.retry.window_s, Seconds)
    assert isinstance(config.queue.disk_budget_bytes, Bytes)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("GATEWAY_DATA_DIR", "data_dir"),
        ("GATEWAY_DATABASE_URL", "database_url"),
        ("GATEWAY_SECRET_KEY", "secret_key"),
        ("GATEWAY_BOOTSTRAP_KEY", "bootstrap_key"),
        ("GATEWAY_INSTANCE", "instance"),
    ],
)
def test_short_names_reach_the_top_level(variable: str, name: str) -> None:
    """The names without a section are those of the contract."""
    value = "postgresql://db/audit" if name == "database_url" else "some-value"
    assert getattr(load({}, {variable: value}, None), name) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False), ("no", False), ("", False)],
)
def test_booleans_of_the_environment(text: str, expected: bool) -> None:
    """true/false, 1/0 and yes/no are read in any case; an empty variable counts as not given."""
    assert load({}, {"GATEWAY_EGRESS_ALLOW_HTTP": text}, None).egress.allow_http is expected


def test_lists_of_the_environment_are_separated_by_commas() -> None:
    """Blanks around the parts do not matter."""
    config = load({}, {"GATEWAY_EGRESS_ALLOW_NETWORKS": "10.1.0.0/16, fd00::/8"}, None)
    assert [str(network) for network in config.egress.networks()] == ["10.1.0.0/16", "fd00::/8"]


def test_an_empty_variable_clears_text() -> None:
    """An operator can take a database of the file away again."""
    assert load({}, {"GATEWAY_DATABASE_URL": ""}, None).database_url == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[queue]\ndisk_bugdet = 1", "unknown setting queue.disk_bugdet; the nearest known one is queue.disk_budget"),
        ("datadir = '.'", "unknown setting datadir; the nearest known one is data_dir"),
        ("[retry.window]\nhours = 1", "unknown setting retry.window.hours"),
        ("queue = 3", "unknown setting queue;"),
        ("[queue", "is not TOML"),
        (f"queue = {'[' * 5_000}", "is not TOML"),
        ("[queue]\nsegment = '512KiB'", "queue.segment must be a size .*, between 1MiB and 1GiB"),
        ("[queue]\nsegment = '2GiB'", "queue.segment must be a size .*, between 1MiB and 1GiB"),
        ("[queue]\ndisk_budget = 1000", "queue.disk_budget must be a size"),
        ("[queue]\nurl = 'nats://127.0.0.1:4222'", "only the embedded write-ahead log"),
        ("[ingest]\nevent_max = '9MiB'", "ingest.event_max must be a size .*, between 1KiB and 8MiB"),
        ("[ingest]\nbody_max = '33MiB'", "ingest.body_max must be a size .*, between 1KiB and 32MiB"),
        ("[ingest]\nevent_max = '2MiB'\nbody_max = '1MiB'", "ingest.event_max must not be larger than ingest.body_max"),
        ("[retry]\nwindow = 'a day'", "retry.window must be a duration"),
        ("[retry]\nbackoff = '2m'", "retry.backoff must not be larger than retry.backoff_max"),
        ("[log]\nlevel = 'loud'", "log.level must be one of debug, info, warning, error"),
        ("[egress]\nallow_http = 'maybe'", "egress.allow_http must be true or false"),
        ("[egress]\nallow_networks = ['10.0.0.1/8']", "egress.allow_networks: 10.0.0.1/8 has host bits"),
        ("[delivery]\nin_flight_max = 0", "delivery.in_flight_max must be a whole number, between 1 and 256"),
        ("[delivery]\nin_flight_max = true", "delivery.in_flight_max must be a whole number"),
        ("database_url = 'mysql://db'", "database_url must begin with postgresql://"),
        ("[server]\nlisten = '8080'", "server.listen must be HOST:PORT"),
        ("instance = 'a b'", "instance must be"),
        ("data_dir = ''", "data_dir must name a directory"),
    ],
)
def test_a_wrong_file_is_refused_with_one_clear_line(tmp_path: Path, content: str, message: str) -> None:
    """What is unknown, mistyped, out of range or contradictory stops the start and says what would be right."""
    with pytest.raises(ConfigError, match=message) as caught:
        load({}, {}, write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message names the file and the reason."""
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        load({}, {}, tmp_path / "absent.toml")


def test_a_misspelt_variable_is_told_of() -> None:
    """A variable with our prefix that is no setting has no effect, and the start says so with the nearest known one."""
    assert load({}, {"GATEWAY_DATADIR": "/data"}, None) == Config()
    (line,) = strange_variables({"GATEWAY_DATADIR": "/data", "GATEWAY_DATA_DIR": "/d", "GATEWAY_URL": "x", "HOME": "/"})
    assert line == "GATEWAY_DATADIR is no setting and has no effect; the nearest one is GATEWAY_DATA_DIR"


@pytest.mark.parametrize(
    "variable",
    [
        "GATEWAY_URL",
        "GATEWAY_API_KEY",
        "GATEWAY_CONFIG",
        "GATEWAY_SERVICE_HOST",
        "GATEWAY_SERVICE_PORT_HTTP",
        "GATEWAY_PORT",
        "GATEWAY_PORT_8080_TCP_ADDR",
        "PATH",
    ],
)
def test_variables_of_others_are_left_alone(variable: str) -> None:
    """What the client commands read, and what Kubernetes puts there for a service called gateway, is no setting."""
    assert load({}, {variable: "tcp://10.0.0.1:8080"}, None) == Config()


def test_two_names_with_two_values_are_refused() -> None:
    """GATEWAY_LISTEN and GATEWAY_SERVER_LISTEN may stand together only when they agree."""
    agreed = {"GATEWAY_LISTEN": "[::1]:80", "GATEWAY_SERVER_LISTEN": "[::1]:80"}
    assert load({}, agreed, None).server.address == TcpAddress("::1", 80)
    with pytest.raises(ConfigError, match="two values"):
        load({}, agreed | {"GATEWAY_LISTEN": "[::1]:81"}, None)


@pytest.mark.parametrize("name", sorted(SECRET_SETTINGS))
def test_no_error_and_no_repr_shows_a_secret(name: str) -> None:
    """A secret that is refused, and the tree that holds one, print without it."""
    config = load({}, {"GATEWAY_SECRET_KEY": "hunter2"}, None)
    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigError) as caught:
        load({name: ["hunter2"]}, {}, None)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        ("[::1]:8080", TcpAddress("::1", 8080)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("unix:/run/gateway.sock", UnixAddress("/run/gateway.sock")),
        ("unix:relative.sock", UnixAddress("relative.sock")),
    ],
)
def test_addresses_to_listen_on(text: str, address: TcpAddress | UnixAddress) -> None:
    """IPv4 or a name, IPv6 in brackets, and a unix socket."""
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text", ["", ":8080", "8080", "::1:8080", "host:65536", "host:", "unix:", "http://host:80", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A missing host, a bare IPv6 address, a URL or a port out of range is not guessed at."""
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"server.tls_certificate": "c"}, "give both or neither"),
        ({"server.tls_key": "k"}, "give both or neither"),
        ({"server.tls_client_ca": "a"}, "needs server.tls_certificate"),
        (
            {"server.tls_certificate": "c", "server.tls_key": "k", "server.listen": "unix:/run/g.sock"},
            "a unix socket has no TLS",
        ),
    ],
)
def test_half_a_setup_of_tls_is_refused(given: dict[str, object], words: str) -> None:
    """Rather than to listen without it."""
    with pytest.raises(ConfigError, match=words):
        load(given, {}, None)


def test_the_tenant_of_own_events_is_one_or_none() -> None:
    """All tenants are none to give events to; without one nothing is emitted for them."""
    assert load({}, {}, None).activity.tenant == ""
    assert load({}, {"GATEWAY_ACTIVITY_TENANT": "platform"}, None).activity.tenant == "platform"
    with pytest.raises(ConfigError, match=r"activity\.tenant must be empty or the id of one tenant"):
        load({}, {"GATEWAY_ACTIVITY_TENANT": "*"}, None)


def test_the_defaults_are_within_their_own_ranges() -> None:
    """Writing a default out explicitly is always accepted."""
    for setting in describe(Config):
        if setting.range is not None:
            assert setting.range.low <= setting.default <= setting.range.high, setting.name


@pytest.mark.parametrize("name", ["LOG_LEVEL", "SECRET_KEY", "DATA_DIR", "QUEUE_DISK_BUDGET", "SERVER_RATE_LIMIT"])
def test_what_is_not_utf_8_is_refused(name: str) -> None:
    """Whatever the setting is for; the value is not repeated, for it may be a secret."""
    with pytest.raises(ConfigError, match=f"^environment, GATEWAY_{name}: [a-z_.]+ must be UTF-8$"):
        load({}, {f"GATEWAY_{name}": "a-text-of-16-characters\udcff"}, None)
