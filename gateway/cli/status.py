"""``status``: the gateway and every destination at a glance."""

from __future__ import annotations

from asyncio import sleep as pause
from contextlib import nullcontext, suppress
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from gateway.cli.client import DESTINATIONS, Client, Json, open_client
from gateway.cli.failure import CommandError, fail, one_line, run
from gateway.cli.output import NO_DESTINATION, JsonOption, console, print_json, table

_COLUMNS = ("destination", "provider", "status", "pending", "lag", "delivered", "dead", "dropped")


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often --watch looks.")] = 2,
    json: JsonOption = False,
) -> None:
    """Whether the gateway takes events, and how each destination does. Exit code 1 when it is not ready."""
    if watch:
        if json:
            fail("--watch shows a picture; for programs call `gateway status --json` from time to time", code=2)
        with suppress(KeyboardInterrupt):  # the way to end it
            run(_watch(interval))
        return
    seen = run(_look_once())
    if json:
        print_json(seen)
    else:
        console().print(_picture(seen))
    if not seen["ready"]:
        raise typer.Exit(1)


async def _look_once() -> Json:
    async with open_client() as client:
        return await _look(client)


async def _look(client: Client) -> Json:
    readiness = await client.send("GET", "/readyz")
    reason = readiness.body.get("detail", "") if isinstance(readiness.body, dict) else ""
    return {
        "ready": readiness.status == 200,
        "reason": "" if readiness.status == 200 else str(reason),
        "destinations": await client.pages(DESTINATIONS, {}),
    }


async def _watch(interval_s: float) -> None:
    """A gateway that goes away is shown as such, and looked for again. Where nothing can be drawn over, it scrolls."""
    screen = console()
    async with open_client() as client:
        with Live(console=screen, auto_refresh=False) if screen.is_terminal else nullcontext() as live:
            while True:
                try:
                    picture: RenderableType = _picture(await _look(client))
                except CommandError as error:
                    picture = Text(one_line(str(error)), style="red")
                if live is None:
                    screen.print(picture)
                    screen.file.flush()
                else:
                    live.update(picture, refresh=True)
                await pause(interval_s)


def _picture(seen: Json) -> RenderableType:
    state = (
        Text("ready", style="green") if seen["ready"] else Text(f"not ready: {one_line(seen['reason'])}", style="red")
    )
    line = Text.assemble("The gateway is ", state, ".")
    destinations = seen["destinations"]
    if not destinations:
        return Group(line, Text(NO_DESTINATION))
    failing = [_trouble(entry) for entry in destinations if entry["status"] != "active"]
    return Group(line, table(_COLUMNS, [_row(entry) for entry in destinations]), *failing)


def _row(destination: Json) -> list[object]:
    health = destination.get("health") or {}
    state = destination["status"] if destination.get("enabled") else "disabled"
    return [
        _name(destination),
        destination["provider"],
        "deleting" if destination.get("deleting") else state,
        health.get("pending_events", 0),
        f"{health.get('lag_seconds') or 0:.1f} s",
        health.get("delivered_events", 0),
        health.get("dead_lettered_events", 0),
        health.get("dropped_events", 0),
    ]


def _trouble(destination: Json) -> Text:
    """A line below the table: on a narrow terminal a column would have no room for it."""
    error = (destination.get("health") or {}).get("last_error") or {}
    reason = one_line(f"{error.get('code', '')}: {error.get('message', '')}") if error else "no error is known"
    return Text(f"{one_line(_name(destination))}  {reason}", style="yellow")


def _name(destination: Json) -> str:
    return str(destination.get("name") or destination["id"])
