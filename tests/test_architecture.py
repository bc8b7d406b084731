"""The shape of the package: which way imports point, what importing does, and what files are called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gateway"

# Higher numbers may import lower ones. Modules that stand in no layer of their own belong to the bottom.
LAYERS = {
    "gateway.cli": 60,
    "gateway.__main__": 61,
    "gateway.demo": 55,
    "gateway.app": 50,
    "gateway.server": 40,
    "gateway.delivery": 30,
    "gateway.event": 30,  # makes the queue's entries of what came in
    "gateway.queue": 20,
    "gateway.destinations": 20,
    "gateway.providers": 20,
}
BOTTOM = 10

# The one way between neighbours: what opens stored credentials hands them out as the codecs' type.
BESIDE = {("gateway.destinations", "gateway.providers")}

# Each of these is one concrete part; only the composition root knows more than one of them.
CONCRETE = (
    "gateway.queue.wal",
    "gateway.destinations.sqlite",
    "gateway.destinations.postgres",
    "gateway.server",
    "gateway.delivery.supervisor",
    "gateway.providers.transport",
)

FORBIDDEN_NAMES = frozenset({"utils", "util", "helpers", "helper", "manager", "common", "base", "misc"})

IMPORT_EVERYTHING = """
import builtins, importlib, io, json, os, pathlib, socket, sys, threading
modules = json.loads(sys.argv[1])
real_open = builtins.open

def read_only(file, mode="r", *args, **kwargs):
    if set(mode) & set("wax+"):
        raise SystemExit(f"opens {file} for writing")
    return real_open(file, mode, *args, **kwargs)

def forbidden(*args, **kwargs):
    raise SystemExit(f"does more than define: {args}")

threads = threading.active_count()
environment = dict(os.environ)
path = list(sys.path)
for name in modules:
    importlib.import_module(name)  # libraries may do what they like
for name in [name for name in sys.modules if name == "gateway" or name.startswith("gateway.")]:
    del sys.modules[name]
builtins.open = io.open = read_only
os.mkdir = os.makedirs = os.unlink = os.rename = os.replace = os.fsync = forbidden
socket.socket.connect = socket.socket.bind = socket.getaddrinfo = forbidden
os.system = os.fork = forbidden
importlib.invalidate_caches()
for name in modules:
    importlib.import_module(name)
assert threading.active_count() == threads, "starts a thread"
assert dict(os.environ) == environment, "changes the environment"
assert sys.path == path, "changes sys.path"
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer_of(module: str) -> int:
    found = [prefix for prefix in LAYERS if module == prefix or module.startswith(prefix + ".")]
    return LAYERS[max(found, key=len)] if found else BOTTOM


def package_of(module: str) -> str:
    """``gateway.queue.wal.log`` belongs to ``gateway.queue``."""
    return ".".join(module.split(".")[:2])


def imports_of(module: str) -> Iterator[tuple[str, bool]]:
    """Modules of the package that this one imports, and whether it does so when it is imported itself."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    inside = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "gateway":
                    yield alias.name, node not in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            if node.module is not None and node.module.split(".")[0] == "gateway":
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield (whole if whole in MODULES else node.module), node not in inside


def concrete_part(module: str) -> str | None:
    return next((part for part in CONCRETE if module == part or module.startswith(part + ".")), None)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    """cli → app → server → delivery → {queue, destinations, providers} → the rest; neighbours stay apart."""
    for imported, _ in imports_of(module):
        packages = package_of(module), package_of(imported)
        if imported == "gateway" or packages[0] == packages[1] or packages in BESIDE:
            continue
        if layer_of(module) == BOTTOM:
            assert layer_of(imported) == BOTTOM, f"{module} imports {imported}"
        else:
            assert layer_of(imported) < layer_of(module), f"{module} imports {imported}"


def test_no_module_needs_itself_to_be_imported() -> None:
    """What modules import while they are imported has no cycle."""
    edges = {
        module: {name for name, at_import in imports_of(module) if at_import and name != module} for module in MODULES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for imported in sorted(edges.get(module, ())):
                visit(imported, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", [module for module in MODULES if module != "gateway.app"])
def test_only_the_composition_root_names_concrete_parts_together(module: str) -> None:
    """Beside its own part a module knows at most one other concrete one; app.py alone puts them together."""
    parts = {concrete_part(imported) for imported, _ in imports_of(module)} - {None, concrete_part(module)}
    assert len(parts) <= 1, f"{module} imports {sorted(filter(None, parts))}"


@pytest.mark.parametrize("module", [module for module in MODULES if package_of(module) == "gateway.demo"])
def test_the_demo_stands_on_its_own(module: str) -> None:
    """It shows the product from outside, as a process of its own: it imports nothing of it."""
    foreign = {imported for imported, _ in imports_of(module) if package_of(imported) != "gateway.demo"}
    assert foreign <= {"gateway"}


@pytest.mark.parametrize("module", MODULES)
def test_names_say_what_is_inside(module: str) -> None:
    """No drawer for odds and ends."""
    assert not FORBIDDEN_NAMES & set(module.split("."))


def test_importing_does_nothing_but_define(tmp_path: Path) -> None:
    """No module writes, connects, starts a thread or changes the process when it is imported, wherever it is run."""
    import json

    nowhere = tmp_path / "nowhere"
    nowhere.mkdir(mode=0o500)
    names = [name for name in MODULES if name != "gateway.__main__"]
    done = subprocess.run(  # noqa: S603 - this interpreter, with our own text
        [sys.executable, "-B", "-c", IMPORT_EVERYTHING, json.dumps(names)],
        cwd=nowhere,
        env={"PYTHONPATH": str(ROOT), "HOME": str(nowhere), "GATEWAY_RETRY_WINDOW": "nonsense"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(nowhere.iterdir()) == []
