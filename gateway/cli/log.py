"""``log``: look at a queue directory offline, and mend it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failure import fail
from gateway.cli.output import JsonOption, print_json, print_table
from gateway.errors import DataDirectoryInUse, LogCorrupt

if TYPE_CHECKING:
    from gateway.queue.wal.inspect import DamageReport, Inspection

commands = typer.Typer(no_args_is_help=True, help="Look at a queue directory: segments, consumers, damage.")

DataDir = Annotated[Path, typer.Argument(metavar="DATA_DIR", help="The gateway's data directory.")]


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
    print()
    _print_damage(found.damage)


@commands.command("verify")
def verify(data_dir: DataDir, json: JsonOption = False) -> None:
    """Check every checksum, and every destination's books against the events that are in the files; exit 1 when
    anything is wrong.
    """
    found = _inspected(data_dir)
    wrong = [consumer for consumer in found.consumers if not consumer.balanced]
    if json:
        print_json(
            {"damage": found.damage, "imbalanced": [consumer.id for consumer in wrong], "books": found.consumers}
        )
    else:
        _print_damage(found.damage)
        for consumer in wrong:
            print(f"the books of {consumer.id} do not balance: {consumer.imbalance} events")
        if not found.damage and not wrong:
            events = sum(segment.events for segment in found.segments)
            print(f"sound: {events} events, {len(found.segments)} segments, {len(found.consumers)} consumers balanced")
    if found.damage or wrong:
        raise typer.Exit(1)


@commands.command("repair")
def repair(
    data_dir: DataDir,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only what is damaged is shown.")] = False,
    json: JsonOption = False,
) -> None:
    """Rewrite damaged files to what is sound of them, while no gateway runs. No start needs it; a start reads around
    damage. The damaged bytes are kept in ``damaged/`` of the directory.
    """
    damage = _inspected(data_dir).damage
    done: list[str] = []
    if yes and damage:
        damage, done = _repaired(data_dir)
    if json:
        print_json({"damage": damage, "done": done})
        return
    _print_damage(damage)
    for line in done:
        print(line)
    if not damage:
        print("sound: there is nothing to repair")
    elif not yes:
        print("nothing was changed; `gateway log repair --yes` repairs what can be repaired")


def _repaired(data_dir: Path) -> tuple[list[DamageReport], list[str]]:
    from gateway.config import Log  # noqa: PLC0415 - the other commands start without the queue
    from gateway.queue.wal.repair import repair_directory  # noqa: PLC0415 - as above
    from gateway.telemetry import configure_logging  # noqa: PLC0415 - as above

    configure_logging(Log(level="error"))
    try:
        repaired = repair_directory(data_dir)
    except (DataDirectoryInUse, LogCorrupt) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{data_dir} cannot be repaired: {error.strerror}")
    return repaired.damage, repaired.done


def _print_damage(damage: Sequence[DamageReport]) -> None:
    if damage:
        print_table(
            ("damaged file", "at byte", "bytes", "events", "tenant", "what"),
            [(d.file, d.at_byte, d.length_bytes, d.events, d.tenant, d.what) for d in damage],
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
