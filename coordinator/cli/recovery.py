"""Checking a board, and making its files again: ``verify``, ``rebuild``, ``repair``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.cli.output import ProgressBar
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND
from kanban_shards.coordinator.recovery import repair as repairs
from kanban_shards.coordinator.recovery.former import Tasks
from kanban_shards.coordinator.recovery.rebuild import rebuild as replay
from kanban_shards.coordinator.recovery.verify import Discrepancy
from kanban_shards.coordinator.recovery.verify import verify as check
from kanban_shards.errors import NEEDS_ATTENTION, cure_of
from kanban_shards.paths import BoardPaths


@click.command()
@json_option
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Check every file, replay the ledger, and compare the board with it row for row."""
    with ProgressBar("replaying", as_json) as progress:
        found = check(ctx.obj, progress)
    if as_json:
        text.print_json({**vars(found), "clean": found.clean, "findings": [vars(each) for each in found.findings]})
    else:
        for finding in found.findings:
            text.say(str(finding), fg="red")
        verdict = "clean" if found.clean else wording.many(len(found.findings), "finding")
        text.say(
            f"{verdict}: {wording.many(found.entries, 'ledger entry')} replayed, "
            f"{wording.many(found.rows, 'row')} compared, "
            f"{wording.many(found.shards, 'shard')} read, {found.seconds:.1f} s"
        )
        if not found.clean:
            for cure in _cures(ctx.obj, found.findings):
                text.say(wording.printable(cure))
    if not found.clean:
        ctx.exit(NEEDS_ATTENTION)


def _cures(paths: BoardPaths, findings: list[Discrepancy]) -> list[str]:
    """What to do, a line for each file that is to be made again; a finding may say it itself. By the ledger all others
    are judged, and by the snapshot those but the ledger, so these come first, and alone."""
    files = {each.where if each.where.endswith(".db") else paths.board.name: each.problem for each in findings}
    for path in (paths.ledger, paths.snapshot):
        if path.name in files:
            return [f"first {path.name}: {cure_of(path)}; then verify again"]
    return [f"{file}: {cure_of(paths.folder / file)}" for file, problem in files.items() if "`kanban-" not in problem]


@click.command()
@json_option
@click.pass_obj
def rebuild(paths: BoardPaths, as_json: bool) -> None:
    """Make the board again from its ledger. Readers stay; a daemon must be stopped first.

    If the ledger is gone as well, and a compaction left a snapshot, both are made of that and of the shards; what came
    since is decided anew.
    """
    with locks.holding(paths, COMMAND) as lock, ProgressBar("replaying", as_json) as progress:
        done = replay(paths, lock, progress)
    if as_json:
        asides = [str(each) for each in done.set_aside]
        text.print_json({"entries": done.entries, "set_aside": asides, "lacking": done.lacking})
        return
    text.say(f"{paths.board} is made again from {wording.many(done.entries, 'ledger entry')}")
    _tell_of_former(done.set_aside, done.lacking)


def _tell_of_former(asides: Iterable[Path | None], lacking: Tasks) -> None:
    """Where former files lie, and the tasks that are nowhere else."""
    for aside in asides:
        if aside:
            text.say(f"the former file is kept as {aside}")
    for task_id, title in lacking.items():
        text.say(wording.printable(f"  there alone, and not on the board: {task_id} {title}"), fg="yellow")


@click.command()
@click.argument("profile", required=False)
@click.option("--ledger", is_flag=True, help="The ledger, in place of a profile's shard.")
@click.option("--from-board", is_flag=True, help="With --ledger: where shards lack what was merged, keep the board and "
              "begin after it.")  # fmt: skip
@click.option("--snapshot", is_flag=True, help="The snapshot that replaced the old entries.")
@json_option
@click.pass_obj
def repair(
    paths: BoardPaths, profile: str | None, ledger: bool, from_board: bool, snapshot: bool, as_json: bool
) -> None:
    """Make a lost or damaged file again: the shard of PROFILE from the ledger, the ledger from board and shards, or
    the snapshot from the board as it stands.

    The former file is kept beside the new one. A daemon must be stopped first; gateways may go on.
    """
    if (profile is not None) + ledger + snapshot != 1:
        raise click.UsageError("Name a profile whose shard is to be repaired, or say --ledger or --snapshot.")
    if from_board and not ledger:
        raise click.UsageError("--from-board goes with --ledger.")
    with locks.holding(paths, COMMAND) as lock:
        if from_board:
            done = repairs.begin_behind_board(paths, lock)
        elif profile is not None:
            done = repairs.repair_shard(paths, lock, profile)
        elif ledger:
            done = repairs.repair_ledger(paths, lock)
        else:
            done = repairs.repair_snapshot(paths, lock)
    shown = ("seq", "task_id", "kind", "body")
    unmerged = [{name: getattr(each, name) for name in shown} for each in done.unmerged]
    aside = done.set_aside and str(done.set_aside)
    if as_json:
        also = [str(each) for each in done.also_aside]
        found = {"path": str(done.path), "rows": done.rows, "set_aside": aside, "unmerged": unmerged}
        text.print_json({**found, "also_set_aside": also, "lacking": done.lacking})
        return
    text.say(f"{done.path} is made again, with {wording.many(done.rows, 'change' if profile else 'entry')}")
    _tell_of_former((done.set_aside, *done.also_aside), done.lacking)
    for each in unmerged:
        text.say(f"  never merged: change {each['seq']}, {each['kind']} {each['task_id']}", fg="yellow")
