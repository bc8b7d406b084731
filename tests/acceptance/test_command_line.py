"""Every command as people type it: ``gateway …`` as a process of its own, against a gateway that really runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.demo.receivers import ElasticReceiver, Refuse, WebhookReceiver, always
from tests.acceptance.audit_events import by_id, event, events
from tests.acceptance.gateway_process import OPERATOR_KEY, GatewayProcess, StartGateway

SECRET = "a-secret-of-32-characters-or-more"
COMMAND_S_MAX = 60.0


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line of a command that did not work."""
        assert self.code != 0
        assert self.out == ""
        assert self.err.startswith("gateway: ")
        assert self.err.count("\n") == 1
        return self.err


class CommandLine:
    """Types commands in ``folder``, with nothing in the environment but what is given."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self._given = environment

    def with_(self, **environment: str) -> CommandLine:
        return CommandLine(self._folder, **{**self._given, **environment})

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        others = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *words),
            cwd=self._folder,
            env={**others, "COLUMNS": "80", **self._given},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def type(self, *words: str, stdin: bytes = b"") -> Done:
        return await finished(await self.start(*words), stdin)


async def finished(process: asyncio.subprocess.Process, stdin: bytes = b"") -> Done:
    async with asyncio.timeout(COMMAND_S_MAX):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
def command(gateway: GatewayProcess, tmp_path: Path) -> CommandLine:
    """A terminal of the operator of the running gateway."""
    return CommandLine(tmp_path, GATEWAY_URL=gateway.address, GATEWAY_API_KEY=OPERATOR_KEY)


def webhook(receiver: WebhookReceiver, name: str) -> tuple[str, ...]:
    given = ("--provider", "webhook", "--endpoint", receiver.endpoint, "--name", name)
    return (*given, "--credential", f"secret={receiver.credentials['secret']}")


async def test_a_destination_from_its_creation_to_its_end(
    gateway: GatewayProcess, command: CommandLine, tmp_path: Path
) -> None:
    """Created, tried, changed, fed from a file, looked at as table and as JSON, flushed and removed, all by name."""
    lines = [*events(3), event(action="key.rotate")]
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    async with WebhookReceiver(format="ndjson") as receiver:
        made = await command.type("destinations", "create", *webhook(receiver, "soc"), "--option", "format=ndjson")
        assert (made.code, made.err) == (0, "")
        identity = made.out.split()[0]
        tried = await command.type("destinations", "test", "soc")
        assert (tried.code, "It arrived" in tried.out) == (0, True)
        changed = await command.type(
            *(
                "destinations",
                "update",
                "soc",
                "--option",
                'headers={"X-Team":"soc"}',
                "--filter-action",
                "attestation.*",
            )
        )
        assert changed.code == 0, changed.err
        sent = await command.type("send", "events.ndjson")
        assert (sent.code, sent.out) == (0, "4 accepted, 0 rejected\n")
        await gateway.api.until_settled(identity)
        shown = (await command.type("destinations", "show", "soc", "--json")).json
        assert shown["id"] == identity
        assert shown["options"] == {"format": "ndjson", "headers": {"X-Team": "soc"}}
        assert (shown["ledger"]["delivered"], shown["ledger"]["filtered"]) == (3, 1)
        told = (await command.type("destinations", "show", "soc")).out
        assert re.search(r"^filter\.actions +attestation\.\*", told, re.MULTILINE)
        assert re.search(r"^ledger\.balanced +yes", told, re.MULTILINE)
        assert by_id(lines[:3]).items() <= receiver.events.items()
        listed = await command.type("destinations", "list")
        assert all(word in listed.out for word in (identity, "soc", "webhook", "active"))
        assert [entry["id"] for entry in (await command.type("destinations", "list", "--json")).json["data"]] == [
            identity
        ]
        assert (await command.type("destinations", "delete", "soc")).out == "soc deleted.\n"
    assert (await command.type("destinations", "list", "--json")).json == {"data": []}


async def test_an_export_goes_to_one_destination_alone(gateway: GatewayProcess, command: CommandLine) -> None:
    """`backfill` reads from standard input like `send`, and nobody else gets the events."""
    lines = events(5)
    async with WebhookReceiver() as chosen, WebhookReceiver() as other:
        await command.type("destinations", "create", *webhook(chosen, "chosen"))
        await command.type("destinations", "create", *webhook(other, "other"))
        done = await command.type("backfill", "chosen", "-", "--json", stdin=b"\n".join(lines))
        assert done.json == {"accepted": 5, "rejected": 0, "errors": []}
        for entry in (await command.type("destinations", "list", "--json")).json["data"]:
            await gateway.api.until_settled(entry["id"])
        assert chosen.events == by_id(lines)
        assert other.events == {}


async def test_rejected_lines_are_named_and_fail_the_command(command: CommandLine) -> None:
    """The numbers are those of the file, whatever piece a line was sent in; the rest is taken."""
    lines = [event(text="x" * 10_000) for _ in range(120)]
    lines[100] = b'{"id":"evt_short"}'
    done = await command.type("send", "-", stdin=b"\n".join(lines))
    assert (done.code, done.out) == (1, "119 accepted, 1 rejected\n")
    assert done.err.startswith("line 101 (evt_short): ")
    assert done.err.count("\n") == 1


async def test_ctrl_c_does_not_wait_for_a_pipe_that_says_nothing(gateway: GatewayProcess, command: CommandLine) -> None:
    """The command ends and says from which line to go on; what it had sent is taken."""
    lines = [event(text="x" * 10_000) for _ in range(60)]
    async with WebhookReceiver() as receiver:
        identity = await gateway.api.create(receiver)
        sending = await command.start("send", "-")
        assert sending.stdin is not None
        sending.stdin.write(b"\n".join([*lines, b""]))
        await receiver.stored.wait_for(50, timeout_s=COMMAND_S_MAX)
        sending.send_signal(signal.SIGINT)
        async with asyncio.timeout(COMMAND_S_MAX):
            await sending.wait()  # with its standard input still open
        assert sending.stderr is not None
        said = (await sending.stderr.read()).decode()
        accepted = (await gateway.api.until_settled(identity))["accepted"]
    told = re.fullmatch(r"gateway: Stopped\. (\d+) accepted so far; go on with --from-line (\d+)\.\n", said)
    assert sending.returncode == 130
    assert told is not None, said
    assert 0 < int(told[1]) == int(told[2]) - 1 <= accepted  # more when the last answer was still under way


async def test_dead_letters_are_listed_and_sent_again(gateway: GatewayProcess, command: CommandLine) -> None:
    """With the provider's reason, and once it takes them they are gone from the list."""
    poison = event(name="evt_poison")
    async with ElasticReceiver(script=always(Refuse(lambda line: b"evt_poison" in line))) as receiver:
        identity = await gateway.api.create(receiver, name="search")
        await command.type("send", "-", stdin=b"\n".join([*events(2), poison]))
        await gateway.api.until_settled(identity)
        listed = await command.type("dead-letters", "list", "search")
        assert "evt_poison" in listed.out
        (letter,) = (await command.type("dead-letters", "list", "search", "--json", "--limit", "7")).json["data"]
        assert letter["event_id"] == "evt_poison"
        assert letter["code"] in listed.out
        assert letter["reason"]
        receiver.script = None
        assert (await command.type("dead-letters", "replay", "search")).out == "1 event is on its way again.\n"
        await gateway.api.until_settled(identity)
        assert receiver.events["evt_poison"] == poison
        assert (await command.type("dead-letters", "list", "search")).out == "No dead letters.\n"
        assert (await command.type("dead-letters", "replay", "search", "--json")).json == {"replayed": 0}


async def test_a_key_from_its_creation_to_its_end(command: CommandLine) -> None:
    """Alone on standard output, listed without itself, good for its scope alone, and for nothing once revoked."""
    made = await command.type("keys", "create", "--scope", "events:write", "--tenant", "tenant-a", "--name", "producer")
    assert made.code == 0
    key = made.out.strip()
    assert key.startswith("tl_live_")
    listed = await command.type("keys", "list")
    assert "producer" in listed.out
    assert key not in listed.out
    (entry,) = [k for k in (await command.type("keys", "list", "--json")).json["data"] if k["name"] == "producer"]
    assert entry["id"] in made.err
    producer = command.with_(GATEWAY_API_KEY=key)
    assert (await producer.type("send", "-", stdin=event())).code == 0
    assert "(403)" in (await producer.type("destinations", "list")).refusal
    assert (await command.type("keys", "revoke", entry["id"])).out == f"{entry['id']} revoked.\n"
    assert "(401)" in (await producer.type("send", "-", stdin=event())).refusal


async def test_status_at_a_glance(gateway: GatewayProcess, command: CommandLine) -> None:
    """A destination that fails is a row with its reason below, and watching ends quietly with Ctrl-C."""
    identity = (
        await gateway.api.expect(
            201,
            "POST",
            "/v1/audit/siem",
            json={"provider": "webhook", "name": "away", "endpoint": "http://127.0.0.1:9/", "secret": SECRET},
        )
    )["id"]
    await gateway.api.accept(events(2))
    await gateway.api.until_status(identity, "degraded")
    shown = await command.type("status")
    assert shown.code == 0
    assert re.search(r"^away +webhook +degraded +2 ", shown.out, re.MULTILINE)
    assert "away  connection: cannot connect" in shown.out
    assert (await command.type("status", "--json")).json["destinations"][0]["status"] == "degraded"
    watching = await command.start("status", "--watch", "--interval", "0.1")
    assert watching.stdout is not None
    while b"away" not in (seen := await watching.stdout.readline()):
        assert seen, "it ended by itself"
    watching.send_signal(signal.SIGINT)
    done = await finished(watching)
    assert (done.code, done.err) == (0, "")


WRONG: Mapping[str, tuple[int, str]] = {
    "destinations show absent": (1, "No destination is called 'absent'"),
    "destinations show siem_absent": (1, "(404)"),
    "destinations list --status asleep": (1, "active, degraded, failed"),
    "destinations create --provider pigeon --endpoint https://x": (1, "This gateway has splunk, datadog"),
    "destinations create --provider webhook --endpoint https://hooks.example.com": (1, "secret: a value is required"),
    "destinations create --provider webhook --endpoint https://x --secret s --option colour=red": (1, "options.colour"),
    "destinations create --provider webhook --endpoint https://x --credential-file secret=absent": (2, "absent cannot"),
    "destinations create --provider webhook --endpoint https://x --credential-env secret=ABSENT": (2, "ABSENT is not"),
    "destinations update absent --name new": (1, "No destination is called 'absent'"),
    "destinations delete absent": (1, "No destination is called 'absent'"),
    "destinations test absent": (1, "No destination is called 'absent'"),
    "dead-letters list absent": (1, "No destination is called 'absent'"),
    "dead-letters replay siem_absent": (1, "(404)"),
    "keys create --scope everything": (1, "must be some of events:write"),
    "keys revoke key_absent": (1, "there is no key key_absent"),
    "send absent.ndjson": (2, "absent.ndjson cannot be read"),
    "send .": (2, ". cannot be read"),
    "backfill absent -": (1, "No destination is called 'absent'"),
    "status --watch --json": (2, "gateway status --json"),
    "log inspect absent": (1, "absent is not a queue directory"),
    "log verify .": (1, ". is not a queue directory"),
    "config check --config absent.toml": (2, "absent.toml: cannot be read"),
    "serve --config absent.toml": (2, "absent.toml: cannot be read"),
    "serve --listen nonsense": (2, "server.listen must be HOST:PORT"),
}


async def test_what_is_wrong_is_said_in_one_line(command: CommandLine) -> None:
    """Wrong ids, files, values: a line on standard error names it, nothing is on standard output, the code tells."""
    all_done = await asyncio.gather(*(command.type(*typed.split()) for typed in WRONG))
    for (typed, (code, words)), done in zip(WRONG.items(), all_done, strict=True):
        assert words in done.refusal, typed
        assert (typed, done.code) == (typed, code)


async def test_a_wrong_key_and_a_gateway_that_is_away(command: CommandLine) -> None:
    """Each client command says it in one line, without the key."""
    commands = ("status", "destinations list", "keys list", "dead-letters list siem_x", "send -", "backfill siem_x -")
    stranger, away = command.with_(GATEWAY_API_KEY="tl_live_stranger"), command.with_(GATEWAY_URL="http://127.0.0.1:9")
    keyless = command.with_(GATEWAY_API_KEY="")
    for typed in commands:
        line = (await stranger.type(*typed.split(), stdin=event())).refusal
        assert "(401)" in line, typed
        assert "stranger" not in line
        assert "No gateway answers at" in (await away.type(*typed.split(), stdin=event())).refusal, typed
        assert "No API key was given" in (await keyless.type(*typed.split(), stdin=event())).refusal, typed


async def test_the_log_of_a_running_and_of_a_stopped_gateway(gateway: GatewayProcess, command: CommandLine) -> None:
    """It can be read while it is written; the consumers and their books are there, and a stopped log is the same."""
    async with WebhookReceiver() as receiver:
        identity = await gateway.api.create(receiver)
        await gateway.api.accept(events(10))
        await gateway.api.until_settled(identity)
    directory = str(gateway.data_dir)
    assert (await command.type("log", "verify", directory)).out.startswith("sound: 10 events, ")
    assert (await command.type("log", "inspect", directory)).code == 0
    await gateway.terminate()
    inspected = await command.type("log", "inspect", directory)
    assert identity in inspected.out
    found = (await command.type("log", "inspect", directory, "--json")).json
    assert [(consumer["id"], consumer["delivered"]) for consumer in found["consumers"]] == [(identity, 10)]
    verified = (await command.type("log", "verify", directory, "--json")).json
    assert (verified["damage"], verified["imbalanced"]) == ([], [])
    assert [(book["id"], book["accepted"], book["delivered"]) for book in verified["books"]] == [(identity, 10, 10)]


def flip(content: bytearray) -> None:
    """A byte of the first frame's body."""
    content[4096 + 200] ^= 0xFF


def cut(content: bytearray) -> None:
    del content[4096 + 100 :]


def blank(content: bytearray) -> None:
    """One of the two copies of the header."""
    content[:64] = bytes(64)


def blank_both(content: bytearray) -> None:
    content[:4096] = bytes(4096)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "the body of a frame"),
        (cut, "the body of a frame"),
        (blank, "one of two copies of the header; it costs nothing"),
        (blank_both, "header"),
    ],
    ids=["a flipped byte", "a lost end", "half of the header", "the whole header"],
)
async def test_a_damaged_log_is_told(
    gateway: GatewayProcess, command: CommandLine, tmp_path: Path, damage: Callable[[bytearray], None], words: str
) -> None:
    """`verify` names file and place and fails; `inspect` shows the same beside what can be read; neither changes it."""
    await gateway.api.accept(events(20))
    await gateway.restart()  # the first segment has got an end that is known
    await gateway.terminate()
    copy = tmp_path / "copy"
    shutil.copytree(gateway.data_dir, copy)
    segment = min((copy / "log").glob("*.seg"))
    content = bytearray(segment.read_bytes())
    damage(content)
    segment.write_bytes(content)
    verified = await command.type("log", "verify", str(copy))
    assert (verified.code, verified.err) == (1, "")
    assert segment.name in verified.out
    assert words in verified.out
    assert (await command.type("log", "verify", str(copy), "--json")).code == 1
    inspected = await command.type("log", "inspect", str(copy))
    assert inspected.code == 0
    assert words in inspected.out
    assert segment.read_bytes() == content


async def test_the_configuration_is_checked(command: CommandLine, tmp_path: Path) -> None:
    """File and environment together, as `serve` would use them; a wrong value is one line with its place."""
    (tmp_path / "good.toml").write_text('[retry]\nwindow = "2h"\n')
    shown = await command.with_(GATEWAY_LISTEN="127.0.0.1:1").type("config", "check", "--config", "good.toml", "--json")
    assert (shown.json["retry.window"], shown.json["server.listen"]) == ("2h", "127.0.0.1:1")
    assert re.search(
        r"^retry\.window +2h +set", (await command.type("config", "check", "--config", "good.toml")).out, re.MULTILINE
    )
    for content, words in (
        ("[retry]\nwindow = ", "is not TOML"),
        ("[retry]\nwindows = 1", "unknown setting retry.windows; the nearest known one is retry.window"),
        ('[retry]\nwindow = "soon"', "retry.window must be a duration"),
        ("retry = 3", "unknown setting retry;"),
        ("[queue]\nurl = 'nats://x'", "queue.url: only the embedded"),
    ):
        (tmp_path / "wrong.toml").write_text(content)
        done = await command.type("config", "check", "--config", "wrong.toml")
        assert (done.code, words in done.refusal) == (2, True), done
    done = await command.with_(GATEWAY_LOG_LEVEL="loud").type("config", "check")
    assert "GATEWAY_LOG_LEVEL: log.level must be one of" in done.refusal


async def test_a_second_gateway_is_refused(gateway: GatewayProcess, command: CommandLine, tmp_path: Path) -> None:
    """The data directory and the address are each of one gateway alone."""
    taken = await command.type("serve", "--data-dir", str(gateway.data_dir), "--listen", "127.0.0.1:0")
    assert (taken.code, taken.out) == (2, "")
    assert f"in use by process {gateway.pid}" in taken.err
    address = gateway.address.removeprefix("http://")
    clash = await command.type("serve", "--data-dir", str(tmp_path / "other"), "--listen", address)
    assert (clash.code, clash.out) == (2, "")
    assert f"gateway: {address} is in use by another program" in clash.err


async def test_the_printed_commands_work_as_they_are_printed(start_gateway: StartGateway, tmp_path: Path) -> None:
    """At the first start and at the second, from any directory; the client commands find the kept key by themselves."""
    gateway = await start_gateway(bootstrap_key="")
    key = (gateway.data_dir / "bootstrap-key").read_text().strip()
    assert gateway.output.count(key) == 1
    for _ in range(2):
        for line in [line for line in gateway.output.splitlines() if line.startswith("  curl ")][-2:]:
            status = await requested(line, gateway, tmp_path)
            assert status in (201, 202), line
        await gateway.restart()
    assert gateway.output.count(key) == 1
    command = CommandLine(tmp_path, GATEWAY_URL=gateway.address, GATEWAY_DATA_DIR=str(gateway.data_dir))
    assert len((await command.type("destinations", "list", "--json")).json["data"]) == 2


async def requested(line: str, gateway: GatewayProcess, folder: Path) -> int:
    """The status of the request that a shell would have curl make; curl itself need not be there."""
    shell = await asyncio.create_subprocess_shell(
        line.replace("curl", "printf '%s\\0'", 1), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    url, *options = (await shell.communicate())[0].decode().removesuffix("\0").split("\0")
    assert options[0::2] == ["-H", "-H", "-d"]
    headers = dict(header.split(": ", 1) for header in options[1:4:2])
    path = url.removeprefix(gateway.address)
    return (await gateway.api_with(None).call("POST", path, body=options[5].encode(), headers=headers)).status
