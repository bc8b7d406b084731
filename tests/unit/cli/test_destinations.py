from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Command = Callable[..., Result]
CREATE = ("destinations", "create", "--provider", "splunk", "--endpoint", "https://hec.example.com")


def test_list_shows_every_page_as_a_table(stub: Any, gateway_command: Command) -> None:
    """Cursors are followed, and each destination is a row."""
    first, second = stub.add_destination("one"), stub.add_destination("two", status="degraded")
    result = gateway_command("destinations", "list", "--status", "active")
    assert result.exit_code == 0, result.output
    assert first in result.stdout
    assert second in result.stdout
    assert "degraded" in result.stdout
    assert all("status=active" in path for _, path, _ in stub.requests)


def test_list_without_destinations_says_what_to_do(stub: Any, gateway_command: Command) -> None:
    """An empty list points at the command that fills it."""
    result = gateway_command("destinations", "list")
    assert "gateway destinations create" in result.stdout


def test_list_as_json_is_for_programs(stub: Any, gateway_command: Command) -> None:
    """--json prints what the gateway sent and nothing else."""
    stub.add_destination("one")
    printed = json.loads(gateway_command("destinations", "list", "--json").stdout)
    assert printed["data"] == list(stub.destinations.values())


def test_show_finds_a_destination_by_its_name(stub: Any, gateway_command: Command) -> None:
    """Health and books stand beside the destination's own members, and no control character reaches the terminal."""
    stub.add_destination("one")
    identity = stub.add_destination("two")
    result = gateway_command("destinations", "show", "two")
    assert result.exit_code == 0, result.output
    for text in (identity, "health.pending_events", "ledger.balanced", "busy [bold]"):
        assert text in result.stdout
    assert "\x1b" not in result.stdout
    assert json.loads(gateway_command("destinations", "show", identity, "--json").stdout)["ledger"]["accepted"] == 49


@pytest.mark.parametrize("names", [[], ["twin", "twin"]])
def test_a_name_must_be_of_one_destination(stub: Any, gateway_command: Command, names: list[str]) -> None:
    """An unknown name and one that two destinations share are refused with one line."""
    for name in names:
        stub.add_destination(name)
    result = gateway_command("destinations", "show", "twin")
    assert result.exit_code == 1
    assert "called 'twin'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_create_sends_what_was_given(
    stub: Any, gateway_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials from three places, options typed by the provider's fields, filter and switches reach the gateway."""
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("MY_SECRET", "from-environment")
    result = gateway_command(
        *CREATE, "--name", "soc", "--tenant", "t1", "--disabled", "--ordered",
        "--credential-file", f"token={tmp_path / 'token'}", "--credential", "user=me",
        "--credential-env", "pass=MY_SECRET",
        "--option", "index=main", "--option", "ack=true", "--option", "tags=a, b", "--option", 'headers={"X-A":"b"}',
        "--filter-action", "attestation.*", "--filter-action", "key.*", "--filter-outcome", "FAILURE",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "created" in result.stdout
    assert stub.requests[-1][2] == {
        "provider": "splunk",
        "tenant_id": "t1",
        "endpoint": "https://hec.example.com",
        "name": "soc",
        "enabled": False,
        "ordered": True,
        "token": "from-file",
        "user": "me",
        "pass": "from-environment",
        "options": {"index": "main", "ack": True, "tags": ["a", "b"], "headers": {"X-A": "b"}},
        "filter": {"actions": ["attestation.*", "key.*"], "outcomes": ["FAILURE"]},
    }


def test_create_reads_a_credential_from_standard_input(stub: Any, gateway_command: Command) -> None:
    """A secret need not stand in the shell's history."""
    result = gateway_command(*CREATE, "--credential-file", "token=-", stdin="piped\n")
    assert result.exit_code == 0, result.output
    assert stub.requests[-1][2]["token"] == "piped"
    assert stub.requests[-1][2]["enabled"] is True


def test_create_asks_for_a_missing_credential_on_a_terminal(
    stub: Any, gateway_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is required and was not given is asked for; what is typed is not shown."""
    monkeypatch.setattr("gateway.cli.destination_form.is_terminal", lambda: True)
    result = gateway_command(*CREATE, stdin="typed\n")
    assert result.exit_code == 0, result.output
    assert stub.requests[-1][2]["token"] == "typed"
    assert "HEC token" in result.output
    assert "typed" not in result.output


def test_validation_errors_are_listed_on_one_line(stub: Any, gateway_command: Command) -> None:
    """Every wrong field is named."""
    result = gateway_command("destinations", "create", "--provider", "splunk", "--token", "t", "--endpoint", "http://x")
    assert result.exit_code == 1
    assert result.stderr.count("endpoint: must begin with https://; name: is taken") == 1
    assert result.stderr.count("\n") == 1


def test_what_the_detail_says_already_is_not_said_again(stub: Any, gateway_command: Command) -> None:
    """The gateway's sentence names the first faults itself; only the others are added."""
    stub.detail = "The destination is not valid: endpoint: must begin with https://; and 1 more"
    result = gateway_command("destinations", "create", "--provider", "splunk", "--token", "t", "--endpoint", "http://x")
    assert result.stderr == f"gateway: The gateway refused (422): {stub.detail} (name: is taken)\n"


def test_a_list_that_was_narrowed_to_nothing_does_not_say_that_there_is_none(
    stub: Any, gateway_command: Command
) -> None:
    """No advice to create a destination where there are others."""
    result = gateway_command("destinations", "list", "--status", "failed")
    assert "gateway destinations create" not in result.stdout
    assert "No destination is like that" in result.stdout


def test_an_unknown_provider_is_refused_with_the_known_ones(stub: Any, gateway_command: Command) -> None:
    """The line names what there is."""
    result = gateway_command("destinations", "create", "--provider", "sumo", "--endpoint", "https://x", "--token", "t")
    assert result.exit_code == 1
    assert "This gateway has splunk" in result.stderr


@pytest.mark.parametrize("option", ["--credential", "--option"])
def test_a_pair_without_a_name_is_refused_unseen(stub: Any, gateway_command: Command, option: str) -> None:
    """A secret that was given without its name is not repeated on the terminal."""
    result = gateway_command(*CREATE, option, "hunter2")
    assert result.exit_code == 2
    assert "NAME=VALUE" in result.stderr
    assert "hunter2" not in result.output


def test_update_changes_only_what_is_given(stub: Any, gateway_command: Command) -> None:
    """The gateway keeps the options that are not sent."""
    identity = stub.add_destination("one", options={"index": "main", "source": "audit"})
    result = gateway_command("destinations", "update", identity, "--enabled", "--option", "index=security")
    assert result.exit_code == 0, result.output
    assert stub.requests[-1] == (
        "PUT",
        f"/v1/audit/siem/{identity}",
        {"enabled": True, "options": {"index": "security"}},
    )


def test_update_can_try_a_change_first(stub: Any, gateway_command: Command) -> None:
    """The gateway does it, in one step with the change."""
    identity = stub.add_destination("one")
    gateway_command("destinations", "update", identity, "--token", "new", "--verify")
    assert stub.requests[-1] == ("PUT", f"/v1/audit/siem/{identity}?verify=true", {"token": "new"})


def test_an_empty_text_clears_the_filter(stub: Any, gateway_command: Command) -> None:
    """The filter that is sent is the whole new one."""
    identity = stub.add_destination("one", filter={"actions": ["key.*"], "outcomes": ["FAILURE"]})
    gateway_command("destinations", "update", identity, "--filter-action", "")
    assert stub.requests[-1][2] == {"filter": {"actions": []}}


def test_update_without_a_change_is_refused(stub: Any, gateway_command: Command) -> None:
    """No empty PUT is sent."""
    result = gateway_command("destinations", "update", stub.add_destination("one"))
    assert result.exit_code == 2
    assert "Nothing to change" in result.stderr
    assert all(method == "GET" for method, _, _ in stub.requests)


def test_delete_waits_for_the_flush_or_says_that_it_goes_on(stub: Any, gateway_command: Command) -> None:
    """204 and 202 read differently, and force and timeout are passed on."""
    identity = stub.add_destination("one")
    assert "deleted" in gateway_command("destinations", "delete", identity, "--force", "--timeout", "2").stdout
    assert stub.requests[-1][:2] == ("DELETE", f"/v1/audit/siem/{identity}?timeout=2&force=true")
    stub.flushes = False
    result = gateway_command("destinations", "delete", identity)
    assert result.exit_code == 0
    assert "background" in result.stdout
    assert json.loads(gateway_command("destinations", "delete", identity, "--json").stdout)["deleted"] is False


def test_a_test_event_that_does_not_arrive_fails_the_command(stub: Any, gateway_command: Command) -> None:
    """Scripts can rely on the exit code of `destinations test`."""
    identity = stub.add_destination("one")
    assert "It arrived" in gateway_command("destinations", "test", identity).stdout
    stub.arrives = False
    result = gateway_command("destinations", "test", identity)
    assert result.exit_code == 1
    assert "status 403" in result.stdout


def test_a_test_shows_how_far_it_came(stub: Any, gateway_command: Command) -> None:
    """Each step on a line of its own, and what to do last; for programs as the gateway said it."""
    identity = stub.add_destination("one")
    stub.arrives = False
    lines = [line.split() for line in gateway_command("destinations", "test", identity).stdout.splitlines()]
    assert lines[2:] == [
        ["connect", "ok", "Connected.", "(3", "ms)"],
        ["authentication", "failed", "Answered."],
        ["acknowledged", "-", "Not", "used."],
        ["What", "to", "do", "Give", "a", "new", "token."],
    ]
    answer = json.loads(gateway_command("destinations", "test", identity, "--json").stdout)
    assert (len(answer["steps"]), answer["advice"]) == (3, "Give a new token.")
    stub.arrives = True
    assert "What to do" not in gateway_command("destinations", "test", identity).stdout


def test_dead_letters_are_listed_and_replayed(stub: Any, gateway_command: Command) -> None:
    """The provider's reason is shown, and replay says how many go out again."""
    identity = stub.add_destination("one")
    assert "too deep" in gateway_command("dead-letters", "list", identity).stdout
    assert "3 events" in gateway_command("dead-letters", "replay", "one").stdout
    assert json.loads(gateway_command("dead-letters", "list", identity, "--json").stdout)["data"][0]["code"] == "400"
