"""Merging, and how far it is: ``--once``, ``daemon``, ``status``, ``refusals``."""

from __future__ import annotations

import logging

import click

from coordinator import lock as locks
from coordinator.collect import QUARANTINED, Collected, look
from coordinator.once import Merged, merge_once
from coordinator.telling import Told, all_boards_option, home_of, tell
from shards import text
from shards.board import Board
from shards.commands import LARGEST, json_option, seconds
from shards.names import BoardPaths

MISSING = "missing"


@click.command()
@click.option("--quiet", "-q", is_flag=True, help="Only say what goes wrong.")
@click.option("--backup-every", metavar="SPAN", help="Make a backup so often, such as 6h, beside the passes.")
@all_boards_option
@click.pass_context
def daemon(ctx: click.Context, quiet: bool, backup_every: str | None, all_boards: bool) -> None:
    """Stay in the foreground and merge, until SIGTERM or SIGINT. For systemd and launchd."""
    from coordinator.daemon import Daemon, HomeDaemon

    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(asctime)s %(message)s")
    backup_every_s = seconds(backup_every)
    if all_boards:
        HomeDaemon(home_of(ctx), backup_every_s).run()
    else:
        ctx.obj.require_folder()
        Daemon(ctx.obj, backup_every_s).run()


@click.command()
@all_boards_option
@json_option
@click.pass_context
def status(ctx: click.Context, all_boards: bool, as_json: bool) -> None:
    """Show who merges, and how far each shard is merged."""
    tell(ctx, _status, all_boards, as_json)


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
        click.echo("Nothing was refused.")
    else:
        text.print_table(
            ("WHEN", "BY", "SEQ", "KIND", "REASON", "WHY"),
            [(text.when(r.at_ms // 1000), r.profile, r.seq, r.kind, r.reason, r.sentence) for r in found],
        )


def merge(paths: BoardPaths) -> Told:
    """Merge everything that is there, for ``--once``."""
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
