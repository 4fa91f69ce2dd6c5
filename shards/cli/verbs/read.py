"""Reading the board. None of these writes, merges or promotes anything."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.cli import text
from kanban_shards.cli.params import COUNT, NOBODY, POSITIVE, SPAN, listed
from kanban_shards.cli.session import (
    TASK,
    Session,
    complete_profiles,
    json_option,
    past_option,
    say_when,
    table,
)
from kanban_shards.homes import homes_elsewhere
from kanban_shards.moments import Past
from kanban_shards.paths import spellings
from kanban_shards.queries import SORTS, TaskQuery
from kanban_shards.records import OPEN, STATUSES, Event, Run, Status, Task
from kanban_shards.sentences import sentence

if TYPE_CHECKING:
    from kanban_shards.bell import Bell

# So many tasks are shown on a terminal unless --limit says; and what stands for all of them.
SHOWN = 200
ALL = 2**31
# An event that is older than this is said to be, beside the time at which it happened.
NEW_S = 60

Verb = TypeVar("Verb", bound=Callable[..., Any])


def runs_options(verb: Verb) -> Verb:
    """The options that choose among a task's runs."""
    name = click.option("--state-name", metavar="VALUE", help="With --state-type: only runs whose column says this.")
    kind = click.option("--state-type", type=click.Choice(["status", "outcome"]),
                        help="With --state-name: which column of the runs.")  # fmt: skip
    return kind(name(verb))


interval_option = click.option(
    "--interval", "interval_s", type=click.FloatRange(0, 86_400), default=0.0, metavar="SECONDS",
    help="Show what is new at most this often, in one go; else at once. Nothing is polled either way.",
)  # fmt: skip


@click.command("list")
@click.option("--mine", is_flag=True, help="Assigned to --profile.")
@click.option(
    "--assignee", metavar="PROFILE", shell_complete=complete_profiles, help="Assigned to this profile; none: to nobody."
)
@click.option("--status", "statuses", type=click.Choice(STATUSES), metavar="STATUS", multiple=True,
              help=f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}; may be repeated.")  # fmt: skip
@click.option("--open", "is_open", is_flag=True, help="Neither done nor archived.")
@click.option("--search", "text", metavar="TEXT", help="This is in the id, the title or the body.")
@click.option("--parent", type=TASK, metavar="TASK", help="That wait for this task.")
@click.option("--newer-than", type=SPAN, metavar="SPAN", help="Made since then: 30m, 2h, 7d.")
@click.option("--older-than", type=SPAN, metavar="SPAN", help="Made before then.")
@click.option("--tenant", metavar="NAME")
@click.option("--session", "session_id", metavar="ID", help="That came from this chat.")
@click.option("--archived", "include_archived", is_flag=True, help="Archived tasks too.")
@click.option("--sort", type=click.Choice(list(SORTS)), metavar="ORDER", default="priority-desc", show_default=True,
              help=f"{', '.join(SORTS)}.")  # fmt: skip
@click.option("--workflow-template-id", metavar="ID")
@click.option("--step-key", "current_step_key", metavar="KEY", help="At this step of their workflow.")
@click.option("--limit", type=POSITIVE, metavar="N", help=f"At most N tasks; {SHOWN} on a terminal, else all.")
@past_option
@json_option
@click.pass_obj
def list_tasks(
    session: Session,
    /,
    mine: bool,
    assignee: str | None,
    statuses: tuple[Status, ...],
    is_open: bool,
    newer_than: int | None,
    older_than: int | None,
    limit: int | None,
    past: Past | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Show the tasks. Reads only: nothing is promoted or merged by it."""
    if mine and assignee is None:
        assignee = session.whoever_asks()
    if is_open and statuses:
        raise click.UsageError("Say --open or --status, not both.")
    now_s = int(time.time())
    is_nobodys = assignee is not None and assignee.lower() in NOBODY
    query = TaskQuery(
        statuses=OPEN if is_open else statuses,
        assignee=None if is_nobodys else assignee,
        unassigned=is_nobodys,
        created_since_s=None if newer_than is None else now_s - newer_than,
        created_before_s=None if older_than is None else now_s - older_than,
        **filters,
    )
    board = session.board(past)
    if limit is None and not as_json and _is_terminal():
        limit = SHOWN
    found = board.page(query, limit=ALL if limit is None else limit)
    if as_json:
        text.print_json([task.as_hermes() for task in found.tasks])
        return
    say_when(board)
    _print_tasks(found.tasks, _nothing(query, board))
    if found.after is not None:
        total = sum(board.count_by_status(query).values())
        text.say(f"{len(found.tasks)} of {total} are shown; --limit N shows more, and filters show fewer.", err=True)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _print_tasks(tasks: list[Task], nothing: str) -> None:
    if any(task.tenant for task in tasks):
        rows = [(task.id, task.status, task.priority, task.assignee, task.tenant, task.title) for task in tasks]
        text.print_table(("TASK", "STATUS", "PRI", "ASSIGNEE", "TENANT", "TITLE"), rows)
    else:
        plain = [(task.id, task.status, task.priority, task.assignee, task.title) for task in tasks]
        table(("TASK", "STATUS", "PRI", "ASSIGNEE", "TITLE"), plain, nothing)


def _nothing(query: TaskQuery, board: Board) -> str:
    """That no task was found, and where; without filters there is none."""
    return f"{'No tasks' if query == TaskQuery(sort=query.sort) else 'No such tasks'} on {board.paths}."


@click.command()
@click.argument("task_id", type=TASK)
@runs_options
@past_option
@json_option
@click.pass_obj
def show(
    session: Session,
    task_id: str,
    state_type: str | None,
    state_name: str | None,
    past: Past | None,
    as_json: bool,
) -> None:
    """Show a task and all that belongs to it. That is its links, files, comments, events and runs."""
    _check_state(state_type, state_name)
    board = session.board(past)
    task = board.known_task(task_id)
    runs, events, comments = board.runs(task_id), list(board.events_of(task_id)), board.comments(task_id)
    parents, children, files = board.parents(task_id), board.children(task_id), board.attachments(task_id)
    summary = next((run.summary for run in reversed(runs) if run.summary), None)
    runs = _chosen(runs, state_type, state_name)
    elsewhere = homes_elsewhere(board)
    if as_json:
        text.print_json(
            {
                **({"elsewhere": elsewhere} if elsewhere else {}),
                "task": task.as_hermes(),
                "latest_summary": summary,
                "parents": parents,
                "children": children,
                "comments": [comment.as_dict() for comment in comments],
                "events": [event.as_dict() for event in events],
                "runs": [run.as_dict() for run in runs],
                "attachments": [file.as_dict() for file in files],
                "ownership": {"owner": task.owner, "epoch": task.epoch, "vector": task.vector},
            }
        )
        return
    say_when(board)
    _show_task(task, parents, children, summary, elsewhere)
    for file in files:
        shown = f"{file.filename} ({wording.many(file.size, 'byte')}, {file.whereabouts})"
        text.say(f"  file {file.id}:".ljust(15) + wording.printable(shown))
    for comment in comments:
        text.say(f"\n{comment.author}, {wording.when(comment.created_at)}:\n  {comment.body}")
    if runs:
        text.say()
        _print_runs(runs)
    text.say()
    _print_events(events)


@click.command()
@click.argument("task_id", type=TASK)
@runs_options
@json_option
@click.pass_obj
def runs(session: Session, task_id: str, state_type: str | None, state_name: str | None, as_json: bool) -> None:
    """Show the attempts at a task. Each with its profile, outcome, and how long it took."""
    _check_state(state_type, state_name)
    board = session.board()
    board.known_task(task_id)
    found = _chosen(board.runs(task_id), state_type, state_name)
    if as_json:
        text.print_json([run.as_dict() for run in found])
    elif found:
        _print_runs(found)
    else:
        text.say(f"(no runs yet for {task_id})" if state_type is None else f"(no such runs of {task_id})")


@click.command()
@json_option
@click.pass_obj
def stats(session: Session, as_json: bool) -> None:
    """Count the tasks by status and assignee."""
    board = session.board()
    found = board.stats()
    if as_json:
        text.print_json(found)
        return
    table(("STATUS", "TASKS"), list(found["by_status"].items()), f"No tasks on {board.paths}.")
    if found["by_assignee"]:
        text.say()
        rows = [
            (who, sum(counts.values()), ", ".join(f"{status} {count}" for status, count in counts.items()))
            for who, counts in sorted(found["by_assignee"].items())
        ]
        text.print_table(("ASSIGNEE", "TASKS", "OF THESE"), rows)
    if found["oldest_ready_age_seconds"] is not None:
        text.say(f"\nThe oldest ready task has waited for {wording.age(found['oldest_ready_age_seconds'])}.")


@click.command()
@click.argument("task_id", type=TASK)
@interval_option
@json_option
@click.pass_obj
def tail(session: Session, task_id: str, interval_s: float, as_json: bool) -> None:
    """Show what becomes of a task, until interrupted.

    First what became of it so far, then each event as it is merged. Sleeps until something is merged; nothing is
    polled. --json prints one object per line.
    """
    board = session.board()
    board.known_task(task_id)
    with _bell(board, interval_s) as bell:
        newest = board.last_event_id()
        for event in board.events_of(task_id):
            _print_event(event, as_json)
            newest = max(newest, event.id)
        for event in board.follow(bell, newest):
            if event.task_id == task_id:
                _print_event(event, as_json)


@click.command()
@click.option(
    "--assignee",
    metavar="PROFILE",
    shell_complete=complete_profiles,
    help="Only events of tasks assigned to this profile.",
)
@click.option("--tenant", metavar="NAME", help="Only events of this tenant's tasks.")
@click.option("--kinds", metavar="A,B,…", help="Only events of these kinds.")
@click.option("--after", type=COUNT, metavar="ID", help="From after this event on; else from now on.")
@interval_option
@json_option
@click.pass_obj
def watch(
    session: Session,
    assignee: str | None,
    tenant: str | None,
    kinds: str | None,
    after: int | None,
    interval_s: float,
    as_json: bool,
) -> None:
    """Show events as they are merged, until interrupted.

    Sleeps until something is merged. --json prints one object per line.
    """
    board = session.board()
    wanted = listed(kinds)
    with _bell(board, interval_s) as bell:
        for event in board.follow(bell, after):
            task = board.task(event.task_id) if assignee or tenant else None
            if wanted and event.kind not in wanted:
                continue
            if assignee and (task is None or task.assignee not in spellings(assignee)):
                continue
            if tenant and (task is None or task.tenant != tenant):
                continue
            _print_event(event, as_json, with_task=True)


class _Slow:
    """A bell after which nobody looks for a while, so that what is new meanwhile is shown in one go."""

    def __init__(self, bell: Bell, interval_s: float) -> None:
        self._bell = bell
        self._interval_s = interval_s

    def wait(self, longest_s: float) -> bool:
        rang = self._bell.wait(longest_s)
        time.sleep(max(0.0, self._interval_s))
        return rang


@contextmanager
def _bell(board: Board, interval_s: float) -> Iterator[Any]:
    """A bell to follow the board by; being interrupted is how following it ends."""
    bell = board.bell()
    try:
        yield _Slow(bell, interval_s) if interval_s else bell
    except KeyboardInterrupt:
        pass
    finally:
        bell.close()


def _check_state(state_type: str | None, state_name: str | None) -> None:
    if (state_type is None) != (state_name is None):
        raise click.UsageError("Say both --state-type and --state-name, or neither.")


def _chosen(runs: list[Run], state_type: str | None, state_name: str | None) -> list[Run]:
    return runs if state_type is None else [run for run in runs if getattr(run, state_type) == state_name]


def _print_runs(found: list[Run]) -> None:
    now = int(time.time())
    text.print_table(
        ("RUN", "OUTCOME", "PROFILE", "STARTED", "ELAPSED", "SUMMARY"),
        [
            (run.id, run.outcome or f"({run.status})", run.profile, wording.when(run.started_at),
             wording.age(max(0, (run.ended_at or now) - run.started_at)), wording.clip(run.error or run.summary))
            for run in found
        ],
    )  # fmt: skip


def _show_task(
    task: Task, parents: list[str], children: list[str], summary: str | None, elsewhere: dict[str, str]
) -> None:
    text.say(f"{task.id}  {wording.printable(task.title)}", bold=True)
    facts = {
        "status": task.status,
        "assignee": task.assignee,
        "lives on": elsewhere.get(task.assignee or ""),
        "priority": task.priority,
        "owner": f"{task.owner} (epoch {task.epoch})",
        "tenant": task.tenant,
        "workspace": " ".join(filter(None, (task.workspace_kind, task.workspace_path))),
        "branch": task.branch_name,
        "project": task.project_id,
        "skills": ", ".join(task.skills or ()),
        "model": task.model_override,
        "max-retries": task.max_retries,
        "max-runtime": task.max_runtime_seconds and wording.age(task.max_runtime_seconds),
        "block kind": task.block_kind,
        "failures": task.consecutive_failures or None,
        "created": f"{wording.when(task.created_at)} by {task.created_by}",
        "started": wording.when(task.started_at),
        "completed": wording.when(task.completed_at),
        "run": task.current_run_id,
        "waits for": ", ".join(parents),
        "awaited by": ", ".join(children),
        "summary": summary,
        "result": task.result,
    }
    for name, value in facts.items():
        if value not in (None, ""):
            text.say(f"  {name + ':':<13} {value}")
    if task.body:
        text.say(f"\n{task.body}")


def _print_event(event: Event, as_json: bool, with_task: bool = False) -> None:
    """An event of those that come one after the other, which stay on the terminal while time goes on."""
    if as_json:
        text.print_json_line(event.as_dict())
        return
    now_s = time.time()
    passed = f" ({wording.ago(event.created_at, now_s)})" if abs(now_s - event.created_at) >= NEW_S else ""
    task = f"{event.task_id}  " if with_task else ""
    text.say(f"{event.id:>6}  {wording.when(event.created_at)}{passed}  {task}{sentence(event)}")


def _print_events(events: list[Event]) -> None:
    now_s = time.time()
    passed = [wording.ago(event.created_at, now_s) for event in events]
    width = max(map(len, passed), default=0)
    for event, ago in zip(events, passed, strict=True):
        text.say(f"{event.id:>6}  {ago:>{width}}  {sentence(event)}")
