"""Merging, and what was refused: ``--once``, ``daemon``, ``refusals``."""

from __future__ import annotations

import logging
import os

import click
from msgspec.structs import asdict

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.cli import text
from kanban_shards.cli.params import SPAN
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.cli.output import Result, all_boards_option, home_of
from kanban_shards.coordinator.merge.once import MergeReport, merge_once
from kanban_shards.moments import LARGEST
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths


@click.command()
@click.option("--quiet", "-q", is_flag=True, help="Only say what goes wrong.")
@click.option("--standby", is_flag=True, help="While another daemon serves, wait, and take over when it ends.")
@click.option(
    "--backup-every",
    "backup_every_s",
    type=SPAN,
    metavar="SPAN",
    help="Make a backup so often, such as 6h, beside the passes.",
)
@all_boards_option
@click.pass_context
def daemon(ctx: click.Context, quiet: bool, standby: bool, backup_every_s: int | None, all_boards: bool) -> None:
    """Stay in the foreground and merge, until SIGTERM or SIGINT; `kanban-merge service` has it run by the system.

    What it can make again without a loss, it does: a damaged board, and a lost ledger.
    """
    from kanban_shards.coordinator.daemon.daemon import Daemon, HomeDaemon

    when = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "  # the journal has the time
    told = logging.StreamHandler()
    told.setFormatter(_Formatter(f"{when}%(message)s"))
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[told])
    if all_boards:
        home = home_of(ctx)
        BoardPaths.of(home, DEFAULT_BOARD).require_folder()
        HomeDaemon(home, standby, backup_every_s).run()
    else:
        ctx.obj.require_folder()
        Daemon(ctx.obj, standby, backup_every_s).run()


class _Formatter(logging.Formatter):
    """A log is read on a terminal, and may quote what others wrote."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        return wording.safe(super().format(record))


@click.command()
@click.option("--profile", metavar="NAME", help="Only what this profile wrote.")
@click.option("--limit", type=click.IntRange(1, LARGEST), default=50, show_default=True)
@json_option
@click.pass_obj
def refusals(paths: BoardPaths, profile: str | None, limit: int, as_json: bool) -> None:
    """Show the changes that were refused, whole, newest first."""
    with Board(paths) as board:
        found = board.refusals(profile=profile, limit=limit)
    if as_json:
        text.print_json([each.as_dict() for each in found])
    elif not found:
        text.say("Nothing was refused.")
    else:
        text.print_table(
            ("WHEN", "BY", "SEQ", "KIND", "REASON", "WHY"),
            [(wording.when(r.at_ms // 1000), r.profile, r.seq, r.kind, r.reason, r.sentence) for r in found],
        )


def merge(paths: BoardPaths) -> Result:
    """Merge everything that is there, for ``--once``."""
    done = merge_once(paths)
    value = {
        "merged": done.changes,
        "refused": done.refused,
        "refused_beyond": done.refused_beyond,
        "left": [{**asdict(each), "path": str(each.path)} for each in done.skipped],
        "daemon": done.daemon,
    }
    return Result(value, lambda: _print_merged(done), bool(done.skipped))


def _print_merged(done: MergeReport) -> None:
    by = f" by the {done.daemon}" if done.daemon else ""
    who = ", ".join(f"{profile} {count}" for profile, count in sorted(done.changes.items()))
    text.say(f"merged {wording.many(sum(done.changes.values()), 'change')}{by}" + (f": {who}" if who else ""))
    text.say(f"refused {len(done.refused) + done.refused_beyond} of them")
    for each in done.refused:
        text.say(f"  {each['profile']} {each['seq']} {each['kind']}: {each['sentence']}", fg="yellow")
    if done.refused_beyond:
        text.say(f"  and {done.refused_beyond} more; `kanban-merge refusals` shows them", fg="yellow")
    text.say(f"left {wording.many(len(done.skipped), 'shard')}")
    for shard in done.skipped:
        text.say(wording.printable(f"  {shard.file}, {shard.state}: {shard.why}"), fg="red")
