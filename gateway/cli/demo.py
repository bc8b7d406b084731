"""``demo``: everything on one terminal."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    seconds: Annotated[float, typer.Option(min=2, max=86_400, help="How long events are produced, about.")] = 30.0,
) -> None:
    """Show the gateway at work: events arriving, a destination failing and recovering."""
    from gateway.demo import run_demo  # noqa: PLC0415 - the other commands start without the receivers

    raise typer.Exit(run_demo(seconds=seconds))
