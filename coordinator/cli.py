"""The ``kanban-merge`` command: the coordinator, by hand or as a daemon, and the checks."""

from __future__ import annotations

import logging
import time
from collections import Counter

import click

from coordinator import lock as locks
from coordinator.collect import QUARANTINED, Collected, Left, look
from coordinator.lock import COMMAND, DAEMON
from shards import text
from shards.bell import Ringer
from shards.board import Board
from shards.commands import EXIT_CODES, LARGEST, NEEDS_ATTENTION, Group, board_option, home_option, json_option
from shards.errors import Undecided
from shards.names import BoardPaths

# A gateway's own pass takes milliseconds; a coordinator that stays is not waited for.
LOCK_WAIT_S = 5.0
ASK_DAEMON_S = 30.0


@click.group(
    cls=Group,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--once", is_flag=True, help="Merge everything that is there, say what became of it, and exit.")
@board_option
@home_option
@json_option
@click.version_option(package_name="kanban-shards")
@click.pass_context
def main(ctx: click.Context, once: bool, board: str | None, home: str | None, as_json: bool) -> None:
    """Merge the profiles' shards into the shared board.

    \b
    Begin with:
      kanban-merge demo          see it work, on a board of its own
      kanban-merge --once        one pass over the board, then exit
      kanban-merge daemon        stay, and merge as soon as something is written
    """
    ctx.obj = BoardPaths.find(board, home)
    if once and ctx.invoked_subcommand is None:
        merge_once(ctx, as_json)
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif once:
        raise click.UsageError(f"--once stands alone, without {ctx.invoked_subcommand}.")


def merge_once(ctx: click.Context, as_json: bool) -> None:
    """One pass over everything; through the daemon if there is one."""
    paths: BoardPaths = ctx.obj
    paths.require_folder()
    found = locks.holder(paths)
    if found is not None and found.role == DAEMON:
        merged, refused, left = _ask_daemon(paths)
        through = str(found)
    else:
        merged, refused, left = _pass_here(paths)
        through = None
    quarantined = [each for each in left if each.state == QUARANTINED]
    if as_json:
        text.print_json(
            {
                "merged": merged,
                "refused": refused,
                "left": [_left_as_dict(each) for each in left],
                "daemon": through,
            }
        )
    else:
        _print_merged(merged, refused, left, through)
    if quarantined:
        ctx.exit(NEEDS_ATTENTION)


@main.command()
@click.option("--quiet", "-q", is_flag=True, help="Only say what goes wrong.")
@click.pass_obj
def daemon(paths: BoardPaths, quiet: bool) -> None:
    """Stay in the foreground and merge, until SIGTERM or SIGINT. For systemd and launchd."""
    from coordinator.daemon import Daemon

    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(asctime)s %(message)s")
    paths.require_folder()
    Daemon(paths).run()


@main.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show who merges, and how far each shard is merged."""
    paths: BoardPaths = ctx.obj
    with Board(paths) as board:
        position, marks = board.position(), board.watermarks()
        collected = look(paths, board.watermarks)
    holder = locks.holder(paths)
    rows = _status_rows(paths, marks, collected)
    if as_json:
        text.print_json(
            {
                "board": str(paths.board),
                "coordinator": None if holder is None else vars(holder),
                "position": position,
                "shards": rows,
            }
        )
    else:
        click.echo(f"board        {paths.board}, {position} entries merged")
        click.echo(f"coordinator  {holder or 'none; whoever needs a verdict makes the pass itself'}")
        if rows:
            click.echo()
            text.print_table(("PROFILE", "MERGED", "WAITING", "STATE"), [tuple(row.values()) for row in rows])
    if any(left.state == QUARANTINED for left in collected.left):
        ctx.exit(NEEDS_ATTENTION)


@main.command()
@json_option
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Check every file, replay the ledger, and compare the board with it row for row."""
    from coordinator.verify import verify as check

    with _progress("replaying", as_json) as progress:
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
            click.echo("`kanban-merge rebuild` makes the board again from its ledger.")
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
        with _progress("replaying", as_json) as progress:
            done = replay(paths, lock, progress)
    finally:
        lock.close()
    aside = "" if done.set_aside is None else f"; the damaged one is kept as {done.set_aside}"
    if as_json:
        text.print_json({"entries": done.entries, "set_aside": done.set_aside and str(done.set_aside)})
    else:
        click.echo(f"{paths.board} is made again from {done.entries} ledger entries{aside}")


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
    from coordinator.demo import run_demo

    if not run_demo(profiles.split(","), seconds, keep, chaos, as_json):
        ctx.exit(NEEDS_ATTENTION)


# --- how ---------------------------------------------------------------------------------------------------------


def _pass_here(paths: BoardPaths) -> tuple[dict[str, int], list[dict], list[Left]]:
    from coordinator.passes import Coordinator

    lock = locks.take(paths, COMMAND, LOCK_WAIT_S)
    try:
        with Coordinator(paths, lock) as coordinator:
            report = coordinator.make_passes()
    finally:
        lock.close()
    merged = Counter(decision.entry.profile for decision in report.decisions)
    refused = [
        {
            "profile": decision.entry.profile,
            "seq": decision.entry.seq,
            "task_id": decision.entry.task_id,
            "kind": decision.entry.kind,
            "reason": decision.reason,
            "sentence": decision.sentence,
        }
        for decision in report.refused
    ]
    return dict(merged), refused, report.left


def _ask_daemon(paths: BoardPaths) -> tuple[dict[str, int], list[dict], list[Left]]:
    """Ring, and wait until every shard's present head has its verdict."""
    import tenacity

    ringer = Ringer()
    with Board(paths) as board:
        before, marks = board.position(), board.watermarks()
        there = look(paths, board.watermarks)
        heads = {profile: changes[-1].seq for profile, changes in there.changes.items()}
        bell = board.bell()

        def reached() -> bool:
            now = board.watermarks()
            return all(now.get(profile, (0, ""))[0] >= seq for profile, seq in heads.items())

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda done: not done),
            stop=tenacity.stop_after_delay(ASK_DAEMON_S),
            wait=tenacity.wait_fixed(0.1),
            before_sleep=lambda _: ringer.ring(paths.coordinator_bell),
            sleep=bell.wait,
        )
        try:
            attempts(reached)
        except tenacity.RetryError as error:
            profile, seq = next(iter(heads.items()))
            why = f"the coordinator is the {locks.holder(paths)}"
            raise Undecided(profile=profile, seq=seq, waited_s=ASK_DAEMON_S, why=why) from error
        finally:
            bell.close()
            ringer.close()
        merged = {
            profile: seq - marks.get(profile, (0, ""))[0]
            for profile, (seq, _) in board.watermarks().items()
            if seq > marks.get(profile, (0, ""))[0]
        }
        refused = [
            {key: getattr(each, key) for key in ("profile", "seq", "task_id", "kind", "reason", "sentence")}
            for each in reversed(board.refusals(after=before, limit=1_000))
        ]
    return merged, refused, there.left


def _print_merged(merged: dict[str, int], refused: list[dict], left: list[Left], through: str | None) -> None:
    by = f" by the {through}" if through else ""
    total = sum(merged.values())
    who = ", ".join(f"{profile} {count}" for profile, count in sorted(merged.items()))
    click.echo(f"merged {total} changes{by}" + (f": {who}" if who else ""))
    click.echo(f"refused {len(refused)} of them")
    for each in refused:
        click.secho(f"  {each['profile']} {each['seq']} {each['kind']}: {each['sentence']}", fg="yellow")
    click.echo(f"left {len(left)} shards")
    for each in left:
        click.secho(f"  {each.path.name}, {each.state}: {each.why}", fg="red")


def _left_as_dict(left: Left) -> dict:
    return {**vars(left), "path": str(left.path)}


def _status_rows(paths: BoardPaths, marks: dict[str, tuple[int, str]], collected: Collected) -> list[dict]:
    left = {each.profile: each for each in collected.left}
    present = {profile for profile, _ in paths.shards()}
    rows = []
    for profile in sorted(present | {name for name in marks if not name.startswith("@")}):
        trouble = left.get(profile)
        state = f"{trouble.state}: {trouble.why}" if trouble else "ok" if profile in present else "missing"
        rows.append(
            {
                "profile": profile,
                "merged": marks.get(profile, (0, ""))[0],
                "waiting": len(collected.changes.get(profile, ())),
                "state": state,
            }
        )
    return rows


class _progress:
    """A progress bar on standard error for replays that take a while; nothing for programs."""

    def __init__(self, label: str, hidden: bool) -> None:
        self._label, self._hidden, self._bar, self._done = label, hidden, None, 0
        self._started = time.monotonic()

    def __enter__(self):
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
