"""The ``kanban`` command: the verbs and flags that Hermes users know, for one profile."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any

import click

from shards import text
from shards.board import SORTS, Board
from shards.commands import EXIT_CODES, LARGEST, Group, board_option, home_option, json_option
from shards.errors import InvalidChange, Refused, UnknownTask, UsageError
from shards.names import BoardPaths, check_task_id
from shards.records import STATUSES, Event, Task

NOBODY = ("none", "-", "null")
BLOCK_KINDS = ("capability", "dependency", "needs_input", "transient")


class NoProfile(UsageError):
    """Say which profile writes: kanban --profile NAME {verb} …"""


class Session:
    """One call of the command: which board, and as whom."""

    def __init__(self, profile: str | None, board: str | None, home: str | None) -> None:
        self.profile = profile
        self.where = {"board": board, "home": home}
        self.exits = contextlib.ExitStack()

    def board(self) -> Board:
        """The board, for reading."""
        return self.exits.enter_context(Board.open(**self.where))

    def gateway(self):
        """The gateway, for writing."""
        if self.profile is None:
            raise NoProfile(verb=click.get_current_context().info_name)
        from shards.gateway import Gateway  # what a command that only reads need not load

        return self.exits.enter_context(Gateway(self.profile, **self.where))


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--profile", "-p", metavar="NAME", help="Who writes. Needed by every verb that changes something.")
@board_option
@home_option
@click.version_option(package_name="kanban-shards")
@click.pass_context
def main(ctx: click.Context, profile: str | None, board: str | None, home: str | None) -> None:
    """One task board for many agent profiles.

    Each profile writes only its own file; a coordinator merges. A verb returns when its change has a verdict, with
    or without a daemon.

    \b
    Begin with:
      kanban --profile bingge create "Write the PRD" --assignee bingge
      kanban list
      kanban --profile bingge claim --next
    """
    ctx.obj = Session(profile, board, home)
    ctx.call_on_close(ctx.obj.exits.close)


def once_more(verb: Callable) -> Callable:
    """Read again and retry once, where the task changed between the reading and the verdict."""

    @functools.wraps(verb)
    def retrying(*args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except Refused as refused:
            if refused.reason != "stale":
                raise
            return verb(*args, **kwargs)

    return retrying


# --- making and changing tasks ---------------------------------------------------------------------------------


@main.command()
@json_option
@click.pass_obj
def init(session: Session, as_json: bool) -> None:
    """Make the board, if it is not there yet."""
    from coordinator.lock import COMMAND, take
    from coordinator.passes import Coordinator

    paths = BoardPaths.find(**session.where)
    paths.make_folder()
    lock = take(paths, COMMAND, wait_s=5)
    try:
        with Coordinator(paths, lock):
            pass
    finally:
        lock.close()
    _answer(as_json, {"board": paths.slug, "path": str(paths.board)}, f"Board {paths.slug} is at {paths.board}")


@main.command()
@click.argument("title")
@click.option("--body", help="What is to be done, in full.")
@click.option("--assignee", metavar="PROFILE", help="Whose turn it is.")
@click.option("--parent", "parents", multiple=True, metavar="TASK", help="A task to wait for; may be repeated.")
@click.option("--workspace", metavar="KIND[:PATH]", default="scratch", help="scratch, worktree[:PATH] or dir:PATH.")
@click.option("--branch", "branch_name", metavar="NAME", help="The git branch of a worktree.")
@click.option("--project", "project_id", metavar="ID")
@click.option("--tenant", metavar="NAME")
@click.option("--priority", type=int, default=0, help="Higher is sooner.")
@click.option("--triage", is_flag=True, help="Let somebody specify it first.")
@click.option("--idempotency-key", metavar="KEY", help="One live task for each key; the id of that one is printed.")
@click.option("--max-runtime", metavar="SPAN", help="30s, 5m, 2h, 1d, or seconds.")
@click.option("--created-by", metavar="NAME", help="Shown as the creator; the profile is kept in any case.")
@click.option("--skill", "skills", multiple=True, metavar="NAME", help="May be repeated.")
@click.option("--max-retries", type=click.IntRange(0))
@click.option("--goal", "goal_mode", is_flag=True, help="The worker goes on until the goal is reached.")
@click.option("--goal-max-turns", type=click.IntRange(1))
@click.option("--initial-status", type=click.Choice(["running", "blocked"]), default="running")
@json_option
@click.pass_obj
def create(
    session: Session,
    title: str,
    workspace: str,
    triage: bool,
    initial_status: str,
    max_runtime: str | None,
    skills: tuple[str, ...],
    as_json: bool,
    **fields: Any,
) -> None:
    """Make a task. It is ready, or waits for its parents."""
    gateway = session.gateway()
    kind, _, path = workspace.partition(":")
    starts = "blocked" if initial_status == "blocked" else "triage" if triage else None
    task_id = gateway.create(
        title,
        starts=starts,
        workspace_kind=kind,
        workspace_path=path or None,
        max_runtime_seconds=_seconds(max_runtime),
        skills=skills or None,
        **fields,
    )
    gateway.sync()
    task = gateway.board.task(task_id)
    if task is None:
        refusal = next((each for each in gateway.board.refusals() if each.task_id == task_id), None)
        raise Refused(reason=refusal.reason, sentence=refusal.sentence, answer={}) if refusal else UnknownTask(
            task_id=task_id
        )
    _answer(as_json, task.as_hermes(), f"Created {task.id}  ({task.status}, assignee={task.assignee or '-'})")


@main.command()
@click.argument("task_id")
@click.argument("assignee")
@json_option
@click.pass_obj
@once_more
def assign(session: Session, task_id: str, assignee: str, as_json: bool) -> None:
    """Hand a task to a profile; "none" leaves it to its creator."""
    whom = None if assignee.lower() in NOBODY else assignee
    session.gateway().assign(task_id, whom)
    _answer(as_json, {"ok": True, "task_id": task_id, "assignee": whom}, f"Assigned {task_id} to {whom or 'nobody'}")


@main.command()
@click.argument("task_id")
@click.option("--title")
@click.option("--body")
@click.option("--priority", type=int)
@click.option("--tenant")
@click.option("--result", help="Of a task that is done.")
@click.option("--summary", help="Of a task that is done.")
@click.option("--metadata", metavar="JSON", help="An object; of a task that is done.")
@json_option
@click.pass_obj
@once_more
def edit(session: Session, task_id: str, metadata: str | None, as_json: bool, **fields: Any) -> None:
    """Give some fields of a task new values."""
    given = {name: value for name, value in fields.items() if value is not None}
    if metadata is not None:
        given["metadata"] = _json_object(metadata)
    if not given:
        raise click.UsageError("Nothing to edit: name at least one field.")
    session.gateway().edit(task_id, **given)
    _answer(as_json, {"ok": True, "task_id": task_id, "fields": sorted(given)}, f"Edited {task_id}")


@main.command()
@click.argument("parent_id")
@click.argument("child_id")
@json_option
@click.pass_obj
def link(session: Session, parent_id: str, child_id: str, as_json: bool) -> None:
    """Let CHILD_ID wait for PARENT_ID."""
    new = session.gateway().link(parent_id, child_id).answer["linked"]
    said = f"Linked {parent_id} -> {child_id}" if new else f"{child_id} waits for {parent_id} already"
    _answer(as_json, {"ok": True, "linked": new}, said)


@main.command()
@click.argument("parent_id")
@click.argument("child_id")
@json_option
@click.pass_obj
def unlink(session: Session, parent_id: str, child_id: str, as_json: bool) -> None:
    """Let CHILD_ID no longer wait for PARENT_ID."""
    was = session.gateway().unlink(parent_id, child_id).answer["unlinked"]
    said = f"Unlinked {parent_id} -> {child_id}" if was else f"{child_id} did not wait for {parent_id}"
    _answer(as_json, {"ok": True, "unlinked": was}, said)


@main.command()
@click.argument("task_id")
@click.argument("words", nargs=-1, required=True)
@click.option("--author", metavar="NAME", help="Shown as the author; the profile is kept in any case.")
@json_option
@click.pass_obj
def comment(session: Session, task_id: str, words: tuple[str, ...], author: str | None, as_json: bool) -> None:
    """Say something about a task."""
    gateway = session.gateway()
    verdict = gateway.wait_for_verdict(gateway.comment(task_id, " ".join(words), author=author))
    number = verdict.answer["comment_id"]
    _answer(as_json, {"ok": True, "task_id": task_id, "comment_id": number}, f"Comment {number} added to {task_id}")


# --- working on tasks ------------------------------------------------------------------------------------------


@main.command()
@click.argument("task_id", required=False)
@click.option("--next", "take_next", is_flag=True, help="The best ready task for me, in place of TASK_ID.")
@click.option("--ttl", "lease_s", type=click.IntRange(1), default=900, show_default=True,
              help="Seconds that the run is believed alive without a sign of life.")  # fmt: skip
@click.option("--runs-as", metavar="PROFILE", help="Whose worker does it, if not mine.")
@json_option
@click.pass_obj
@once_more
def claim(session: Session, task_id: str | None, take_next: bool, as_json: bool, **how: Any) -> None:
    """Start work on a ready task. Whoever loses a race is told who won."""
    if (task_id is None) != take_next:
        raise click.UsageError("Name a task, or say --next.")
    gateway = session.gateway()
    run = gateway.claim_next(**how) if take_next else gateway.claim(task_id, **how)
    if run is None:
        _answer(as_json, {"ok": True, "run": None}, "Nothing is ready for you.")
        return
    task = gateway.board.task(run.task_id)
    said = f"Claimed {run.task_id}  (run {run.id}: {text.clip(task.title)})"
    if task.workspace_path:
        said += f"\nWorkspace: {task.workspace_path}"
    _answer(as_json, {"ok": True, "task": task.as_hermes(), "run": run.as_dict()}, said)


@main.command()
@click.argument("task_id")
@click.option("--note", help="Where the work is.")
@json_option
@click.pass_obj
def heartbeat(session: Session, task_id: str, note: str | None, as_json: bool) -> None:
    """Give a sign of life of my run on a task."""
    gateway = session.gateway()
    run = gateway.open_run(task_id)
    gateway.heartbeat(run, note)
    _answer(as_json, {"ok": True, "task_id": task_id, "run_id": run.id}, f"Heartbeat for {task_id}  (run {run.id})")


@main.command()
@click.argument("task_ids", nargs=-1, required=True)
@click.option("--result")
@click.option("--summary")
@click.option("--metadata", metavar="JSON", help="An object.")
@click.option("--run", "run_id", type=click.IntRange(1, LARGEST), help="Only if this run is still open.")
@json_option
@click.pass_obj
def complete(
    session: Session,
    task_ids: tuple[str, ...],
    result: str | None,
    summary: str | None,
    metadata: str | None,
    run_id: int | None,
    as_json: bool,
) -> None:
    """Say that tasks are done. Whatever waited for them may go on."""
    if len(task_ids) > 1 and (summary or metadata or run_id):
        raise click.UsageError("--summary, --metadata and --run belong to one task.")
    given = {"result": result, "summary": summary}
    given["metadata"] = None if metadata is None else _json_object(metadata)
    gateway = session.gateway()
    _each(as_json, task_ids, "Completed", lambda task_id: gateway.complete(_work(gateway, task_id, run_id), **given))


@main.command()
@click.argument("task_id")
@click.argument("reason", nargs=-1)
@click.option("--kind", type=click.Choice(BLOCK_KINDS))
@click.option("--run", "run_id", type=click.IntRange(1, LARGEST), help="Only if this run is still open.")
@json_option
@click.pass_obj
@once_more
def block(
    session: Session, task_id: str, reason: tuple[str, ...], kind: str | None, run_id: int | None, as_json: bool
) -> None:
    """Say that a task cannot go on, and why."""
    gateway = session.gateway()
    verdict = gateway.block(_work(gateway, task_id, run_id), " ".join(reason) or None, kind=kind)
    status = verdict.answer["status"]
    said = f"Blocked {task_id}" if status == "blocked" else f"{task_id} → {status}"
    _answer(as_json, {"ok": True, "task_id": task_id, **verdict.answer}, said)


@main.command()
@click.argument("task_ids", nargs=-1, required=True)
@click.option("--reason")
@json_option
@click.pass_obj
def unblock(session: Session, task_ids: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Let blocked tasks go on."""
    gateway = session.gateway()
    _each(as_json, task_ids, "Unblocked", lambda task_id: gateway.unblock(task_id, reason))


# --- telling chats ---------------------------------------------------------------------------------------------


@main.command("notify-subscribe")
@click.argument("task_id")
@click.option("--platform", required=True)
@click.option("--chat-id", required=True)
@click.option("--thread-id", default="")
@click.option("--user-id")
@click.option("--notifier-profile", metavar="PROFILE", help="Whose gateway delivers, if not mine.")
@click.option("--from-start", is_flag=True, help="Tell what happened before, too.")
@json_option
@click.pass_obj
def notify_subscribe(session: Session, task_id: str, as_json: bool, **chat: Any) -> None:
    """Tell a chat what becomes of a task."""
    gateway = session.gateway()
    verdict = gateway.wait_for_verdict(gateway.subscribe(task_id, **chat))
    where = ":".join(filter(None, (chat["platform"], chat["chat_id"], chat["thread_id"])))
    _answer(as_json, {"ok": True, "task_id": task_id, **verdict.answer}, f"Subscribed {where} to {task_id}")


@main.command("notify-unsubscribe")
@click.argument("task_id")
@click.option("--platform", required=True)
@click.option("--chat-id", required=True)
@click.option("--thread-id", default="")
@json_option
@click.pass_obj
def notify_unsubscribe(session: Session, task_id: str, as_json: bool, **chat: Any) -> None:
    """No longer tell a chat."""
    gateway = session.gateway()
    verdict = gateway.wait_for_verdict(gateway.unsubscribe(task_id, **chat))
    was = verdict.answer["unsubscribed"]
    said = f"Unsubscribed from {task_id}" if was else f"That chat was not subscribed to {task_id}"
    _answer(as_json, {"ok": True, "task_id": task_id, **verdict.answer}, said)


@main.command("notify-list")
@click.argument("task_id", required=False)
@json_option
@click.pass_obj
def notify_list(session: Session, task_id: str | None, as_json: bool) -> None:
    """Show which chats are told."""
    found = session.board().subscriptions(task_id)
    if as_json:
        text.print_json([each.as_dict() for each in found])
    else:
        _table(
            ("TASK", "PLATFORM", "CHAT", "THREAD", "BY", "SEEN UP TO"),
            [(s.task_id, s.platform, s.chat_id, s.thread_id, s.notifier_profile, s.last_event_id) for s in found],
            "No chat is told of anything.",
        )


# --- reading ---------------------------------------------------------------------------------------------------


@main.command("list")
@click.option("--mine", is_flag=True, help="Assigned to --profile.")
@click.option("--assignee", metavar="PROFILE")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--tenant")
@click.option("--session", "session_id", metavar="ID")
@click.option("--archived", "include_archived", is_flag=True, help="Archived tasks too.")
@click.option("--sort", type=click.Choice(list(SORTS)), default="priority-desc", show_default=True)
@click.option("--limit", type=click.IntRange(1, LARGEST))
@json_option
@click.pass_obj
def list_tasks(session: Session, mine: bool, assignee: str | None, as_json: bool, **filters: Any) -> None:
    """Show the tasks. Reads only: nothing is promoted or merged by it."""
    if mine and session.profile is None:
        raise NoProfile(verb="list --mine")
    tasks = session.board().tasks(assignee=session.profile if mine else assignee, **filters)
    if as_json:
        text.print_json([task.as_hermes() for task in tasks])
    else:
        _table(
            ("TASK", "STATUS", "PRI", "ASSIGNEE", "TITLE"),
            [(task.id, task.status, task.priority, task.assignee, task.title) for task in tasks],
            "No tasks.",
        )


@main.command()
@click.argument("task_id")
@json_option
@click.pass_obj
def show(session: Session, task_id: str, as_json: bool) -> None:
    """Show a task with its links, comments, events and runs."""
    board = session.board()
    task = board.task(check_task_id(task_id))
    if task is None:
        raise UnknownTask(task_id=task_id)
    runs, events, comments = board.runs(task_id), board.events(task_id=task_id), board.comments(task_id)
    parents, children = board.parents(task_id), board.children(task_id)
    summary = next((run.summary for run in reversed(runs) if run.summary), None)
    if as_json:
        text.print_json(
            {
                "task": task.as_hermes(),
                "latest_summary": summary,
                "parents": parents,
                "children": children,
                "comments": [comment.as_dict() for comment in comments],
                "events": [event.as_dict() for event in events],
                "runs": [run.as_dict() for run in runs],
                "ownership": {"owner": task.owner, "epoch": task.epoch, "vector": task.vector},
            }
        )
        return
    _show_task(task, parents, children, summary)
    for comment in comments:
        click.echo(f"\n{comment.author}, {text.when(comment.created_at)}:\n  {comment.body}")
    if runs:
        click.echo()
        _print_runs(runs)
    click.echo()
    for event in events:
        click.echo(_line(event))


@main.command()
@click.argument("task_id")
@json_option
@click.pass_obj
def runs(session: Session, task_id: str, as_json: bool) -> None:
    """Show the attempts at a task."""
    board = session.board()
    if board.task(check_task_id(task_id)) is None:
        raise UnknownTask(task_id=task_id)
    found = board.runs(task_id)
    if as_json:
        text.print_json([run.as_dict() for run in found])
    elif found:
        _print_runs(found)
    else:
        click.echo(f"Nobody has tried {task_id} yet.")


@main.command()
@json_option
@click.pass_obj
def stats(session: Session, as_json: bool) -> None:
    """Count the tasks by status and assignee."""
    found = session.board().stats()
    if as_json:
        text.print_json(found)
        return
    _table(("STATUS", "TASKS"), list(found["by_status"].items()), "No tasks.")
    if found["by_assignee"]:
        click.echo()
        rows = [
            (who, sum(counts.values()), ", ".join(f"{status} {count}" for status, count in counts.items()))
            for who, counts in sorted(found["by_assignee"].items())
        ]
        text.print_table(("ASSIGNEE", "TASKS", "OF THESE"), rows)
    if found["oldest_ready_age_seconds"] is not None:
        click.echo(f"\nThe oldest ready task has waited for {text.age(found['oldest_ready_age_seconds'])}.")


@main.command()
@click.option("--assignee", metavar="PROFILE")
@click.option("--tenant")
@click.option("--kinds", metavar="A,B,…", help="Only events of these kinds.")
@click.option("--after", type=click.IntRange(0, LARGEST), metavar="ID",
              help="From behind this event on; else from now on.")  # fmt: skip
@json_option
@click.pass_obj
def watch(
    session: Session, assignee: str | None, tenant: str | None, kinds: str | None, after: int | None, as_json: bool
) -> None:
    """Show events as they are merged, until interrupted. Costs nothing while nothing happens."""
    board = session.board()
    wanted = tuple(filter(None, (kinds or "").split(",")))
    bell = board.bell()
    try:
        for event in board.follow(bell, after):
            task = board.task(event.task_id) if assignee or tenant else None
            if (wanted and event.kind not in wanted) or (assignee and (task is None or task.assignee != assignee)):
                continue
            if tenant and (task is None or task.tenant != tenant):
                continue
            text.print_json_line(event.as_dict()) if as_json else click.echo(_line(event, with_task=True))
    except KeyboardInterrupt:
        pass
    finally:
        bell.close()


# --- how ---------------------------------------------------------------------------------------------------------


def _answer(as_json: bool, value: dict, said: str) -> None:
    text.print_json(value) if as_json else click.echo(said)


def _each(as_json: bool, task_ids: tuple[str, ...], said: str, verb: Callable[[str], Any]) -> None:
    """``verb`` on each task; the others go on when one is refused, and the call ends as the last refusal says."""
    answers, last = [], None
    for task_id in task_ids:
        try:
            answers.append({"ok": True, "task_id": task_id, **(once_more(verb)(task_id).answer or {})})
            if not as_json:
                click.echo(f"{said} {task_id}")
        except (Refused, UnknownTask) as error:
            if len(task_ids) == 1:
                raise
            last = error
            answers.append({"ok": False, "task_id": task_id, "message": str(error)})
            if not as_json:
                click.secho(str(error), fg="red", err=True)
    if as_json:
        text.print_json(answers if len(task_ids) > 1 else answers[0])
    if last is not None:
        click.get_current_context().exit(last.exit_code)


def _work(gateway: Any, task_id: str, run_id: int | None) -> Any:
    if run_id is None:
        return task_id
    run = gateway.board.run(run_id)
    if run is None or run.task_id != task_id:
        raise click.UsageError(f"Run {run_id} is not a run of {task_id}.")
    return run


def _seconds(span: str | None) -> int | None:
    if span is None:
        return None
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    number, unit = (span[:-1], units[span[-1]]) if span[-1:] in units else (span, 1)
    if not number.isascii() or not number.isdigit() or len(number) > 12:
        raise click.BadParameter(f"{span!r} is not a span of time; write 30s, 5m, 2h, 1d, or seconds.")
    return int(number) * unit


def _json_object(given: str) -> dict[str, Any]:
    try:
        value = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise InvalidChange(kind="metadata", problem=f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidChange(kind="metadata", problem="a JSON object is needed")
    return value


def _table(headers: tuple[str, ...], rows: list, nothing: str) -> None:
    text.print_table(headers, rows) if rows else click.echo(nothing)


def _print_runs(found: list) -> None:
    text.print_table(
        ("RUN", "PROFILE", "STATUS", "STARTED", "ENDED", "SUMMARY"),
        [
            (run.id, run.profile, run.status, text.when(run.started_at), text.when(run.ended_at),
             text.clip(run.summary or run.error))
            for run in found
        ],
    )  # fmt: skip


def _show_task(task: Task, parents: list[str], children: list[str], summary: str | None) -> None:
    click.secho(f"{task.id}  {text.clip(task.title, 1_000)}", bold=True)
    facts = {
        "status": task.status,
        "assignee": task.assignee,
        "priority": task.priority,
        "owner": f"{task.owner} (epoch {task.epoch})",
        "tenant": task.tenant,
        "workspace": " ".join(filter(None, (task.workspace_kind, task.workspace_path))),
        "created": f"{text.when(task.created_at)} by {task.created_by}",
        "started": text.when(task.started_at),
        "completed": text.when(task.completed_at),
        "run": task.current_run_id,
        "waits for": ", ".join(parents),
        "awaited by": ", ".join(children),
        "summary": summary,
        "result": task.result,
    }
    for name, value in facts.items():
        if value not in (None, ""):
            click.echo(f"  {name + ':':<12} {value}")
    if task.body:
        click.echo(f"\n{task.body}")


def _line(event: Event, with_task: bool = False) -> str:
    payload = "" if event.payload is None else json.dumps(event.payload, ensure_ascii=False)
    task = f"{event.task_id}  " if with_task else ""
    return f"{event.id:>6}  {text.when(event.created_at)}  {task}{event.kind:<12} {text.clip(payload)}".rstrip()
