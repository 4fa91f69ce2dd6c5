"""Working on tasks: claim, heartbeat, and how an attempt ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from kanban_shards import wording
from kanban_shards.changes.kinds import LEASE_S, Outcome
from kanban_shards.cli.params import POSITIVE, SPAN, joined, json_object
from kanban_shards.cli.session import (
    TASK,
    Session,
    answer,
    complete_profiles,
    each,
    json_option,
    once_more,
    others_run,
    run_of,
    run_option,
    task_of,
    work_of,
)
from kanban_shards.errors import NEEDS_ATTENTION, Refused, StorageError
from kanban_shards.records import Task, Verdict
from kanban_shards.workspaces import make_workspace

if TYPE_CHECKING:
    from kanban_shards.gateway import Gateway


@click.command()
@click.argument("task_id", type=TASK, required=False)
@click.option("--next", "take_next", is_flag=True, help="The best ready task for me, in place of TASK_ID.")
@click.option("--ttl", "lease_s", type=POSITIVE, default=LEASE_S, show_default=True,
              help="Seconds that the run is believed alive without a heartbeat.")  # fmt: skip
@click.option(
    "--runs-as", metavar="PROFILE", shell_complete=complete_profiles, help="Whose worker does it, if not mine."
)
@json_option
@click.pass_obj
@once_more
def claim(session: Session, /, task_id: str | None, take_next: bool, as_json: bool, **how: Any) -> None:
    """Start work on a ready task, or on the review of one. Whoever loses a race is told who won.

    Prints the folder to work in, which is there then; a git worktree is left to git. Where it cannot be made, the task
    is claimed all the same, and the call ends with 6.
    """
    if (task_id is None) != take_next:
        both = "Name a task or say --next, and not both." if take_next else "Name a task, or say --next."
        raise click.UsageError(both)
    gateway = session.gateway()
    run = gateway.claim_next(**how) if task_id is None else gateway.claim(task_id, **how)
    if run is None:
        full = gateway.held_up_by
        said = f"Tasks are ready, but {full}; `kanban limits` shows it." if full else "Nothing is ready for you."
        answer(as_json, {"ok": True, "run": None, "held_up_by": full}, said)
        return
    task = task_of(gateway, run.task_id)
    workspace, problem = _place(gateway, task)
    said = f"Claimed {run.task_id}  (run {run.id}: {wording.clip(task.title)})"
    if workspace or problem:
        said += f"\nWorkspace: {workspace or problem}"
    value = {
        "ok": True,
        "task": task.as_hermes(),
        "run": run.as_dict(),
        "workspace": workspace,
        "workspace_problem": problem,
    }
    answer(as_json, value, said)
    if problem:
        click.get_current_context().exit(NEEDS_ATTENTION)


def _place(gateway: Gateway, task: Task) -> tuple[str | None, str | None]:
    """Where the task is worked on, or what is wrong with that place."""
    try:
        workspace = make_workspace(gateway.paths, task)
    except StorageError as error:
        return None, str(error)
    return None if workspace is None else str(workspace), None


@click.command()
@click.argument("task_id", type=TASK)
@click.option("--note", help="Where the work is.")
@json_option
@click.pass_obj
def heartbeat(session: Session, task_id: str, note: str | None, as_json: bool) -> None:
    """Send a heartbeat of my run on a task. Ends with 1 once the run is over, so that the worker stops."""
    gateway = session.gateway()
    run = gateway.open_run(task_id)
    claimer = task_of(gateway, task_id).run_claimer
    if gateway.profile not in (run.profile, claimer):
        sentence = f"run {run.id} of {task_id} belongs to {run.profile}, claimed by {claimer}"
        raise Refused(reason="not_your_run", sentence=sentence, answer={})
    gateway.heartbeat(run, note)
    value = {"ok": True, "task_id": task_id, "run_id": run.id}
    answer(as_json, value, f"Heartbeat recorded for {task_id}  (run {run.id})")


@click.command()
@click.argument("task_id", type=TASK)
@click.argument("pid", type=POSITIVE)
@run_option
@json_option
@click.pass_obj
def spawned(session: Session, task_id: str, pid: int, run_id: int | None, as_json: bool) -> None:
    """Say that a run's worker is started, as process PID. For dispatchers."""
    gateway = session.gateway()
    run = run_of(gateway, task_id, run_id)
    gateway.spawned(run, pid)
    value = {"ok": True, "task_id": task_id, "run_id": run.id, "pid": pid}
    answer(as_json, value, f"Worker of {task_id} is process {pid}  (run {run.id})")


@click.command()
@click.argument("task_ids", type=TASK, nargs=-1, required=True)
@click.option("--result", help="What came of it.")
@click.option("--summary", help="What whoever goes on from here has to know; without it, --result.")
@click.option("--metadata", metavar="JSON", help="Facts, as an object: '{\"tests_run\": 12}'.")
@click.option("--created-card", "created_cards", type=TASK, multiple=True, metavar="TASK",
              help="A task that the work made; refused unless it did. May be repeated.")  # fmt: skip
@run_option
@json_option
@click.pass_obj
def complete(
    session: Session,
    task_ids: tuple[str, ...],
    result: str | None,
    summary: str | None,
    metadata: str | None,
    created_cards: tuple[str, ...],
    run_id: int | None,
    as_json: bool,
) -> None:
    """Say that tasks are done. Whatever waited for them may go on.

    A worker says --run with the number that `claim` printed: then it holds only while that run is open, and what comes
    later is refused, and kept on the task. Without it, whatever run is open ends with it, somebody else's too.
    """
    if len(task_ids) > 1 and (summary or metadata or created_cards or run_id):
        raise click.UsageError("--summary, --metadata, --created-card and --run belong to one task.")
    kept = None if metadata is None else json_object(metadata)
    gateway = session.gateway()

    def completed(task_id: str) -> Verdict:
        work = work_of(gateway, task_id, run_id)
        return gateway.complete(work, result=result, summary=summary, metadata=kept, created_cards=created_cards)

    def said(task_id: str, facts: dict[str, Any]) -> str:
        return f"Completed {task_id}{others_run(gateway, facts)}"

    each(as_json, task_ids, said, completed)


@click.command()
@click.argument("task_id", type=TASK)
@click.option("--summary", help="What to look at.")
@click.option("--metadata", metavar="JSON", help="An object.")
@run_option
@json_option
@click.pass_obj
def review(
    session: Session, task_id: str, summary: str | None, metadata: str | None, run_id: int | None, as_json: bool
) -> None:
    """Hand finished work in, to be looked at. Claiming the task then opens the review."""
    facts = None if metadata is None else json_object(metadata)
    gateway = session.gateway()
    verb = once_more(lambda: gateway.review(work_of(gateway, task_id, run_id), summary=summary, metadata=facts))
    answer(as_json, {"ok": True, "task_id": task_id, **verb().answer}, f"{task_id} → review")


@click.command()
@click.argument("task_id", type=TASK)
@click.argument("reason", nargs=-1)
@run_option
@json_option
@click.pass_obj
def release(session: Session, task_id: str, reason: tuple[str, ...], run_id: int | None, as_json: bool) -> None:
    """Give my task back without a result. Somebody else may claim it."""
    gateway = session.gateway()
    status = gateway.release(run_of(gateway, task_id, run_id), joined(reason)).answer["status"]
    answer(as_json, {"ok": True, "task_id": task_id, "status": status}, f"Released {task_id}  ({status} again)")


@click.command()
@click.argument("task_id", type=TASK)
@click.option("--reason", help="Why; kept with the run that ends.")
@json_option
@click.pass_obj
def reclaim(session: Session, task_id: str, reason: str | None, as_json: bool) -> None:
    """Take a running task away from whoever works on it. Its failures are forgotten.

    What that worker still says about it is refused as late, and kept where a person finds it.
    """
    status = once_more(session.gateway().reclaim)(task_id, reason).answer["status"]
    answer(as_json, {"ok": True, "task_id": task_id, "status": status}, f"Reclaimed {task_id}  ({status} again)")


@click.command()
@click.argument("task_id", type=TASK)
@click.argument("outcome", type=click.Choice(get_args(Outcome)), metavar="OUTCOME")
@click.argument("error", nargs=-1)
@click.option("--exit-code", type=int, help="What the worker ended with.")
@click.option(
    "--cooldown", "cooldown_s", type=SPAN, metavar="SPAN", help="After rate_limited: not claimed again before; else 5m."
)
@run_option
@json_option
@click.pass_obj
def fail(
    session: Session,
    task_id: str,
    outcome: Outcome,
    error: tuple[str, ...],
    exit_code: int | None,
    cooldown_s: int | None,
    run_id: int | None,
    as_json: bool,
) -> None:
    """Say that a run ended without a result. For whoever claimed it.

    OUTCOME is crashed, timed_out, stale, spawn_failed, rate_limited or protocol_violation, and ERROR the same in more
    words.

    The task is ready again, or, after too many failures in a row, blocked for a person to look at.
    """
    gateway = session.gateway()
    run = run_of(gateway, task_id, run_id)
    found = gateway.fail(run, outcome, joined(error), exit_code=exit_code, cooldown_s=cooldown_s).answer
    value = {"ok": True, "task_id": task_id, "run_id": run.id, "outcome": outcome, **found}
    in_a_row = f"{wording.many(found['failures'], 'failure')} in a row"
    answer(as_json, value, f"{task_id} {outcome}: {found['status']}, {in_a_row}")
