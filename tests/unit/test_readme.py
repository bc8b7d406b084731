"""What the README says can be followed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import typer
from typer.main import get_command

from gateway.cli.program import program

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_to_files_and_headings_that_are_there() -> None:
    """Every link stays inside the project."""
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        parts = urlsplit(link)
        assert not parts.scheme, link
        assert parts.fragment in anchors() if link.startswith("#") else (ROOT / parts.path).exists(), link


def test_every_command_of_the_program_is_in_the_table() -> None:
    """A command that is not written down does not exist for a reader."""
    commands = get_command(program).commands  # type: ignore[attr-defined]  # typer's declared type is a single command
    for name, command in commands.items():
        assert f"`gateway {name}" in README, name
        for inner in getattr(command, "commands", {}):
            assert re.search(rf"`gateway {name} [^`]*\b{inner}\b", README), f"{name} {inner}"


def test_the_options_of_the_tour_exist() -> None:
    """Each long option that a `gateway` line of the README uses is one of that command."""
    lines = re.sub(r"\\\n\s*", "", README).splitlines()
    used = [line for line in lines if re.match(r"(done \| )?\.venv/bin/gateway ", line)]
    assert len(used) > 5
    for line in used:
        words = line.split("gateway ", 1)[1].split()
        command = get_command(program)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]  # only groups have commands
        assert isinstance(command, typer.core.TyperCommand), line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_events_of_the_tour_are_json_with_every_required_member() -> None:
    """They can be posted as they stand."""
    whole = re.search(r"-d '(\{\n.*?\})'", README, re.DOTALL)
    short = re.search(r"echo '(\{.*\})'$", README, re.MULTILINE)
    assert whole is not None
    assert short is not None
    for text in (whole[1], short[1].replace("'$n'", "7")):
        event = json.loads(text)
        for member in ("id", "timestamp", "tenant_id", "actor_type", "actor_id", "action"):
            assert isinstance(event[member], str)
        for member in ("resource_type", "resource_id", "service", "outcome"):
            assert isinstance(event[member], str)


def test_no_path_of_a_machine_is_in_it() -> None:
    """Nothing points into somebody's home or build directory."""
    assert not re.search(r"/(home|root|work|Users)/", README)
