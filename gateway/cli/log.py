"""``log``: look at a queue directory offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failure import fail
from gateway.cli.output import JsonOption, print_json, print_table
from gateway.errors import LogCorrupt

if TYPE_CHECKING:
    from gateway.queue.wal.inspect import Inspection

commands = typer.Typer(no_args_is_help=True, help="Look at a queue directory: segments, consumers, damage.")

DataDir = Annotated[Path, typer.Argument(metavar="DATA_DIR", help="The gateway's data directory; it may be running.")]


@commands.command("inspect")
def inspect(data_dir: DataDir, json: JsonOption = False) -> None:
    """Show segments and consumers, as of the last checkpoint."""
    found = _inspected(data_dir)
    if json:
        print_json(found)
        return
    print_table(
        ("segment", "first", "end", "frames", "events", "tenants", "used bytes", "file bytes"),
        [
            (s.file, s.first_offset, s.end_offset, s.frames, s.events, s.tenants, s.end_bytes, s.file_bytes)
            for s in found.segments
        ],
        empty="no segments",
    )
    print()
    print_table(
        ("consumer", "tenant", "floor", "delivered", "dead-lettered", "dropped", "filtered", "pending", "gaps"),
        [
            (c.id, c.tenant_id, c.floor_offset, c.delivered, c.dead_lettered, c.dropped, c.filtered, c.pending, c.gaps)
            for c in found.consumers
        ],
        empty="no consumers",
    )
    _print_damage(found)


@commands.command("verify")
def verify(data_dir: DataDir, json: JsonOption = False) -> None:
    """Check every checksum and every consumer's books; exit 1 when anything is wrong."""
    found = _inspected(data_dir)
    wrong = [consumer.id for consumer in found.consumers if not consumer.balanced]
    if json:
        print_json({"damage": found.damage, "imbalanced": wrong})
    else:
        _print_damage(found)
        for consumer_id in wrong:
            print(f"the books of {consumer_id} do not balance")
        if not found.damage and not wrong:
            events = sum(segment.events for segment in found.segments)
            print(f"sound: {events} events, {len(found.segments)} segments, {len(found.consumers)} consumers balanced")
    if found.damage or wrong:
        raise typer.Exit(1)


def _print_damage(found: Inspection) -> None:
    if found.damage:
        print()
        print_table(
            ("damaged file", "at byte", "bytes", "events", "what"),
            [(d.file, d.at_byte, d.length_bytes, d.events, d.what) for d in found.damage],
            empty="",
        )


def _inspected(data_dir: Path) -> Inspection:
    from gateway.queue.wal.inspect import inspect_directory  # noqa: PLC0415 - the other commands start without the queue

    try:
        return inspect_directory(data_dir)
    except LogCorrupt as error:
        fail(str(error))
    except OSError as error:
        fail(f"{data_dir} cannot be read: {error.strerror}")
