"""The ``kanban-merge`` command: the coordinator, by hand or as a daemon, and the checks."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator import lock as locks
from coordinator.collect import QUARANTINED, Collected, look
from coordinator.lock import COMMAND, LOCK_WAIT_S
from shards import text
from shards.board import Board
from shards.boards import boards
from shards.commands import EXIT_CODES, LARGEST, NEEDS_ATTENTION, Group, board_option, home_option, json_option
from shards.errors import BoardMissing, KanbanError
from shards.names import BoardPaths, root_folder

if TYPE_CHECKING:
    from coordinator.once import Merged
    from coordinator.passes import Progress

MISSING = "missing"

all_boards_option = click.option("--all-boards", is_flag=True, help="Every board of the home, not one.")


@click.group(
    cls=Group,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--once", is_flag=True, help="Merge everything that is there, say what became of it, and exit.")
@all_boards_option
@board_option
@home_option
@json_option
@click.version_option(package_name="kanban-shards")
@click.pass_context
def main(
    ctx: click.Context, once: bool, all_boards: bool, board: str | None, home: str | None, as_json: bool
) -> None:
    """Merge the profiles' shards into the shared board.

    \b
    Begin with:
      kanban-merge demo          see it work, on a board of its own
      kanban-merge --once        one pass over the board, then exit
      kanban-merge daemon        stay, and merge as soon as something is written; --all-boards: for every board
    """
    ctx.obj = BoardPaths.find(board, home)
    if once and ctx.invoked_subcommand is None:
        _tell(ctx, _merge, all_boards, as_json)
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif as_json:
        raise click.UsageError(f"Say --json behind {ctx.invoked_subcommand}.")
    elif once:
        raise click.UsageError(f"--once stands alone, without {ctx.invoked_subcommand}.")
    elif all_boards:
        raise click.UsageError(f"--all-boards belongs behind {ctx.invoked_subcommand}, or to --once.")


@main.command()
@click.option("--quiet", "-q", is_flag=True, help="Only say what goes wrong.")
@all_boards_option
@click.pass_context
def daemon(ctx: click.Context, quiet: bool, all_boards: bool) -> None:
    """Stay in the foreground and merge, until SIGTERM or SIGINT. For systemd and launchd."""
    from coordinator.daemon import Daemon, HomeDaemon

    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(asctime)s %(message)s")
    if all_boards:
        HomeDaemon(_home(ctx)).run()
    else:
        ctx.obj.require_folder()
        Daemon(ctx.obj).run()


@main.command()
@all_boards_option
@json_option
@click.pass_context
def status(ctx: click.Context, all_boards: bool, as_json: bool) -> None:
    """Show who merges, and how far each shard is merged."""
    _tell(ctx, _status, all_boards, as_json)


@main.command()
@json_option
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Check every file, replay the ledger, and compare the board with it row for row."""
    from coordinator.verify import verify as check

    with _ProgressBar("replaying", as_json) as progress:
        found = check(ctx.obj, progress)
    if as_json:
        text.print_json({**vars(found), "clean": found.clean, "findings": [vars(each) for each in found.findings]})
    else:
        for finding in found.findings:
            click.secho(f"{finding.where}: {finding.problem}", fg="red")
        verdict = "clean" if found.clean else f"{len(found.findings)} findings"
        click.echo(
            f"{verdict}: {found.entries} ledger entries replayed, {found.rows} rows compared, "
            f"{found.shards} shards read, {found.seconds:.1f} s"
        )
        if not found.clean:
            click.echo(
                "`kanban-merge rebuild` makes the board again from its ledger, `kanban-merge repair` the other files."
            )
    if not found.clean:
        ctx.exit(NEEDS_ATTENTION)


@main.command()
@json_option
@click.pass_obj
def rebuild(paths: BoardPaths, as_json: bool) -> None:
    """Make the board again from its ledger. Readers stay; a daemon must be stopped first."""
    from coordinator.verify import rebuild as replay

    lock = locks.take(paths, COMMAND, LOCK_WAIT_S)
    try:
        with _ProgressBar("replaying", as_json) as progress:
            done = replay(paths, lock, progress)
    finally:
        lock.close()
    aside = "" if done.set_aside is None else f"; the damaged one is kept as {done.set_aside}"
    if as_json:
        text.print_json({"entries": done.entries, "set_aside": done.set_aside and str(done.set_aside)})
    else:
        click.echo(f"{paths.board} is made again from {done.entries} ledger entries{aside}")


@main.command()
@click.argument("profile", required=False)
@click.option("--ledger", is_flag=True, help="The ledger, in place of a profile's shard.")
@json_option
@click.pass_obj
def repair(paths: BoardPaths, profile: str | None, ledger: bool, as_json: bool) -> None:
    """Make a lost or damaged file again: the shard of PROFILE from the ledger, or the ledger from board and shards.

    The former file is kept beside the new one. A daemon must be stopped first; gateways may go on.
    """
    from coordinator import repair as repairs

    if (profile is None) != ledger:
        raise click.UsageError("Name a profile whose shard is to be repaired, or say --ledger.")
    lock = locks.take(paths, COMMAND, LOCK_WAIT_S)
    try:
        done = repairs.repair_ledger(paths, lock) if ledger else repairs.repair_shard(paths, lock, profile)
    finally:
        lock.close()
    shown = ("seq", "task_id", "kind", "body")
    unmerged = [{name: getattr(each, name) for name in shown} for each in done.unmerged]
    aside = done.set_aside and str(done.set_aside)
    if as_json:
        text.print_json({"path": str(done.path), "rows": done.rows, "set_aside": aside, "unmerged": unmerged})
        return
    click.echo(f"{done.path} is made again, with {done.rows} {'entries' if ledger else 'changes'}")
    if aside:
        click.echo(f"the former file is kept as {aside}")
    for each in unmerged:
        click.secho(f"  never merged: change {each['seq']}, {each['kind']} {each['task_id']}", fg="yellow")


@main.command()
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
        click.echo("Nothing was refused.")
    else:
        text.print_table(
            ("WHEN", "BY", "SEQ", "KIND", "REASON", "WHY"),
            [(text.when(r.at_ms // 1000), r.profile, r.seq, r.kind, r.reason, r.sentence) for r in found],
        )


@main.command()
@click.option("--seconds", type=click.FloatRange(0.1), default=8.0, show_default=True, help="How long they work.")
@click.option("--profiles", metavar="A,B,…", default="default,bingge,pixiel,mafei", show_default=True)
@click.option("--keep", metavar="DIR", type=click.Path(file_okay=False), help="Leave the board in this new folder.")
@click.option("--chaos", is_flag=True, help="Kill -9 workers and the daemon at random.")
@json_option
@click.pass_context
def demo(ctx: click.Context, seconds: float, profiles: str, keep: str | None, chaos: bool, as_json: bool) -> None:
    """Watch several profiles work on one board, on a board of its own, and see it checked."""
    from coordinator.demo.story import run_demo

    if not run_demo(profiles.split(","), seconds, keep, chaos, as_json):
        ctx.exit(NEEDS_ATTENTION)


# --- how ---------------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What a command found out about one board: for programs, for people, and whether a person is needed."""

    value: dict
    show: Callable[[], None]
    needs_attention: bool


def _tell(ctx: click.Context, ask: Callable[[BoardPaths], Told], all_boards: bool, as_json: bool) -> None:
    """What ``ask`` finds out about the board, or about every board of the home; the trouble of one hides no other."""
    if not all_boards:
        told = ask(ctx.obj)
        text.print_json(told.value) if as_json else told.show()
        needs_attention = told.needs_attention
    else:
        answers = {paths.slug: _told_or_trouble(ask, paths) for paths in boards(_home(ctx))}
        if as_json:
            text.print_json([{"slug": slug, **told.value} for slug, told in answers.items()])
        for slug, told in {} if as_json else answers.items():
            click.secho(f"== {slug}", bold=True)
            told.show()
        needs_attention = any(told.needs_attention for told in answers.values())
    if needs_attention:
        ctx.exit(NEEDS_ATTENTION)


def _told_or_trouble(ask: Callable[[BoardPaths], Told], paths: BoardPaths) -> Told:
    try:
        return ask(paths)
    except KanbanError as error:
        value = {"error": type(error).__name__, "message": str(error)}
        sentence = str(error)
        unused = isinstance(error, BoardMissing)  # a home whose default board has no task yet
        return Told(value, lambda: click.secho(sentence, fg=None if unused else "red"), not unused)


def _home(ctx: click.Context) -> Path:
    given = ctx.find_root().params
    if given["board"] is not None:
        raise click.UsageError("--board names one board, and --all-boards means all of them.")
    return root_folder(given["home"])


def _merge(paths: BoardPaths) -> Told:
    from coordinator.once import merge_once

    done = merge_once(paths)
    value = {
        "merged": done.changes,
        "refused": done.refused,
        "left": [{**vars(each), "path": str(each.path)} for each in done.left],
        "daemon": done.daemon,
    }
    return Told(value, lambda: _print_merged(done), any(each.state == QUARANTINED for each in done.left))


def _status(paths: BoardPaths) -> Told:
    with Board(paths) as board:
        position, marks = board.position(), board.watermarks()
        collected = look(paths, board.watermarks)
    holder = locks.holder(paths)
    rows = _status_rows(paths, marks, collected)

    def show() -> None:
        click.echo(f"board        {paths.board}, {position} entries merged")
        click.echo(f"coordinator  {holder or 'none; whoever needs a verdict makes the pass itself'}")
        if rows:
            click.echo()
            text.print_table(("PROFILE", "MERGED", "WAITING", "STATE"), [tuple(row.values()) for row in rows])

    value = {
        "board": str(paths.board),
        "coordinator": None if holder is None else vars(holder),
        "position": position,
        "shards": rows,
    }
    missing = any(row["state"] == MISSING for row in rows)
    return Told(value, show, missing or any(left.state == QUARANTINED for left in collected.left))


def _print_merged(done: Merged) -> None:
    by = f" by the {done.daemon}" if done.daemon else ""
    who = ", ".join(f"{profile} {count}" for profile, count in sorted(done.changes.items()))
    click.echo(f"merged {sum(done.changes.values())} changes{by}" + (f": {who}" if who else ""))
    click.echo(f"refused {len(done.refused)} of them")
    for each in done.refused:
        click.secho(f"  {each['profile']} {each['seq']} {each['kind']}: {each['sentence']}", fg="yellow")
    click.echo(f"left {len(done.left)} shards")
    for each in done.left:
        click.secho(f"  {each.path.name}, {each.state}: {each.why}", fg="red")


def _status_rows(paths: BoardPaths, marks: dict[str, tuple[int, str]], collected: Collected) -> list[dict]:
    left = {each.profile: each for each in collected.left}
    present = {profile for profile, _ in paths.shards()}
    rows = []
    for profile in sorted(present | {name for name in marks if not name.startswith("@")}):
        trouble = left.get(profile)
        state = f"{trouble.state}: {trouble.why}" if trouble else "ok" if profile in present else MISSING
        rows.append(
            {
                "profile": profile,
                "merged": marks.get(profile, (0, ""))[0],
                "waiting": len(collected.changes.get(profile, ())),
                "state": state,
            }
        )
    return rows


class _ProgressBar:
    """A progress bar on standard error for replays that take a while; nothing for programs."""

    def __init__(self, label: str, hidden: bool) -> None:
        self._label, self._bar, self._done = label, None, 0
        self._hidden = hidden or not sys.stderr.isatty()
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        return self._tell

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def _tell(self, done: int, total: int) -> None:
        if self._hidden or time.monotonic() - self._started < 0.5:
            return
        if self._bar is None:
            self._bar = click.progressbar(length=total, label=self._label, file=click.get_text_stream("stderr"))
        self._bar.update(done - self._done)
        self._done = done
