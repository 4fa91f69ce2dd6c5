"""Looking after a board: what a worker needs to know, what needs a person, and what may be thrown away."""

from __future__ import annotations

import stat
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import click

from kanban_shards import attachments, wording
from kanban_shards.board import Board
from kanban_shards.cli import text
from kanban_shards.cli.params import DAYS, POSITIVE
from kanban_shards.cli.session import TASK, Session, answer, json_option, table
from kanban_shards.clocks import latest_s
from kanban_shards.errors import BoardMissing, NoLog, StorageError, cannot_write
from kanban_shards.gateway import Gateway
from kanban_shards.homes import homes_elsewhere
from kanban_shards.paths import BoardPaths, check_task_id, root_folder
from kanban_shards.records import STATUSES
from kanban_shards.sharing import read_sharing
from kanban_shards.storage.folders import open_below

DAY_S = 24 * 3600
# So many tasks fit where a person reads them.
SHOWN = 50
SEVERITY_COLORS = {"warning": "yellow", "error": "red", "critical": "bright_red"}


@click.command()
@click.argument("task_id", type=TASK)
@json_option
@click.pass_obj
def context(session: Session, task_id: str, as_json: bool) -> None:
    """Show what a worker should read before it begins: all of it, cut to a bounded size."""
    from kanban_shards.context import gather, render

    gathered = gather(session.board(), task_id)
    text.print_json(gathered) if as_json else text.say(render(gathered, int(time.time())), nl=False)


@click.command()
@click.option("--severity", type=click.Choice(list(SEVERITY_COLORS)), help="This one and worse.")
@click.option("--task", "task_id", type=TASK, metavar="TASK", help="Only this task.")
@click.option("--limit", type=POSITIVE, metavar="N", help="Of N tasks at most; 50 where a person reads it.")
@json_option
@click.pass_obj
def diagnostics(session: Session, severity: str | None, task_id: str | None, limit: int | None, as_json: bool) -> None:
    """Show what needs a person, and what may help."""
    from kanban_shards.diagnostics import diagnose

    most = limit if limit or as_json else SHOWN
    diagnosed = diagnose(session.board(), int(time.time()), task_id=task_id, severity=severity)
    found = list(islice(diagnosed, most))
    if as_json:
        text.print_json(
            [
                {
                    "task_id": task.id,
                    "title": task.title,
                    "status": task.status,
                    "assignee": task.assignee,
                    "diagnostics": [each.as_dict() for each in diagnostics],
                }
                for task, diagnostics in found
            ]
        )
        return
    for task, diagnostics in found:
        heading = f"{task.id}  {task.status}  {task.assignee or '-'}  {wording.clip(task.title)}"
        text.say(wording.printable(heading), bold=True)
        for each in diagnostics:
            title = wording.printable(each.title)
            text.say(f" {each.kind}: {title}", lead=f"  {each.severity}", lead_fg=SEVERITY_COLORS[each.severity])
            text.say(f"    {each.detail}")
            text.say(f"    {each.actions[0]['label']}")
    if not found:
        text.say("Nothing needs a person.")
    elif next(diagnosed, None) is not None:
        text.say(f"There are more; --limit {2 * len(found)} shows more of them.")


@click.command()
@json_option
@click.pass_obj
def assignees(session: Session, as_json: bool) -> None:
    """Show the profiles that tasks can be given to: those of this home, and those that have tasks."""
    board = session.board()
    counted, elsewhere = board.stats()["by_assignee"], homes_elsewhere(board)
    counted.pop("(unassigned)", None)
    there = _profiles(root_folder(session.where["home"]))
    found = [
        {
            "name": name,
            "on_disk": name in there,
            "counts": counted.get(name, {}),
            **({"lives_on": elsewhere[name]} if name in elsewhere else {}),
        }
        for name in sorted({*there, *counted})
    ]
    if as_json:
        text.print_json(found)
    else:
        table(
            ("PROFILE", "IN THIS HOME", "TASKS"),
            [(each["name"], _home_of(each), _by_status(each["counts"])) for each in found],
            "There are no profiles, and no task is assigned.",
        )


def _home_of(profile: dict[str, Any]) -> str:
    """Whether it is a profile of this home, or of which other host."""
    return f"on {profile['lives_on']}" if "lives_on" in profile else "yes" if profile["on_disk"] else "no"


@click.command()
@click.argument("task_id", type=TASK)
@click.option("--tail", "tail_bytes", type=click.IntRange(0), metavar="N", help="Only the last N bytes.")
@json_option
@click.pass_obj
def log(session: Session, task_id: str, tail_bytes: int | None, as_json: bool) -> None:
    """Show what the worker of a task wrote to its log."""
    paths = BoardPaths.find(**session.where)
    paths.require_board()
    path = paths.logs / f"{check_task_id(task_id)}.log"
    try:
        with open_below(paths.folder, paths.logs) as folder:
            said = _last_bytes(folder.open_file(path.name), tail_bytes).decode(errors="replace")
    except FileNotFoundError as error:
        raise NoLog(task_id=task_id, path=path) from error
    except OSError as error:
        raise StorageError(path=path, problem=f"it cannot be read: {error.strerror}") from error
    if as_json:
        text.print_json({"task_id": task_id, "path": str(path), "log": said})
    else:
        text.say(said, nl=not said.endswith("\n"))


@click.command()
@click.option("--event-retention-days", type=DAYS, metavar="N", default=30, show_default=True)
@click.option("--log-retention-days", type=DAYS, metavar="N", default=30, show_default=True)
@json_option
@click.pass_obj
def gc(session: Session, event_retention_days: int, log_retention_days: int, as_json: bool) -> None:
    """Throw away old events of finished tasks, old logs of workers, and scratch workspaces of archived tasks."""
    gateway = session.gateway()
    now_s = _latest_s(gateway)
    events = gateway.forget_events(max(0, int(now_s) - event_retention_days * DAY_S))
    try:
        logs = _remove_logs(gateway.paths, now_s - log_retention_days * DAY_S)
        workspaces = _remove_workspaces(gateway.paths, gateway.board)
    except OSError as error:
        raise cannot_write(error.filename, error, "it cannot be removed") from error
    removed = {"workspaces": workspaces, "events": events, "logs": logs}
    if (sharing := read_sharing(gateway.paths)) is not None:  # what other hosts' profiles detached
        removed["files"] = attachments.remove_at_home(gateway.paths, gateway.board, sharing.host)
    said = ", ".join(wording.many(count, what.removesuffix("s")) for what, count in removed.items())
    answer(as_json, {"ok": True, **removed}, f"Removed {said}")


def _latest_s(gateway: Gateway) -> float:
    try:
        newest = gateway.board.event(gateway.board.last_event_id())
    except BoardMissing:  # the first change makes it
        newest = None
    return latest_s(newest.created_at if newest else None)


def _profiles(root: Path) -> set[str]:
    """The profiles that Hermes has in this home."""
    named = {path.parent.name for path in (root / "profiles").glob("*/config.yaml")}
    return {"default", *named} if root.is_dir() else named


def _by_status(counts: dict[str, int]) -> str:
    return ", ".join(f"{status} {counts[status]}" for status in STATUSES if status in counts) or "idle"


def _last_bytes(descriptor: int, count: int | None) -> bytes:
    """The end of the file, from the beginning of a line where there is one."""
    with open(descriptor, "rb") as file:
        size = file.seek(0, 2)
        begin = 0 if count is None else max(0, size - count)
        file.seek(begin)
        data = file.read(size - begin)
    _, line_end, rest = data.partition(b"\n")
    return rest if begin and line_end and rest else data


def _remove_workspaces(paths: BoardPaths, board: Board) -> int:
    """Only folders that the board itself chose; never one that a task names, which may be anybody's."""
    removed = 0
    try:
        with open_below(paths.folder, paths.workspaces) as folder:
            for task in board.tasks(status="archived"):
                if task.workspace_kind == "scratch" and folder.has_folder(task.id):
                    with suppress(FileNotFoundError):  # another gc was faster
                        folder.remove_tree(task.id)
                        removed += 1
    except FileNotFoundError:
        pass
    return removed


def _remove_logs(paths: BoardPaths, before_s: float) -> int:
    removed = 0
    try:
        with open_below(paths.folder, paths.logs) as folder:
            for name in filter(_is_log, folder.names()):
                found = folder.look(name)
                if found is not None and stat.S_ISREG(found.st_mode) and found.st_mtime < before_s:
                    folder.remove(name)
                    removed += 1
    except FileNotFoundError:
        pass
    return removed


def _is_log(name: str) -> bool:
    return name.startswith("t_") and ".log" in name
