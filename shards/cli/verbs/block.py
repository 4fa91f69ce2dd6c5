"""Tasks that wait, for a person, a time or other tasks, and how they go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from kanban_shards import wording
from kanban_shards.changes.fields import BlockKind
from kanban_shards.changes.kinds import Promote
from kanban_shards.cli import text
from kanban_shards.cli.groups import Spreading
from kanban_shards.cli.params import MOMENT, SPAN, joined
from kanban_shards.cli.session import TASK, Session, each, json_option, once_more, others_run, run_option, work_of
from kanban_shards.errors import Refused, UnknownTask
from kanban_shards.heard import board_now_s
from kanban_shards.paths import check_task_id
from kanban_shards.records import TERMINAL

if TYPE_CHECKING:
    from kanban_shards.gateway import Gateway

ids_option = click.option(
    "--ids", "more_ids", type=TASK, multiple=True, metavar="TASK...", help="More tasks, for the same reason."
)


@click.command(cls=Spreading)
@click.argument("task_id", type=TASK)
@click.argument("reason", nargs=-1)
@ids_option
@click.option("--kind", type=click.Choice(sorted(get_args(BlockKind))),
              help="dependency: it waits for its parents, not for a person. The others wait for a person.")  # fmt: skip
@run_option
@json_option
@click.pass_obj
def block(
    session: Session,
    task_id: str,
    reason: tuple[str, ...],
    more_ids: tuple[str, ...],
    kind: BlockKind | None,
    run_id: int | None,
    as_json: bool,
) -> None:
    """Say that a task cannot go on, and why.

    The reason is a comment, too. Blocked again for the same kind of reason, the task goes to triage: a person should
    look at it.
    """
    _check_one_run(run_id, more_ids)
    gateway, why = session.gateway(), joined(reason)

    def blocked(task_id: str) -> Any:
        verdict = gateway.block(work_of(gateway, task_id, run_id), why, kind=kind)
        _remark(gateway, task_id, "BLOCKED", why)
        return verdict

    def said(task_id: str, answer: dict[str, Any]) -> str:
        went = {
            "blocked": f"Blocked {task_id}",
            "todo": f"{task_id} → todo (dependency wait)",
            "ready": f"{task_id} → ready (it depends on nothing that is open)",
            "triage": f"{task_id} → triage (unblock loop detected — needs a human decision)",
        }
        return went[answer["status"]] + _because(why) + others_run(gateway, answer)

    each(as_json, (task_id, *more_ids), said, blocked)


@click.command(cls=Spreading)
@click.argument("task_id", type=TASK)
@click.argument("reason", nargs=-1)
@ids_option
@click.option(
    "--at",
    "at_s",
    type=MOMENT,
    metavar="TIME",
    help="When it goes on by itself: 2026-12-24T18:00, or seconds since 1970.",
)
@click.option("--in", "after_s", type=SPAN, metavar="SPAN", help="After which time it goes on by itself: 30m, 2h, 1d.")
@run_option
@json_option
@click.pass_obj
def schedule(
    session: Session,
    task_id: str,
    reason: tuple[str, ...],
    more_ids: tuple[str, ...],
    at_s: int | None,
    after_s: int | None,
    run_id: int | None,
    as_json: bool,
) -> None:
    """Let a task wait for a time.

    The reason is a comment, too. Without --at or --in it waits until somebody unblocks it.
    """
    if at_s is not None and after_s is not None:
        raise click.UsageError("Say --at or --in, not both.")
    _check_one_run(run_id, more_ids)
    gateway, why = session.gateway(), joined(reason)
    due_s = at_s if after_s is None else int(board_now_s(gateway.paths)) + after_s

    def scheduled(task_id: str) -> Any:
        verdict = gateway.schedule(work_of(gateway, task_id, run_id), why, due_s=due_s)
        _remark(gateway, task_id, "SCHEDULED", why)
        return verdict

    until = f" until {wording.when(due_s)}" if due_s is not None else ""
    each(as_json, (task_id, *more_ids), lambda task_id, _: f"Scheduled {task_id}{until}{_because(why)}", scheduled)


@click.command()
@click.argument("task_ids", type=TASK, nargs=-1, required=True)
@click.option("--reason", help="What is different now; a comment, too.")
@json_option
@click.pass_obj
def unblock(session: Session, task_ids: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Let blocked or scheduled tasks go on. They are ready, or todo while they wait for others."""
    gateway, why = session.gateway(), joined((reason or "",))

    def unblocked(task_id: str) -> Any:
        verdict = gateway.unblock(task_id, why)
        _remark(gateway, task_id, "UNBLOCK", why)
        return verdict

    each(as_json, task_ids, lambda task_id, _: f"Unblocked {task_id}{_because(why)}", unblocked)


@click.command(cls=Spreading)
@click.argument("task_id", type=TASK)
@click.argument("reason", nargs=-1)
@ids_option
@click.option("--force", is_flag=True, help="Although it waits for tasks that are not done. It stays ready then.")
@click.option("--dry-run", is_flag=True, help="Only say whether it could be. Writes nothing.")
@json_option
@click.pass_obj
def promote(
    session: Session,
    task_id: str,
    reason: tuple[str, ...],
    more_ids: tuple[str, ...],
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make waiting or blocked tasks ready by hand.

    Tasks whose parents are done are promoted by themselves; this is for the others.
    """
    why = joined(reason)
    results = []
    for each_id in [check_task_id(each_id) for each_id in dict.fromkeys((task_id, *more_ids))]:
        error = _not_promotable(session, each_id, force) if dry_run else _not_promoted(session, each_id, why, force)
        results.append(
            {
                "task_id": each_id,
                "promoted": error is None,
                "dry_run": dry_run,
                "forced": force,
                "reason": why,
                "error": error,
            }
        )
    if as_json:
        text.print_json(results[0] if len(results) == 1 else results)
    else:
        _say_promoted(results)
    if not all(result["promoted"] for result in results):
        click.get_current_context().exit(1)


def _say_promoted(results: list[dict[str, Any]]) -> None:
    for result in results:
        if result["promoted"]:
            label, tag = ("Would promote", " (dry)") if result["dry_run"] else ("Promoted", "")
            text.say(f"{label} {result['task_id']} -> ready{tag}{_because(result['reason'])}")
        else:
            text.say(f"cannot promote {result['task_id']}: {result['error']}", fg="red", err=True)


def _not_promoted(session: Session, task_id: str, why: str | None, force: bool) -> str | None:
    """Promote the task; returns why it was not."""
    try:
        once_more(session.gateway().promote)(task_id, why, force=force)
    except (Refused, UnknownTask) as error:
        return str(error)
    return None


def _not_promotable(session: Session, task_id: str, force: bool) -> str | None:
    """Why the task, as the board shows it, would not be promoted."""
    board = session.board()
    task = board.task(task_id)
    if task is None:
        return str(UnknownTask(task_id=task_id, board=board.paths))
    if task.status not in Promote.statuses:
        return f"{task_id} is {task.status}; only tasks that are {' or '.join(Promote.statuses)} are promoted"
    parents = [board.task(parent) for parent in board.parents(task_id)]
    waits_for = [parent.id for parent in parents if parent is not None and parent.status not in TERMINAL]
    if waits_for and not force:
        return f"{task_id} waits for {', '.join(waits_for)}; --force promotes it all the same"
    return None


def _remark(gateway: Gateway, task_id: str, word: str, why: str | None) -> None:
    """Say on the task why it was done. Only once it was: a refused call leaves no trace that says otherwise."""
    if why is not None:
        gateway.make_comment(task_id, f"{word}: {why}")


def _because(why: str | None) -> str:
    return f": {why}" if why else ""


def _check_one_run(run_id: int | None, more_ids: tuple[str, ...]) -> None:
    if run_id and more_ids:
        raise click.UsageError("--run belongs to one task.")
