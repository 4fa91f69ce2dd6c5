"""Looking at a board without changing it: ``status``, ``doctor``, ``metrics``."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import click
from msgspec.structs import asdict

from kanban_shards.cli import text
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.cli.output import Result, all_boards_option, boards_meant, report
from kanban_shards.coordinator.cli.status_view import follow as follow_health
from kanban_shards.coordinator.cli.status_view import print_findings, print_health, value_of
from kanban_shards.coordinator.health.problems import problems
from kanban_shards.coordinator.health.read import read_health
from kanban_shards.errors import BoardMissing
from kanban_shards.health import LEVELS
from kanban_shards.paths import BoardPaths


@click.command()
@click.option(
    "--follow", "-f", is_flag=True, help="Stay, and show every change, until Ctrl-C; one line each with --json."
)
@all_boards_option
@json_option
@click.pass_context
def status(ctx: click.Context, follow: bool, all_boards: bool, as_json: bool) -> None:
    """Show who merges, how far each shard is merged, and what is wrong now."""
    if not follow:
        report(ctx, _status, all_boards, as_json)
    elif all_boards:
        raise click.UsageError("--follow shows one board; name it with --board.")
    else:
        ctx.obj.require_board()
        read_health(ctx.obj)  # a board that cannot be read from the start is an error, and no state to follow
        follow_health(ctx.obj, as_json)


@click.command()
@click.option("--deep", is_flag=True, help="Also replay the ledger, and read every page of files however large.")
@all_boards_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, deep: bool, all_boards: bool, as_json: bool) -> None:
    """Try out what the board rests on, on this machine, and say what is wrong with it and what to do.

    Tests locks, shared memory and syncing with files of its own beside the board's, looks who has the board's files
    open, and judges each shard. Nothing of the board is changed. Exit code 6: something needs a person.
    """
    report(ctx, partial(_examined, deep=deep), all_boards, as_json)


@click.command()
@click.option("--textfile", metavar="PATH", type=click.Path(dir_okay=False, path_type=Path),
              help="Write them there, whole or not at all, for node_exporter's textfile collector.")  # fmt: skip
@all_boards_option
@json_option
@click.pass_context
def metrics(ctx: click.Context, textfile: Path | None, all_boards: bool, as_json: bool) -> None:
    """Print figures about the board for Prometheus.

    No process that has a board open opens a network port, so a textfile is how they get there: call this once a minute
    with --textfile PATH/kanban.prom, from a timer.
    """
    from kanban_shards.coordinator.health.metrics import Metrics

    gathered = Metrics()
    for paths in boards_meant(ctx, all_boards):
        with suppress(BoardMissing) if all_boards else nullcontext():  # a home whose default board has no task yet
            gathered.add(paths)
    if textfile is not None:
        gathered.write(textfile)
    elif as_json:
        text.print_json(gathered.values())
    else:
        text.say(gathered.text(), nl=False)


def _status(paths: BoardPaths) -> Result:
    health = read_health(paths)
    return Result(value_of(health), lambda: print_health(health), bool(problems(health)))


def _examined(paths: BoardPaths, deep: bool) -> Result:
    from kanban_shards.coordinator.health.doctor import examine

    found = examine(paths, deep)
    worst = max((each.level for each in found), key=LEVELS.index)
    value = {"folder": str(paths.folder), "worst": worst, "findings": [asdict(each) for each in found]}
    return Result(value, lambda: print_findings(found), any(each.needs_a_person for each in found))
