"""Every credential and key is a text of its own, and everything that comes out of the gateway is searched for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import stat
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from gateway.demo.receivers import KINDS, Receiver, Respond, always
from tests.acceptance.api import Answer, Api, Members
from tests.acceptance.audit_events import event
from tests.acceptance.gateway_process import GatewayProcess, StartGateway
from tests.acceptance.test_command_line import CommandLine
from tests.certificates import make_certificate

SIEM = "/v1/audit/siem"
CREDENTIALS = {
    "splunk": ("token",),
    "datadog": ("token",),
    "cloudwatch": ("access_key_id", "secret_access_key"),
    "elastic": ("token",),
    "webhook": ("secret", "previous_secret"),
}


MARKS = (b"Kanarienvogel", b"Gelbschnabel")
PAYLOAD = "user:Zaunkoenig"  # stands in the events, and in what providers say of them
STATUSES = (200, 400, 401, 403, 404, 429, 500)


class Canaries:
    """Makes secrets, each with marks that stand nowhere else, and finds them: in part, in base64 and in hex too."""

    def __init__(self) -> None:
        self._count = 0
        self._forms = {form for mark in MARKS for form in (mark, mark.hex().encode(), *_in_base64(mark))}

    def new(self) -> str:
        self._count += 1
        return f"{self._count:03}/Kanarienvogel+{self._count:03}/Gelbschnabel="

    def know(self, secret: str) -> None:
        """Look for this one too, which the gateway has made."""
        self._forms |= {secret[: len(secret) * 2 // 3].encode(), secret[len(secret) // 3 :].encode()}

    def know_key(self, pem: str) -> None:
        """Look for each line of this private key."""
        self._forms |= {line.encode() for line in pem.splitlines() if line and not line.startswith("-----")}

    def found_in(self, text: bytes) -> list[bytes]:
        """What surrounds each of them."""
        places = [place for form in self._forms if (place := text.find(form)) >= 0]
        return [text[max(0, place - 100) : place + 60] for place in places]


def _in_base64(mark: bytes) -> Iterator[bytes]:
    """As it stands in the base64 of a longer text, wherever it begins there."""
    for before in range(3):
        encoded = base64.b64encode(b"?" * before + mark)
        yield encoded[(before * 8 + 5) // 6 : (before + len(mark)) * 8 // 6]


class Listener:
    """An Api whose every answer is searched, headers included."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries
        self.searched = 0

    async def call(self, api: Api, method: str, path: str, *, json: object = None, body: bytes | None = None) -> Answer:
        headers = {} if body is None else {"Content-Type": "application/x-ndjson"}
        answer = await api.call(method, path, json=json, body=body, headers=headers)
        text = answer.body + repr(dict(answer.headers)).encode()
        assert self._canaries.found_in(text) == [], (method, path)
        self.searched += 1
        return answer


async def test_no_secret_comes_out_anywhere(start_gateway: StartGateway) -> None:
    """Credentials and keys stand in no answer, log line, metric, file of the data directory or open file, though
    providers repeat them in their replies, callers put them into the wrong places, and the process is killed. Of the
    events nothing is in the log, though providers quote them.
    """
    canaries = Canaries()
    listener = Listener(canaries)
    settings = {"bootstrap_key": f"tl_live_{canaries.new()}", "secret_key": canaries.new()}
    gateway = await start_gateway(log_level="debug", **settings)
    async with AsyncExitStack() as stack:
        created: dict[str, Receiver] = {}
        for kind in KINDS.values():
            for status in STATUSES:
                receiver = await stack.enter_async_context(kind())
                secrets = new_credentials(receiver, canaries)
                receiver.script = always(repeating(status, receiver, secrets))
                created[await create(gateway, listener, receiver, secrets)] = receiver
        with_certificate = await create_with_certificate(gateway, listener, receiver, canaries, gateway.data_dir.parent)
        created |= dict.fromkeys(with_certificate, receiver)
        line = event(text=PAYLOAD)
        assert (await listener.call(gateway.api, "POST", "/v1/audit/events", body=line)).status == 202
        invalid = line.replace(b'"action":"attestation.mint"', b'"action":7')
        assert (await listener.call(gateway.api, "POST", "/v1/audit/events", body=invalid)).status == 400
        for destination in created:
            await gateway.api.until(destination, was_tried)
        await misplace(gateway, listener, canaries)
        await make_keys(gateway, listener, canaries)
        await look_everywhere(gateway, listener, created)
        for destination, receiver in created.items():
            if destination in with_certificate:
                continue
            receiver.script = always(Respond(503))
            renewed = new_credentials(receiver, canaries)
            assert (await listener.call(gateway.api, "PUT", f"{SIEM}/{destination}", json=renewed)).status == 200
            receiver.script = always(repeating(403, receiver, renewed))
        assert await asyncio.to_thread(open_files, gateway.pid, canaries) == []
        await gateway.kill()
        assert (kept_in(gateway, canaries), canaries.found_in(gateway.log.encode())) == ([], [])
        await gateway.start()
        await look_everywhere(gateway, listener, created)
        assert await gateway.terminate() == 0
    await rotate(gateway, canaries)
    assert canaries.found_in((gateway.log + gateway.output).encode()) == []
    assert kept_in(gateway, canaries) == []
    assert "Zaunkoenig" not in gateway.log + gateway.output
    assert "delivery.event_refused" in gateway.log
    assert "destination.degraded" in gateway.log
    assert listener.searched > 400


@pytest.mark.parametrize(
    "settings",
    [
        {"database_url": "postgresql://gateway:{}@127.0.0.1:1/gateway"},
        {"database_url": "mysql://gateway:{}@127.0.0.1:1/gateway"},
        {"database_url": "postgresql://gateway:{}@127.0.0.1:notaport/gateway"},
        {"retry_window": "{}"},
        {"log_level": "{}"},
        {"egress_allow_networks": "{}"},
        {"listen": "{}"},
        {"bootstrap_key": "{} {}"},
    ],
    ids="-".join,
)
async def test_a_start_that_fails_shows_no_secret(tmp_path: Path, settings: dict[str, str]) -> None:
    """A setting that is wrong, or a secret in the wrong setting, stops the start with one line without its value."""
    canaries = Canaries()
    given = {name: text.replace("{}", canaries.new().replace("/", "-")) for name, text in settings.items()}
    gateway = GatewayProcess(tmp_path / "data", **given)
    await gateway.launch()
    assert await gateway.wait() in (1, 2)
    lines = [line for line in gateway.log.splitlines() if line.startswith("gateway: ")]
    assert len(lines) == 1
    assert gateway.faults == []
    assert canaries.found_in((gateway.log + gateway.output).encode()) == []


async def test_a_generated_operator_key_is_told_once(start_gateway: StartGateway) -> None:
    """Without GATEWAY_BOOTSTRAP_KEY one is made: on standard output of the first start alone, kept with mode 0600."""
    gateway = await start_gateway(bootstrap_key="")
    file = gateway.data_dir / "bootstrap-key"
    key = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (gateway.data_dir / "secret-key").stat().st_mode & 0o777 == 0o600
    assert gateway.output.count(key) == 1
    assert (await gateway.api_with(key).call("GET", SIEM)).status == 200
    await gateway.kill()
    await gateway.start()
    assert (await gateway.api_with(key).call("GET", SIEM)).status == 200
    assert (gateway.output.count(key), gateway.log.count(key)) == (1, 0)


async def test_nobody_else_may_read_the_data(start_gateway: StartGateway) -> None:
    """Every file of the data directory, the log's and the dead letters' among them, belongs to its owner alone."""
    gateway = await start_gateway()
    async with KINDS["webhook"](script=always(Respond(413))) as receiver:
        destination = await gateway.api.create(receiver)
        await gateway.api.accept([event()])
        assert (await gateway.api.until_settled(destination))["dead_lettered"] == 1
        assert (await gateway.api.post_lines([event(), b"nonsense"])).status == 207
        found = [path for path in gateway.data_dir.rglob("*") if path.is_file()]
        folders = {path.parent.name for path in found}
        assert {"log", "cursors", "dead-letters", "quarantine"} <= folders
        assert [path.name for path in found if path.stat().st_mode & 0o077] == []


def new_credentials(receiver: Receiver, canaries: Canaries) -> dict[str, str]:
    secrets = {name: canaries.new() for name in CREDENTIALS[receiver.provider]}
    return {"token": f"keyid:{secrets['token']}"} if receiver.provider == "elastic" else secrets


async def create(gateway: GatewayProcess, listener: Listener, receiver: Receiver, secrets: dict[str, str]) -> str:
    """Test a destination, then store it. Its id."""
    content = {
        "provider": receiver.provider,
        "endpoint": receiver.endpoint,
        "options": receiver.options,
        **secrets,
    }
    assert (await listener.call(gateway.api, "POST", f"{SIEM}/test", json=content)).status == 200
    made = await listener.call(gateway.api, "POST", SIEM, json=content)
    assert (made.status, made.json()["credentials_set"]) == (201, sorted(secrets))
    return str(made.json()["id"])


async def create_with_certificate(
    gateway: GatewayProcess, listener: Listener, receiver: Receiver, canaries: Canaries, folder: Path
) -> list[str]:
    """Destinations with a client certificate: one whose server speaks no TLS, one that is not there. Their ids."""
    made = await asyncio.to_thread(make_certificate, folder, "client.example")
    canaries.know_key(made.key)
    pair = {"client_certificate": made.certificate, "client_key": made.key}
    content = {"provider": "webhook", "secret": canaries.new(), **pair}
    for wrong in ({"client_key": made.key[:-60]}, {"client_certificate": made.key}, {"options": {"ca": made.key}}):
        endpoint = {"endpoint": "https://127.0.0.1:9"}
        assert (await listener.call(gateway.api, "POST", SIEM, json={**content, **endpoint, **wrong})).status == 422
    answers = [
        await listener.call(gateway.api, "POST", SIEM, json={**content, "endpoint": endpoint})
        for endpoint in (receiver.endpoint.replace("http://", "https://"), "https://127.0.0.1:9")
    ]
    assert [answer.status for answer in answers] == [201, 201]
    return [str(answer.json()["id"]) for answer in answers]


async def rotate(gateway: GatewayProcess, canaries: Canaries) -> None:
    """With a new key before the old one, then with a key that opens nothing."""
    new, lost, old = canaries.new(), canaries.new(), gateway.settings["secret_key"]
    for keys, code in ((f"{new},{old}", 0), (lost, 1)):
        given = {"GATEWAY_DATA_DIR": str(gateway.data_dir), "GATEWAY_SECRET_KEY": keys}
        done = await CommandLine(gateway.data_dir.parent, **given).type("secrets", "rotate")
        assert done.code == code
        assert canaries.found_in((done.out + done.err).encode()) == []


def repeating(status: int, receiver: Receiver, credentials: dict[str, str]) -> Respond:
    """Every member that a provider may use for its words has the credentials in it, where they are cut off too."""
    secrets = list(credentials.values())
    if receiver.provider == "elastic":
        secrets.append(base64.b64encode(secrets[0].encode()).decode())
    words = f"{PAYLOAD} denied for {' and '.join(secrets)} ".ljust(480, "x") + f" {secrets[0]} {secrets[-1]}"
    error = {"type": f"{secrets[0]}_{PAYLOAD}_exception", "reason": words}
    content = {
        "text": words,
        "code": 4,
        "__type": f"{secrets[0]}{PAYLOAD}Exception",
        "message": words,
        "errors": [{"title": words, "detail": words}] if status != 200 else True,
        "error": error,
        "items": [{"create": {"_id": secrets[0], "status": 400, "error": error}}],
        "rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 0},
    }
    return Respond(status, msgspec.json.encode(content), {"Content-Type": "application/json", "X-Repeated": secrets[0]})


def was_tried(destination: Members) -> bool:
    health = destination["health"]
    return health["last_error"] is not None or health["last_success_at"] is not None


async def misplace(gateway: GatewayProcess, listener: Listener, canaries: Canaries) -> None:
    """Secrets where none belong: each is refused without being repeated."""
    good = {"provider": "splunk", "endpoint": "http://127.0.0.1:9", "token": canaries.new()}
    for wrong in (
        {"tokn": canaries.new()},
        {"token": [canaries.new()]},
        {"token": {"value": canaries.new()}},
        {"token": f"{canaries.new()}\x00"},
        {"options": {"token": canaries.new()}},
        {"options": canaries.new()},
        {"filter": canaries.new()},
        {"enabled": canaries.new()},
        {"provider": canaries.new()},
        {"endpoint": f"https://user:{canaries.new().replace('/', '%2F')}@splunk.example.com"},
        {"credentials": {"token": canaries.new()}},
        {"credentials": canaries.new()},
    ):
        answer = await listener.call(gateway.api, "POST", SIEM, json={**good, **wrong})
        assert answer.status in (400, 422), wrong
    cut_off = f'{{"provider":"splunk","token":"{canaries.new()}'.encode()
    assert (await listener.call(gateway.api, "POST", SIEM, body=cut_off)).status == 400
    unknown = gateway.api_with(canaries.new())
    assert (await listener.call(unknown, "GET", SIEM)).status == 401
    anonymous = gateway.api_with(None)
    assert (await listener.call(anonymous, "GET", f"{SIEM}?api_key={canaries.new().replace('/', '')}")).status == 401


async def make_keys(gateway: GatewayProcess, listener: Listener, canaries: Canaries) -> None:
    """A key is shown once, in the answer that makes it."""
    made = await gateway.api.new_key("tenant-a", "siem:read", "keys:write")
    canaries.know(made["key"])
    assert (await listener.call(gateway.api_with(made["key"]), "GET", "/v1/audit/whoami")).status == 200
    assert (await listener.call(gateway.api_with(made["key"]), "GET", "/v1/audit/keys")).status == 200
    for wrong in ({"key": canaries.new()}, {"scopes": [canaries.new()]}, {"expires_at": canaries.new()}):
        content = {"name": "x", "scopes": ["siem:read"], **wrong}
        assert (await listener.call(gateway.api, "POST", "/v1/audit/keys", json=content)).status in (400, 422)


async def look_everywhere(gateway: GatewayProcess, listener: Listener, destinations: Iterable[str]) -> None:
    """Every route that reads, and the test of each stored destination."""
    for path in ("/metrics", "/openapi.json", "/healthz", "/readyz", SIEM, "/v1/audit/keys", "/v1/audit/whoami"):
        assert (await listener.call(gateway.api, "GET", path)).status == 200
    for destination in destinations:
        for what in ("", "/attempts", "/gaps", "/ledger", "/dead-letters"):
            assert (await listener.call(gateway.api, "GET", f"{SIEM}/{destination}{what}")).status == 200
        assert (await listener.call(gateway.api, "POST", f"{SIEM}/{destination}/test")).status == 200


def open_files(pid: int, canaries: Canaries) -> list[tuple[str, list[bytes]]]:
    """What of the process's open files has a secret in it, those without a name and those removed included."""
    read, leaking = 0, []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the process goes on, and closes some of them meanwhile
            if stat.S_ISREG(path.stat().st_mode):
                name, content = str(path.readlink()), path.read_bytes()
                read += 1
                if found := canaries.found_in(content):
                    leaking.append((name, found))
    assert read >= 3
    return leaking


def kept_in(gateway: GatewayProcess, canaries: Canaries) -> list[tuple[str, list[bytes]]]:
    """The files of the data directory that have a secret in them."""
    files = [path for path in gateway.data_dir.rglob("*") if path.is_file()]
    assert len(files) >= 4
    return [(path.name, found) for path in files if (found := canaries.found_in(path.read_bytes()))]
