"""Credentials at rest, and the secrets of the data directory.

A key of ``secret_key`` that is itself a Fernet key (32 bytes in URL-safe base64, 44 characters) is used as it is. From
any other text of 16 characters or more a Fernet key is derived with HKDF-SHA-256: that spreads the entropy of the
text and adds none, so the text has to be random, not a password.

Several keys may be given, separated by commas: credentials are sealed with the first, all are tried for opening. That
is how a key is changed, by ``gateway.destinations.rotation``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.destinations.private_file import replace_private_file
from gateway.errors import ConfigError, CredentialsSealed
from gateway.providers.codec import Secret

KEY_CHARS_MIN = 16

_HKDF_INFO = b"audit-siem-gateway credentials v1"


class SecretBox:
    """Seals credentials for the store. ``keys`` is the setting ``secret_key``. Raises ConfigError. Thread-safe."""

    __slots__ = ("_fernet", "_first")

    def __init__(self, keys: str) -> None:
        texts = split_keys(keys)
        if not texts:
            raise ConfigError("secret_key is empty: give a key of 16 characters or more, or leave the setting out")
        found = [_fernet(text) for text in texts]
        self._first, self._fernet = found[0], MultiFernet(found)

    def seal(self, credentials: Mapping[str, Secret]) -> bytes:
        clear = msgspec.json.encode({name: secret.reveal() for name, secret in credentials.items()})
        return self._fernet.encrypt(clear)

    def open(self, sealed: bytes) -> dict[str, Secret]:
        """Raises CredentialsSealed when no key opens it."""
        try:
            clear = msgspec.json.decode(self._fernet.decrypt(sealed), type=dict[str, str])
        except (InvalidToken, msgspec.DecodeError):
            raise CredentialsSealed(
                "the stored credentials cannot be decrypted with secret_key: add the key that they were stored with "
                "behind a comma, or give the credentials again with PUT"
            ) from None
        return {name: Secret(value) for name, value in clear.items()}

    def is_newest(self, sealed: bytes) -> bool:
        """Whether it was sealed with the first key."""
        try:
            self._first.decrypt(sealed)
        except InvalidToken:
            return False
        return True


def split_keys(keys: str) -> list[str]:
    return [text.strip() for text in keys.split(",") if text.strip()]


def generate_secret_key() -> str:
    return Fernet.generate_key().decode()


def load_or_create_secret(path: Path, generate: Callable[[], str] = generate_secret_key) -> str:
    """The text that is kept in ``path``; the first call makes it, durably and with mode 0600.

    Blocks; call it with the data directory locked, so that two processes cannot make two. Raises ConfigError when the
    file cannot be read or written, or is empty: a lost key is for an operator to restore and never made anew.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {_reason(error)}") from error
    value = generate()
    try:
        replace_private_file(path, value.encode() + b"\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {_reason(error)}") from error
    return value


def _read(path: Path) -> str:
    value = path.read_text(encoding="utf-8").strip()
    if not value:
        raise ConfigError(f"{path} is empty: restore it from a backup, or remove it to have a new one made")
    return value


def _fernet(text: str) -> Fernet:
    if _is_fernet_key(text):
        return Fernet(text)
    if len(text) < KEY_CHARS_MIN:
        raise ConfigError(f"secret_key: each key needs {KEY_CHARS_MIN} characters or more")
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_HKDF_INFO).derive(text.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def _is_fernet_key(text: str) -> bool:
    try:
        return len(text) == 44 and len(base64.b64decode(text, altchars=b"-_", validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not text" if isinstance(error, UnicodeDecodeError) else error.strerror or type(error).__name__
