"""Putting tasks away, throwing them away, and taking them up again."""

from __future__ import annotations

import click

from kanban_shards.changes.kinds import ReopenedStatus
from kanban_shards.cli.groups import Spreading
from kanban_shards.cli.session import TASK, Session, answer, each, json_option, once_more
from kanban_shards.inline_merge import open_history


@click.command(cls=Spreading)
@click.argument("task_ids", type=TASK, nargs=-1)
@click.option("--rm", "deleted_ids", type=TASK, multiple=True, metavar="TASK...",
              help="Delete archived tasks and everything of them, for good.")  # fmt: skip
@json_option
@click.pass_obj
def archive(session: Session, task_ids: tuple[str, ...], deleted_ids: tuple[str, ...], as_json: bool) -> None:
    """Put tasks out of sight. An open run ends; whatever waited for them waits no longer."""
    if bool(task_ids) == bool(deleted_ids):
        raise click.UsageError("Name the tasks to archive, or, with --rm, archived ones to delete.")
    gateway = session.gateway()
    if deleted_ids:
        each(as_json, deleted_ids, "Deleted", lambda task_id: gateway.delete(task_id, archived_only=True))
    else:
        each(as_json, task_ids, "Archived", gateway.archive)


@click.command()
@click.argument("task_id", type=TASK)
@click.option("--to", type=click.Choice(["triage", "todo", "ready"]), default="ready", show_default=True,
              help="Where work begins again; todo waits for its parents.")  # fmt: skip
@click.option("--reason", help="Why; kept with the event.")
@json_option
@click.pass_obj
def reopen(session: Session, task_id: str, to: ReopenedStatus, reason: str | None, as_json: bool) -> None:
    """Take a task up again, whatever became of it. Ready tasks that relied on it being done wait again."""
    status = once_more(session.gateway().reopen)(task_id, to, reason).answer["status"]
    answer(as_json, {"ok": True, "task_id": task_id, "status": status}, f"Reopened {task_id}  ({status})")


@click.command()
@click.argument("task_id", type=TASK, required=False)
@json_option
@click.pass_obj
def undo(session: Session, task_id: str | None, as_json: bool) -> None:
    """Take back the last change that I made, of TASK_ID if it is named.

    It is another change, and is made only if nobody has changed the task since. What ended a run or was said is not
    taken back; then it says what helps.
    """
    from kanban_shards.undo import undo as take_back

    gateway = session.gateway()
    with open_history(gateway.paths) as history:
        undone = take_back(gateway, history, task_id)
    of = undone.task_id or "the board"
    value = {"ok": True, "task_id": undone.task_id or None, "undone": undone.kind, "seq": undone.seq}
    answer(as_json, value, f"Undone: {undone.kind.replace('_', ' ')} of {of}  ({undone.said})")
