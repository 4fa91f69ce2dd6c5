"""Keeping a board: ``backup``, ``backups``, ``restore``, ``compact``."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.params import DAYS, POSITIVE
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.backup import backup as store
from kanban_shards.coordinator.backup.manifest import Backup, backups_in, read_backup, store_of
from kanban_shards.coordinator.cli.output import ProgressBar, Result, all_boards_option, report
from kanban_shards.coordinator.errors import CompactionWaits
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, DAEMON
from kanban_shards.errors import NEEDS_ATTENTION, CoordinatorRunning
from kanban_shards.paths import BoardPaths, expanded

if TYPE_CHECKING:
    from kanban_shards.coordinator.backup.compact import Compacted

DAY_MS = 24 * 3600 * 1000
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


class _Size(click.ParamType[int]):
    """A number of bytes, such as 500M or 2G."""

    name = "size"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes that ``value`` spells."""
        number = value.strip().upper().removesuffix("B").removesuffix("I")
        unit = number[-1:] if number[-1:] in _UNITS else ""
        try:
            found = int(float(number.removesuffix(unit)) * _UNITS[unit])
        except (ValueError, OverflowError):
            found = 0
        if found < 1:
            self.fail(f"{value!r} is not a size; write 500M, 2G, or bytes.", param, ctx)
        return found


into_option = click.option(
    "--into", metavar="DIR", type=click.Path(file_okay=False), help="In place of the board's own folder for backups."
)


@click.command()
@into_option
@click.option("--keep", type=POSITIVE, metavar="N", default=store.KEPT, show_default=True, help="So many stay.")
@click.option("--keep-bytes", type=_Size(), metavar="SIZE", help="And no more than that, such as 2G.")
@all_boards_option
@json_option
@click.pass_context
def backup(
    ctx: click.Context, into: str | None, keep: int, keep_bytes: int | None, all_boards: bool, as_json: bool
) -> None:
    """Copy the board with its ledger, shards and attachments, beside whatever runs, and prove the copy.

    It is opened again, and the copied ledger replayed against the copied board, before it counts. Then the oldest
    backups are removed until the limits hold, but never the newest good one.
    """

    def backed_up(paths: BoardPaths) -> Result:
        folder = store_of(paths, into)
        with ProgressBar("replaying", as_json) as progress:
            made = store.make_backup(paths, folder, progress)
        removed = store.limit_backups(paths, folder, keep, keep_bytes)
        value = {**made.as_dict(), "removed": [str(each) for each in removed]}
        return Result(value, partial(_print_backup, made, removed), not made.is_good)

    report(ctx, backed_up, all_boards, as_json)


def _print_backup(made: Backup, removed: list[Path]) -> None:
    found = made.manifest
    text.say(f"{made.folder}")
    text.say(
        f"{wording.many(found.position, 'entry')}, {wording.many(len(found.shards), 'shard')}, "
        f"{wording.many(found.attachments, 'attachment')}, {_bytes(made.size_bytes)}; replayed and compared"
    )
    for problem in made.problems:
        text.say(f"  not sound: {problem}", fg="red")
    if removed:
        text.say(f"removed {wording.many(len(removed), 'older backup')}")


@click.command()
@into_option
@json_option
@click.pass_obj
def backups(paths: BoardPaths, into: str | None, as_json: bool) -> None:
    """Show the backups there are, the newest first."""
    found = backups_in(store_of(paths, into))[::-1]
    if as_json:
        text.print_json([each.as_dict() for each in found])
    elif not found:
        text.say("There are no backups; `kanban-merge backup` makes one.")
    else:
        text.print_table(
            ("MADE", "ENTRIES", "SHARDS", "SIZE", "GOOD", "BACKUP"),
            [
                (
                    wording.when(each.manifest.made_ms // 1000),
                    each.manifest.position,
                    len(each.manifest.shards),
                    _bytes(each.size_bytes),
                    "yes" if each.is_good else "; ".join(each.problems),
                    each.folder.name,
                )
                for each in found
            ],
        )


@click.command()
@click.argument("backup", metavar="BACKUP")
@json_option
@click.pass_context
def restore(ctx: click.Context, backup: str, as_json: bool) -> None:
    """Put BACKUP (a name that `backups` shows, or a folder) in the place of what is lost or damaged.

    A sound ledger and sound shards that continue the backup stay, so nothing is lost that was acknowledged since; the
    board is taken from the backup and catches up. What is replaced is kept beside the new file. A daemon must be
    stopped first; gateways may go on. Killed, it is continued by repeating it.
    """
    from kanban_shards.coordinator.backup.restore import restore as put_back

    paths: BoardPaths = ctx.obj
    named = paths.backups / backup
    found = read_backup(named if named.is_dir() else expanded(backup).absolute())
    paths.make_folder()
    with locks.holding(paths, COMMAND) as lock, store.upkeep(paths), ProgressBar("replaying", as_json) as progress:
        done = put_back(paths, found, lock, progress)
    asides = [str(each) for each in done.set_aside]
    if as_json:
        findings = [vars(each) for each in done.findings]
        text.print_json({"backup": str(found.folder), **vars(done), "set_aside": asides, "findings": findings})
    else:
        text.say(f"{paths.board} is restored from {found.folder}")
        rows = [("ledger", done.ledger), *((f"shard of {name}", what) for name, what in done.shards.items())]
        text.print_table(("FILE", "WHAT BECAME OF IT"), rows)
        merged, put = wording.many(done.merged, "change"), wording.many(done.attachments, "attachment")
        text.say(f"merged {merged} from behind it, and put {put} back")
        if done.not_merged:
            text.say(done.not_merged, fg="yellow")
        for aside in asides:
            text.say(f"kept the former file as {aside}")
        for finding in done.findings:
            text.say(str(finding), fg="red")
    if done.findings:
        ctx.exit(NEEDS_ATTENTION)


@click.command()
@click.option("--keep-days", type=DAYS, default=30, show_default=True, metavar="N", help="What is younger stays.")
@click.option("--dry-run", is_flag=True, help="Only count what would be dropped.")
@all_boards_option
@json_option
@click.pass_context
def compact(ctx: click.Context, keep_days: int, dry_run: bool, all_boards: bool, as_json: bool) -> None:
    """Drop from ledger and shards what was merged long ago, behind a snapshot of the board.

    The ledger is replayed first and must give the board row for row. Nothing is dropped that a backup in the board's
    own folder needs. A daemon must be stopped first; gateways may go on. Killed, it is continued by repeating it.
    """
    from kanban_shards.coordinator.backup.compact import compact as shorten
    from kanban_shards.coordinator.backup.compact import latest_ms

    def compacted(paths: BoardPaths) -> Result:
        try:
            with (
                locks.holding(paths, COMMAND) as lock,
                store.upkeep(paths),
                ProgressBar("replaying", as_json) as progress,
            ):
                before_ms = latest_ms(paths, time.time_ns() // 1_000_000) - keep_days * DAY_MS
                done = shorten(paths, lock, before_ms, dry_run, progress)
        except CoordinatorRunning as error:
            if error.role != DAEMON:
                raise
            raise CompactionWaits(board=paths, holder=error.holder, role=error.role, since_ms=error.since_ms) from error
        files = [{**vars(each), "path": str(each.path)} for each in done.files]
        value = {"position": done.position, "dry_run": dry_run, "files": files}
        return Result(value, partial(_print_compacted, done, dry_run), any(each.problem for each in done.files))

    report(ctx, compacted, all_boards, as_json)


def _print_compacted(done: Compacted, dry_run: bool) -> None:
    if not done.files:
        text.say(f"Nothing is older than the snapshot, which stands at {done.position}.")
        return
    rows = [
        (each.path.name, each.rows, _bytes(each.bytes_before), _bytes(each.bytes_after), each.problem or "")
        for each in done.files
    ]
    text.print_table(("FILE", "WOULD DROP" if dry_run else "DROPPED", "BEFORE", "AFTER", "PROBLEM"), rows)
    text.say(f"a replay starts at {done.position}")


def _bytes(count: int) -> str:
    unit = next(unit for unit in ("T", "G", "M", "K", "") if count >= _UNITS[unit] or not unit)
    return f"{count / _UNITS[unit]:.1f} {unit}iB" if unit else f"{count} B"
