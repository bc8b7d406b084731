"""``demo``: everything on one terminal."""

from __future__ import annotations

import typer


def demo() -> None:
    """Show the gateway at work: events arriving, a destination failing and recovering."""
    from gateway.demo import run_demo  # noqa: PLC0415 - the other commands start without the receivers

    raise typer.Exit(run_demo())
