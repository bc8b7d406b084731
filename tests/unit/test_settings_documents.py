"""config/gateway.toml and the README say of every setting what the tree says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_origin

from gateway.config import SHORT_NAMES, Config, load
from gateway.quantity import Bytes, Seconds
from gateway.settings import Setting, describe, format_value

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "gateway.toml"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def uncommented() -> str:
    """The example with every default switched on."""
    return re.sub(r"^#(?=\w+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def written(setting: Setting) -> str:
    """A default as the README's table shows it."""
    if get_origin(setting.type) is tuple or setting.default == "":
        return "empty"
    return f"`{format_value(setting.type, setting.default)}`"


def test_the_example_as_it_is_changes_nothing() -> None:
    """Every line is a comment: to use the file is to use the defaults."""
    assert load({}, {}, EXAMPLE) == Config()


def test_the_example_has_every_setting_with_its_default(tmp_path: Path) -> None:
    """Switched on, its lines name every setting of the tree, in its order, with the value that it has anyway."""
    file = tmp_path / "gateway.toml"
    file.write_text(uncommented(), encoding="utf-8")
    assert list(flat(tomllib.loads(uncommented()))) == [setting.name for setting in describe(Config)]
    assert load({}, {}, file) == Config()


def test_the_example_explains_every_setting() -> None:
    """Before each setting stands a comment, and one of a quantity says which it is."""
    kinds = {"Seconds": ("Duration", "Size"), "Bytes": ("Size", "Duration")}
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    section = ""
    known = {setting.name: setting for setting in describe(Config)}
    for number, line in enumerate(lines):
        if line.startswith("["):
            section = line.strip("[]") + "."
        if not re.match(r"#\w+ = ", line):
            continue
        setting = known[section + line[1:].split(" = ")[0]]
        first = number - 1
        while lines[first - 1].startswith("# "):
            first -= 1
        assert lines[first].startswith("# "), setting.name
        if setting.type in (Seconds, Bytes):
            assert lines[first].startswith(f"# {kinds[setting.type.__name__][0]}"), setting.name


def test_the_settings_table_of_the_readme_is_complete_and_true() -> None:
    """Each setting has one row with its name, its variable and its default, in the order of the tree."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(GATEWAY_[A-Z_]+)` \| ([^|]+?) \| ([^|]+?) \|$", README, re.MULTILINE)
    assert [row[0] for row in rows] == [setting.name for setting in describe(Config)]
    short = {name: variable for variable, name in SHORT_NAMES.items()}
    for row, setting in zip(rows, describe(Config), strict=True):
        assert row[1] == short.get(setting.name, setting.variable)
        assert row[2] == written(setting), setting.name
