"""How a command ends that did not work: one line on standard error and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer

Result = TypeVar("Result")


class CommandError(Exception):
    """The message is one line for people: what did not work, and what to do next."""

    code = 1


class WrongUse(CommandError):
    """The command line or the environment is wrong; nothing was tried."""

    code = 2


class Interrupted(CommandError):
    """Ctrl-C. The code is what shells give to it."""

    code = 130


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's coroutine; how it fails is told."""
    with told():
        return asyncio.run(work)


@contextmanager
def told() -> Iterator[None]:
    """``CommandError`` becomes its line on standard error and its exit code."""
    try:
        yield
    except CommandError as error:
        fail(str(error), code=error.code)


def fail(message: str, *, code: int = 1) -> NoReturn:
    print("gateway: " + one_line(message), file=sys.stderr)
    raise typer.Exit(code)


def one_line(text: str) -> str:
    """Without line breaks and control characters: what a server says must not steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text).strip()
