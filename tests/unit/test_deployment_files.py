"""The systemd unit, the Kubernetes manifest and the container: valid, and hardened alike."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config, load
from gateway.quantity import parse_bytes, parse_seconds

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "config" / "audit-siem-gateway.service"
MANIFEST = ROOT / "config" / "kubernetes-sidecar.yaml"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
GRACE_S = float(Config().shutdown.grace_s)
EXPOSURE_MAX = 20  # of 100, as systemd counts it: what it calls OK ends at 45
USER = 10_001


def service() -> dict[str, list[str]]:
    """Every setting of the unit's [Service], in the order in which they stand there."""
    found: dict[str, list[str]] = {}
    section = UNIT.read_text(encoding="utf-8").partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def workload() -> dict[str, Any]:
    documents = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
    assert [document["kind"] for document in documents] == ["Service", "StatefulSet"]
    spec: dict[str, Any] = documents[1]["spec"]
    return spec


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = workload()["template"]["spec"]
    return spec


def sidecar() -> dict[str, Any]:
    (container,) = pod()["initContainers"]
    found: dict[str, Any] = container
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: str(entry.get("value", "x" * 32)) for entry in container["env"]}


class TestSystemd:
    def test_the_unit_is_one(self) -> None:
        """It parses, starts the program that the package installs, and is stopped only after its grace."""
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
        parser.read_string(UNIT.read_text(encoding="utf-8"))
        assert parser.sections() == ["Unit", "Service", "Install"]
        assert service()["ExecStart"] == ["/opt/gateway/bin/gateway serve"]
        assert float(service()["TimeoutStopSec"][0]) > GRACE_S
        assert service()["EnvironmentFile"][0].startswith("-/etc/")

    def test_the_unit_is_hardened(self) -> None:
        """No rights, no new ones, nothing writable but its own directories, no core with secrets in it."""
        expected = {
            "DynamicUser": "yes",
            "NoNewPrivileges": "yes",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "PrivateTmp": "yes",
            "PrivateDevices": "yes",
            "CapabilityBoundingSet": "",
            "AmbientCapabilities": "",
            "MemoryDenyWriteExecute": "yes",
            "RestrictNamespaces": "yes",
            "LimitCORE": "0",
            "UMask": "0077",
            "StateDirectoryMode": "0700",
        }
        assert {name: service()[name][-1] for name in expected} == expected
        data_dir = re.search(r"GATEWAY_DATA_DIR=/var/lib/(\S+)", service()["Environment"][0])
        assert data_dir is not None
        assert data_dir[1] == service()["StateDirectory"][0]

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd's own checker is not on this machine")
    def test_systemd_finds_nothing_wrong(self, tmp_path: Path) -> None:
        """Its own checker takes the unit without a word, and counts little that is exposed."""
        unit = tmp_path / UNIT.name
        text = UNIT.read_text(encoding="utf-8").replace("/opt/gateway/bin/gateway", sys.executable)
        unit.write_text(text, encoding="utf-8")
        for words in (["verify"], ["security", "--offline=true", f"--threshold={EXPOSURE_MAX}"]):
            done = subprocess.run(  # noqa: S603 - with our own file
                ["systemd-analyze", *words, str(unit)],  # noqa: S607 - wherever the system has it
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert words != ["verify"] or done.stdout + done.stderr == ""


class TestKubernetes:
    def test_the_pod_has_no_rights(self) -> None:
        """An unprivileged user, no token of the cluster, the runtime's own filter of system calls."""
        security = pod()["securityContext"]
        assert security["runAsNonRoot"] is True
        assert (security["runAsUser"], security["fsGroup"]) == (USER, USER)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod()["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod().keys()

    def test_its_containers_can_change_nothing(self) -> None:
        """Read-only root, all capabilities dropped, no way to more rights; no limit is missing."""
        for container in (*pod()["initContainers"], *pod()["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, container["name"]
        assert "memory" in sidecar()["resources"]["limits"]

    def test_a_stop_is_never_cut_off(self) -> None:
        """The pod's grace is longer than the gateway's, and the gateway outlives the producer."""
        given = environment(sidecar())
        grace_s = (
            float(parse_seconds(given["GATEWAY_SHUTDOWN_GRACE"])) if "GATEWAY_SHUTDOWN_GRACE" in given else GRACE_S
        )
        assert pod()["terminationGracePeriodSeconds"] > grace_s
        assert sidecar()["restartPolicy"] == "Always"

    def test_it_is_probed_where_it_listens(self) -> None:
        """Started, ready and alive are three questions; each is asked inside the pod, at the address it listens on."""
        listen = environment(sidecar())["GATEWAY_LISTEN"]
        for probe, path in (("startupProbe", "readyz"), ("readinessProbe", "readyz"), ("livenessProbe", "healthz")):
            command = sidecar()[probe]["exec"]["command"]
            assert f"http://{listen}/{path}" in command[2]
            compile(command[2], probe, "exec")

    def test_the_gateway_takes_its_settings(self) -> None:
        """They are real ones; secrets come from a Secret; the queue fits its volume, which outlives the pod."""
        config = load({}, environment(sidecar()), None)
        secrets = {entry["name"] for entry in sidecar()["env"] if "valueFrom" in entry}
        assert secrets == {"GATEWAY_SECRET_KEY", "GATEWAY_BOOTSTRAP_KEY"}
        (mount,) = sidecar()["volumeMounts"]
        (claim,) = workload()["volumeClaimTemplates"]
        assert mount["name"] == claim["metadata"]["name"]
        assert Path(config.data_dir).is_relative_to(mount["mountPath"])
        size = claim["spec"]["resources"]["requests"]["storage"]
        assert config.queue.disk_budget_bytes < int(parse_bytes(f"{size}B"))


class TestContainer:
    def test_it_runs_without_rights(self) -> None:
        """A numeric user, which Kubernetes can check, the same as in the manifest; nothing is written but a volume."""
        final = DOCKERFILE.rpartition("FROM ")[2]
        assert f"\nUSER {USER}:{USER}\n" in final
        assert 'VOLUME ["/data"]' in final
        assert "PYTHONDONTWRITEBYTECODE=1" in final
        assert "GATEWAY_DATA_DIR=/data" in final

    def test_it_is_built_from_the_locked_wheels_alone(self) -> None:
        """Hashes are checked where wheels are fetched, and the program is installed without an index."""
        assert "--require-hashes --requirement requirements.lock" in DOCKERFILE
        assert "--no-index --find-links /wheels" in DOCKERFILE
        assert "ADD " not in DOCKERFILE
        assert "curl" not in DOCKERFILE
