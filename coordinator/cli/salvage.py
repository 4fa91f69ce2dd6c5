"""Salvaging: ``salvage``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.hermes.salvage import STAGES, Salvage
from kanban_shards.coordinator.hermes.salvage import salvage as make_sound
from kanban_shards.coordinator.hermes.salvage.stages import PREFIX
from kanban_shards.errors import NEEDS_ATTENTION, AlreadyThere, cannot_open
from kanban_shards.storage import files

# How many of a list are shown to people; --json has them all.
SHOWN = 20


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--into", metavar="FILE", required=True, type=click.Path(path_type=Path), help="The sound copy; a new file."
)
@json_option
@click.pass_context
def salvage(ctx: click.Context, source: Path, into: Path, as_json: bool) -> None:
    """Make a sound copy of SOURCE, a kanban.db that Hermes wrote, however damaged it is.

    SOURCE is only read, with the WAL or journal beside it. What is lost is listed; the exit code is 6 then. FILE is a
    board for Hermes again: stop its gateways before you put it in the place of the damaged one.
    """
    if into.exists():
        raise AlreadyThere(path=into)
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=into.parent) as folder:
            done = make_sound(source, Path(folder))
            files.give_name(done.copy, into)
    except OSError as error:
        raise cannot_open(into, error) from error
    done.copy = into
    if as_json:
        text.print_json(done.as_dict())
    else:
        text.say(f"{into} is sound, and holds {'all' if done.complete else 'what could be read'} of {source}")
        show_salvage(done)
    if not done.complete:
        ctx.exit(NEEDS_ATTENTION)


def show_salvage(done: Salvage) -> None:
    """Print how a sound copy was come by, what is in it, and what is lost."""
    text.say(f"  {done.stage}: {STAGES[done.stage]}")
    text.say(f"  before: {_first(done.before)}")
    text.say(f"  after:  {_first(done.after)}")
    text.say(f"  SHA-256 of the original: {done.digest}")
    for note in done.notes:
        text.say(f"  {note}")
    text.say()
    text.print_table(
        ("TABLE", "SAVED", "OUT OF PLACE", "LOST", "SAME ID", "DOUBTFUL", "STALE"),
        [
            (
                name,
                table.saved,
                table.outside,
                len(table.lost),
                len(table.collided),
                len(table.contradicted),
                table.stale,
            )
            for name, table in done.tables.items()
        ],
    )
    for warning in done.warnings:
        text.say(f"\n{warning}", fg="yellow")
    _show_list(f"{wording.many(len(done.lost_tasks), 'task')} known, without a row any more:", done.lost_tasks)
    _show_list(
        f"{wording.many(len(done.replaced), 'value')} had to be replaced:",
        [f"{each.table}, row {each.row}, {each.column}: was {each.was}, is {each.now!r}" for each in done.replaced],
    )
    doubtful = [
        f"{name}, row {each['row']}: an index says {_facts(each['index'])}"
        for name, table in done.tables.items()
        for each in table.contradicted
    ]
    _show_list(f"{wording.many(len(doubtful), 'row')}, perhaps older than the last that was written of them:", doubtful)


def _show_list(title: str, lines: Sequence[object]) -> None:
    if not lines:
        return
    text.say(f"\n{title}", fg="yellow")
    for line in lines[:SHOWN]:
        text.say(f"  {wording.clip(str(line))}")
    if len(lines) > SHOWN:
        text.say(f"  and {len(lines) - SHOWN} more; --json has all of them")


def _facts(known: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in known.items())


def _first(findings: list[str]) -> str:
    lines = [line for finding in findings for line in finding.splitlines() if not line.startswith("***")]
    return lines[0] + (f", and {len(lines) - 1} more" if len(lines) > 1 else "")
