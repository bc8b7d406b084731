"""What is installed with the gateway is known, pinned and licensed."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.supply_chain import LICENCES, ROOT, licences, pruned, runtime_closure, versions

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")

# Licences that ask for nothing but to be named, and MPL, which asks for the sources of changed files of its own.
PERMISSIVE = re.compile(r"(Apache|MIT|BSD|PSF|Python Software Foundation|ISC|MPL|Mozilla|Unlicense|0BSD)")


def test_the_list_of_licences_is_that_of_what_is_installed() -> None:
    """`make licences` writes it anew after a change of the lock file."""
    assert LICENCES.read_text(encoding="utf-8") == licences()


def test_every_licence_may_be_shipped() -> None:
    """None is unknown, and none asks for more than to be named."""
    rows = re.findall(r"^\| (\S+) +\| \S+ +\| (.+?) +\|$", LICENCES.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {re.sub(r"[-_.]+", "-", name).lower() for name, _ in rows[1:]}
    assert listed == set(runtime_closure())
    for name, licence in rows[1:]:
        assert PERMISSIVE.search(licence), (name, licence)
        assert not re.search(r"\b(A?GPL|LGPL|SSPL|BUSL|UNKNOWN)", licence), (name, licence)


def test_everything_is_pinned_with_hashes() -> None:
    """Each line of the lock file names one version and the digests of its files, and names no index."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==\S+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert "://" not in LOCK
    assert "--index-url" not in LOCK


def test_what_runs_is_what_is_locked() -> None:
    """The versions of this environment are those of the lock file."""
    locked = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", LOCK)
    }
    assert {name: locked.get(name) for name in versions()} == versions()


def test_what_tests_need_is_not_shipped() -> None:
    """The closure has the project's own dependencies and none of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = {re.split(r"[>=\[<]", text)[0] for text in project["dependencies"]}
    extras = {re.split(r"[>=\[<]", text)[0] for texts in project["optional-dependencies"].values() for text in texts}
    assert own <= set(runtime_closure())
    assert not extras & set(runtime_closure())


@pytest.mark.parametrize("spelling", ["typing_extensions", "typing-extensions"])
def test_the_bill_of_materials_is_cut_down_to_what_runs(spelling: str) -> None:
    """Components of tests go, and with them what pointed to them."""
    document = {
        "bomFormat": "CycloneDX",
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"name": spelling, "bom-ref": "a"}, {"name": "pytest", "bom-ref": "b"}],
        "dependencies": [{"ref": "root", "dependsOn": ["a", "b"]}, {"ref": "a"}, {"ref": "b", "dependsOn": ["a"]}],
    }
    cut = pruned(document, ["typing-extensions"])
    assert [part["bom-ref"] for part in cut["components"]] == ["a"]
    assert cut["dependencies"] == [{"ref": "root", "dependsOn": ["a"]}, {"ref": "a", "dependsOn": []}]
    assert cut["bomFormat"] == "CycloneDX"


def test_every_opt_out_of_a_lint_rule_is_explained() -> None:
    """On its line, those of the security rules among them."""
    files = [file for folder in ("gateway", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    lines = [(file, line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    bare = [(file.name, line.strip()) for file, line in lines if re.search(r"# noqa\b(?!: [A-Z0-9, ]+ - \w)", line)]
    assert [found for found in bare if "re.search" not in found[1]] == []
    ignored = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.ruff.lint]")[2]
    unexplained = re.findall(r'^ +(?:"S\d+", ?)+$', ignored, re.MULTILINE)
    assert unexplained == []
