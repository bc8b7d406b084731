"""The last known contents in the data directory."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace

from gateway.destinations.snapshot_file import SnapshotFile
from gateway.destinations.store import ApiKey, Destination, Filter, Scope, Snapshot

SNAPSHOT = Snapshot(
    (
        Destination(
            id="siem_one",
            tenant_id="*",
            provider="webhook",
            endpoint="https://hooks.example.com",
            enabled=True,
            name="One",
            options={"headers": {"X-A": "1"}, "n": 7, "tags": ["a"]},
            filter=Filter(actions=("a.*",)),
            sealed_credentials=bytes(range(256)),
            credentials_set=("secret",),
            created_at_s=1.25,
            updated_at_s=2.5,
        ),
    ),
    (ApiKey("key_one", "t", "Key", (Scope.EVENTS_WRITE,), "d", "tl_live_abcd", 1.0, 2.0),),
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Every member comes back equal, from a file that nobody else may read."""
    path = tmp_path / "catalog.snapshot"
    SnapshotFile(path).save(SNAPSHOT)
    assert SnapshotFile(path).load() == SNAPSHOT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    SnapshotFile(path).save(Snapshot((), ()))
    assert SnapshotFile(path).load() == Snapshot((), ())


def test_nothing_saved_is_nothing_known(tmp_path: Path) -> None:
    """Before the first save there is no snapshot, which is not the same as an empty one."""
    assert SnapshotFile(tmp_path / "catalog.snapshot").load() is None


def test_what_cannot_be_read_is_nothing_known(tmp_path: Path) -> None:
    """Damage, a foreign file and a later format are logged or passed over, never half used."""
    path = tmp_path / "catalog.snapshot"
    SnapshotFile(path).save(SNAPSHOT)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[:-5], whole[5:]):
        path.write_bytes(content)
        with structlog.testing.capture_logs() as logs:
            assert SnapshotFile(path).load() is None
        assert [log["event"] for log in logs] == ["snapshot.failed"]
    path.write_bytes(msgspec.msgpack.encode({"format": 2, "snapshot": {"destinations": [], "keys": []}}))
    assert SnapshotFile(path).load() is None


def test_a_save_that_fails_is_logged(tmp_path: Path) -> None:
    """A full disk does not stop the gateway."""
    obstacle = tmp_path / "data"
    obstacle.write_text("")
    with structlog.testing.capture_logs() as logs:
        SnapshotFile(obstacle / "catalog.snapshot").save(SNAPSHOT)
    assert [log["event"] for log in logs] == ["snapshot.failed"]


def test_what_has_no_place_in_the_file_is_logged(tmp_path: Path) -> None:
    """A number that somebody wrote into the database by hand does not stop the gateway; the file stays as it was."""
    path = tmp_path / "catalog.snapshot"
    SnapshotFile(path).save(SNAPSHOT)
    (one,) = SNAPSHOT.destinations
    with structlog.testing.capture_logs() as logs:
        SnapshotFile(path).save(replace(SNAPSHOT, destinations=(replace(one, options={"n": 10**31}),)))
    assert [log["event"] for log in logs] == ["snapshot.failed"]
    assert SnapshotFile(path).load() == SNAPSHOT
