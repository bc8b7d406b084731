"""Sealed credentials, and the secrets that are generated into the data directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from gateway.destinations.ids import new_api_key
from gateway.destinations.secrets import SecretBox, generate_secret_key, load_or_create_secret
from gateway.errors import ConfigError, StoreError
from gateway.providers.codec import Secret

CREDENTIALS = {"access_key_id": Secret("AKIA"), "secret_access_key": Secret('s3cr3t/ü"')}
OLD, NEW = "an old passphrase of length", Fernet.generate_key().decode()


def test_what_was_sealed_opens_again() -> None:
    """Equal credentials come back, and the sealed bytes show nothing of them."""
    box = SecretBox(OLD)
    sealed = box.seal(CREDENTIALS)
    assert box.open(sealed) == CREDENTIALS
    assert b"AKIA" not in sealed
    assert b"access_key_id" not in sealed


@pytest.mark.parametrize("key", [OLD, NEW, "x" * 16, "漢" * 16, "-" * 44])
def test_any_text_of_16_characters_is_a_key(key: str) -> None:
    """The same text opens in another process what it has sealed in this one."""
    assert SecretBox(key).open(SecretBox(f" {key} ").seal(CREDENTIALS)) == CREDENTIALS


def test_a_fernet_key_is_used_as_it_is() -> None:
    """Other programs can open what was sealed with it."""
    assert Fernet(NEW).decrypt(SecretBox(NEW).seal({"a": Secret("b")})) == b'{"a":"b"}'


def test_the_first_key_seals_and_all_open() -> None:
    """Changing the key: new in front of old. What is sealed from then on opens without the old one."""
    sealed_before = SecretBox(OLD).seal(CREDENTIALS)
    both = SecretBox(f"{NEW},{OLD}")
    assert both.open(sealed_before) == CREDENTIALS
    assert SecretBox(NEW).open(both.seal(CREDENTIALS)) == CREDENTIALS


def test_a_lost_key_is_said_clearly() -> None:
    """No key opens it: the message names the setting and the remedy, and no secret."""
    sealed = SecretBox(OLD).seal(CREDENTIALS)
    with pytest.raises(StoreError, match="secret_key") as caught:
        SecretBox(NEW).open(sealed)
    assert "PUT" in str(caught.value)
    assert OLD not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"gAAAA"])
def test_damaged_credentials_do_not_open(damage: bytes) -> None:
    """What was not sealed by a key is never taken for credentials."""
    with pytest.raises(StoreError):
        SecretBox(NEW).open(damage)


@pytest.mark.parametrize("keys", ["", " , ", "short", f"{NEW},short"])
def test_weak_keys_are_refused(keys: str) -> None:
    """Each of them has to have 16 characters; the message does not repeat it."""
    with pytest.raises(ConfigError, match="secret_key") as caught:
        SecretBox(keys)
    assert "short" not in str(caught.value)


def test_a_secret_is_generated_once(tmp_path: Path) -> None:
    """The first call makes the file with mode 0600 whatever the umask, later ones read it."""
    path = tmp_path / "data" / "secret-key"
    old_umask = os.umask(0)
    try:
        value = load_or_create_secret(path)
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_or_create_secret(path) == value
    assert SecretBox(value)
    assert [entry.name for entry in path.parent.iterdir()] == ["secret-key"]


def test_a_bootstrap_key_is_kept_the_same_way(tmp_path: Path) -> None:
    """What generates the value is the caller's choice."""
    path = tmp_path / "bootstrap-key"
    value = load_or_create_secret(path, new_api_key)
    assert value.startswith("tl_live_")
    assert load_or_create_secret(path, new_api_key) == value


def test_the_secret_is_durable_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced under another name, then renamed, then the directory is synced."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def traced_fsync(descriptor: int) -> None:
        steps.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def traced_replace(path: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "replace", traced_replace)
    load_or_create_secret(tmp_path / "secret-key")
    assert steps == ["sync file", "rename to secret-key", "sync directory"]


def test_what_a_dead_process_left_does_not_matter(tmp_path: Path) -> None:
    """A half-written file of an earlier start, readable to all, is neither used nor in the way."""
    leftover = tmp_path / "secret-key.tmp"
    leftover.write_text("half")
    leftover.chmod(0o644)
    value = load_or_create_secret(tmp_path / "secret-key")
    assert value != "half"
    assert stat.S_IMODE((tmp_path / "secret-key").stat().st_mode) == 0o600
    assert not leftover.exists()


def test_an_empty_secret_is_never_made_anew(tmp_path: Path) -> None:
    """A new key would make every stored credential useless: the operator decides."""
    path = tmp_path / "secret-key"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        load_or_create_secret(path)
    assert path.read_text() == "\n"


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Reading and writing faults say which file and why."""
    directory = tmp_path / "secret-key"
    directory.mkdir()
    with pytest.raises(ConfigError, match="secret-key cannot be read"):
        load_or_create_secret(directory)
    (tmp_path / "binary").write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="binary cannot be read: it is not text"):
        load_or_create_secret(tmp_path / "binary")
    (tmp_path / "full.tmp").mkdir()
    with pytest.raises(ConfigError, match="full cannot be written"):
        load_or_create_secret(tmp_path / "full")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails the sync leaves neither the file nor its beginning."""

    def failing_fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing_fsync)
    with pytest.raises(ConfigError, match="Input/output error"):
        load_or_create_secret(tmp_path / "secret-key")
    assert list(tmp_path.iterdir()) == []


def test_generated_keys_are_fernet_keys() -> None:
    """So that they are used without derivation."""
    key = generate_secret_key()
    assert Fernet(key)
    assert key != generate_secret_key()
