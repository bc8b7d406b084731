"""What the gateway is made of when it runs: its own dependencies and theirs, without those of tests and tools.

``python -m tests.supply_chain licences`` prints the list that is kept in LICENCES.md; ``… sbom FILE`` cuts a CycloneDX
document of the whole environment down to what runs. The Makefile calls both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LICENCES = ROOT / "LICENCES.md"
# The oldest Python that is supported needs the most; the newer ones leave some out.
ENVIRONMENT = {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux", "extra": ""}

_HEAD = """\
# Licences

What the gateway is installed with at run time, and under which licences. Written by `make licences`.

"""


def runtime_closure() -> list[str]:
    """Canonical names, in order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    waiting = list(map(Requirement, project["dependencies"]))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker is not None and not requirement.marker.evaluate(ENVIRONMENT)):
            continue
        found.add(name)
        waiting += map(Requirement, requires(name) or [])
    return sorted(found)


def versions() -> dict[str, str]:
    return {name: version(name) for name in runtime_closure()}


def licences() -> str:
    """The whole of LICENCES.md."""
    listed = subprocess.run(  # noqa: S603 - a tool of this environment, with names that are installed in it
        [
            *(sys.executable, "-m", "piplicenses", "--from=mixed", "--format=markdown", "--order=name", "--packages"),
            *runtime_closure(),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return _HEAD + listed.stdout


def pruned(document: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A bill of materials with these components alone, and with the dependencies between them."""
    components = [part for part in document["components"] if canonicalize_name(part["name"]) in names]
    kept = {part["bom-ref"] for part in components} | {document["metadata"]["component"]["bom-ref"]}
    dependencies = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in kept]}
        for entry in document["dependencies"]
        if entry["ref"] in kept
    ]
    return {**document, "components": components, "dependencies": dependencies}


def main(what: str, *file: str) -> None:
    if what == "licences":
        LICENCES.write_text(licences(), encoding="utf-8")
    else:
        path = Path(*file)
        document = pruned(json.loads(path.read_text(encoding="utf-8")), runtime_closure())
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
