"""Numbered migrations: ``migrations/<engine>_<number>_<what>.sql``, applied in order and once, never edited."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Literal

import msgspec

from gateway.errors import ConfigError

_FILE_NAME = re.compile(r"([a-z]+)_([0-9]{4})_([a-z0-9_]+)\.sql")


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str
    sql: str


def migrations(engine: Literal["sqlite", "postgres"]) -> tuple[Migration, ...]:
    """In the order of their numbers, which count from 1. Blocks: reads files of the package."""
    found = []
    for file in files("gateway.destinations").joinpath("migrations").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match is not None and match[1] == engine:
            found.append(Migration(int(match[2]), match[3], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


def missing(known: tuple[Migration, ...], applied: int) -> tuple[Migration, ...]:
    """What a store at schema ``applied`` still needs. Raises ConfigError when the schema is newer than this program."""
    if applied > len(known):
        raise ConfigError(
            f"the store has schema {applied} and this gateway knows {len(known)}: it was used by a newer gateway; "
            "start that version or a later one"
        )
    return known[applied:]
