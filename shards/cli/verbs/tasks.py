"""Making tasks, handing them over, changing and linking them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO, get_args

import click
from click.core import ParameterSource

from kanban_shards import wording
from kanban_shards.boards import read_metadata
from kanban_shards.changes.kinds import Start, WorkspaceKind
from kanban_shards.cli import text
from kanban_shards.cli.params import (
    POSITIVE,
    POSITIVE_OR_NONE,
    SPAN,
    SPAN_OR_NONE,
    body_told,
    joined,
    json_object,
    whole_text,
    whom,
)
from kanban_shards.cli.session import (
    TASK,
    Session,
    answer,
    assignee_meant,
    complete_profiles,
    json_option,
    once_more,
    task_of,
)
from kanban_shards.errors import NotLinked, Refused, Undecided
from kanban_shards.paths import expanded

if TYPE_CHECKING:
    from kanban_shards.gateway import Gateway

_HAS_KEY = "Nothing was created: {task.id}, by {task.created_by}, has the idempotency key already"


@click.command()
@click.argument("title", required=False)
@click.option("--from", "rows", type=click.File(encoding="utf-8"), metavar="FILE",
              help="Many tasks in place of TITLE: JSON lines or CSV, from a file or -.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="With --from: only read the file, and say what would be made.")
@click.option("--body", help="What is to be done, in full; - reads standard input.")
@click.option("--body-file", type=click.File(encoding="utf-8"), metavar="FILE", help="The body, from a file or -.")
@click.option(
    "--assignee", metavar="PROFILE", shell_complete=complete_profiles, help="Whose turn it is; none for nobody yet."
)
@click.option(
    "--parent", "parents", type=TASK, multiple=True, metavar="TASK", help="A task to wait for; may be repeated."
)
@click.option("--workspace", metavar="KIND[:PATH]", default="scratch", show_default=True,
              help="scratch, worktree[:PATH] (else the board's folder) or dir:PATH.")  # fmt: skip
@click.option("--branch", "branch_name", metavar="NAME", help="The git branch of a worktree.")
@click.option("--project", "project_id", metavar="ID", help="The project it belongs to.")
@click.option("--tenant", metavar="NAME", help="A namespace to filter by.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher is sooner.")
@click.option("--triage", is_flag=True, help="Let somebody specify or decompose it first.")
@click.option("--idempotency-key", metavar="KEY", help="One live task for each key; the id of that one is printed.")
@click.option("--max-runtime", "max_runtime_seconds", type=SPAN, metavar="SPAN", help="30s, 5m, 2h, 1d, or seconds.")
@click.option("--created-by", metavar="NAME", help="Shown as the creator; the profile is kept in any case.")
@click.option("--skill", "skills", multiple=True, metavar="NAME", help="The worker loads it; may be repeated.")
@click.option("--max-retries", type=POSITIVE, metavar="N",
              help="Blocked after N failures in a row; else as the board's limit says.")  # fmt: skip
@click.option("--goal", "goal_mode", is_flag=True, help="The worker goes on until the goal is reached.")
@click.option("--goal-max-turns", type=POSITIVE, metavar="N", help="With --goal: at most so many turns.")
@click.option("--initial-status", type=click.Choice(["blocked", "running"]), default="running",
              help="blocked: a person has to let it go on first.")  # fmt: skip
@click.option("--session", "session_id", metavar="ID", help="The chat that it came from.")
@click.option("--model", "model_override", metavar="NAME", help="The worker's model, in place of its usual one.")
@click.option("--provider", "provider_override", metavar="NAME", help="Whose model.")
@click.option("--reasoning-effort", metavar="WORD", help="How hard the worker's model thinks.")
@json_option
@click.pass_obj
def create(
    session: Session,
    /,
    title: str | None,
    rows: TextIO | None,
    dry_run: bool,
    body: str | None,
    body_file: TextIO | None,
    assignee: str | None,
    workspace: str,
    branch_name: str | None,
    triage: bool,
    initial_status: str,
    skills: tuple[str, ...],
    as_json: bool,
    **fields: Any,
) -> None:
    """Make a task. It is ready, or waits for its parents.

    Each line of --from is a task with a title, and perhaps body, assignee, parents, priority, tenant, skills, triage,
    max_runtime, max_retries, idempotency_key, created_by, session, project, branch, and ref: how later lines name it
    among their parents. CSV has these names in its first line. All are made in one commit, or none is.

    \b
      {"ref": "a", "title": "Write it", "assignee": "amy"}
      {"title": "Draw it", "parents": ["a"]}
    """
    if rows is not None:
        _create_all(session, title, rows, dry_run, as_json)
        return
    if title is None or dry_run:
        raise click.UsageError(
            "--dry-run goes with --from." if dry_run else "Missing argument 'TITLE', or --from FILE."
        )
    kind, path = _workspace(workspace)
    gateway = session.gateway()
    if kind == "worktree" and path is None:
        path = read_metadata(gateway.paths)["default_workdir"]
    starts: Start | None = "blocked" if initial_status == "blocked" else "triage" if triage else None
    made = gateway.make(
        title,
        body=body_told(body, body_file),
        starts=starts,
        assignee=assignee_meant(assignee),
        workspace_kind=kind,
        workspace_path=path,
        branch_name=_branch(branch_name, kind),
        skills=skills or None,
        **fields,
    )
    task = task_of(gateway, made.task_id)
    facts = f"({task.status}, assignee={task.assignee or '-'})"
    said = f"Created {task.id}  {facts}" if made.is_new else f"{_HAS_KEY.format(task=task)}  {facts}"
    answer(as_json, {**task.as_hermes(), "created": made.is_new}, said)


@click.command()
@click.argument("task_id", type=TASK)
@click.argument("profile", shell_complete=complete_profiles)
@json_option
@click.pass_obj
@once_more
def assign(session: Session, task_id: str, profile: str, as_json: bool) -> None:
    """Hand a task to a profile.

    "none" leaves it to its creator. A running task stays with its run; see reassign --reclaim.
    """
    assignee = assignee_meant(profile)
    session.gateway().assign(task_id, assignee)
    said = f"Assigned {task_id} to {assignee or '(unassigned)'}"
    answer(as_json, {"ok": True, "task_id": task_id, "assignee": assignee}, said)


@click.command()
@click.argument("task_id", type=TASK)
@click.argument("profile", shell_complete=complete_profiles)
@click.option("--reclaim", is_flag=True, help="Take a running task away from its run first.")
@click.option("--reason", help="Why it is taken away; kept with the run that ends.")
@json_option
@click.pass_obj
def reassign(session: Session, task_id: str, profile: str, reclaim: bool, reason: str | None, as_json: bool) -> None:
    """Hand a task on, even out of a stuck worker's hands.

    What that worker still says about it is refused as late, and kept where a person finds it.
    """
    gateway, assignee = session.gateway(), assignee_meant(profile)
    reclaimed = reclaim and _reclaimed(gateway, task_id, reason)
    once_more(gateway.assign)(task_id, assignee)
    said = f"Reassigned {task_id} to {assignee or '(unassigned)'}" + (" (claim reclaimed)" if reclaimed else "")
    answer(as_json, {"ok": True, "task_id": task_id, "assignee": assignee, "reclaimed": reclaimed}, said)


@click.command()
@click.argument("task_id", type=TASK)
@click.option("--title")
@click.option("--body", help="- reads standard input.")
@click.option("--body-file", type=click.File(encoding="utf-8"), metavar="FILE", help="The body, from a file or -.")
@click.option("--priority", type=int, help="Higher is sooner.")
@click.option("--tenant", metavar="NAME")
@click.option("--workspace-path", metavar="PATH")
@click.option("--branch", "branch_name", metavar="NAME")
@click.option("--max-runtime", type=SPAN_OR_NONE, metavar="SPAN", help="30s, 5m, 2h, 1d, or seconds.")
@click.option("--max-retries", type=POSITIVE_OR_NONE)
@click.option("--result", help="Of a task that is done.")
@click.option("--summary", help="Of a task that is done; without it, --result is the summary, too.")
@click.option("--metadata", metavar="JSON", help="An object; of a task that is done.")
@json_option
@click.pass_obj
def edit(
    session: Session,
    /,
    task_id: str,
    body: str | None,
    body_file: TextIO | None,
    max_runtime: int | None,
    max_retries: int | str | None,
    metadata: str | None,
    as_json: bool,
    **texts: Any,
) -> None:
    """Give some fields of a task new values.

    "none" takes away its tenant, workspace path, branch, longest runtime or number of retries.
    """
    given = {name: value for name, value in texts.items() if value is not None}
    if (told := body_told(body, body_file)) is not None:
        given["body"] = told
    for name in ("tenant", "workspace_path", "branch_name"):
        if name in given:
            given[name] = whom(given[name])
    if max_runtime is not None:
        given["max_runtime_seconds"] = max_runtime or None
    if max_retries is not None:
        given["max_retries"] = None if max_retries == "none" else max_retries
    if metadata is not None:
        given["metadata"] = json_object(metadata)
    if not given:
        raise click.UsageError("Nothing to edit: name at least one field.")
    if "result" in given:
        given.setdefault("summary", given["result"])
    once_more(session.gateway().edit)(task_id, **given)
    answer(as_json, {"ok": True, "task_id": task_id, "fields": sorted(given)}, f"Edited {task_id}")


@click.command()
@click.argument("parent_id", type=TASK)
@click.argument("child_id", type=TASK)
@json_option
@click.pass_obj
def link(session: Session, parent_id: str, child_id: str, as_json: bool) -> None:
    """Let CHILD_ID wait for PARENT_ID. Linking twice is linking once; a circle is refused."""
    new = session.gateway().link(parent_id, child_id).answer["linked"]
    said = f"Linked {parent_id} -> {child_id}" if new else f"{child_id} waits for {parent_id} already"
    answer(as_json, {"ok": True, "parent_id": parent_id, "child_id": child_id, "linked": new}, said)


@click.command()
@click.argument("parent_id", type=TASK)
@click.argument("child_id", type=TASK)
@json_option
@click.pass_obj
def unlink(session: Session, parent_id: str, child_id: str, as_json: bool) -> None:
    """Let CHILD_ID no longer wait for PARENT_ID. It is ready if that was the last it waited for."""
    if not session.gateway().unlink(parent_id, child_id).answer["unlinked"]:
        raise NotLinked(parent_id=parent_id, child_id=child_id)
    value = {"ok": True, "parent_id": parent_id, "child_id": child_id, "unlinked": True}
    answer(as_json, value, f"Unlinked {parent_id} -> {child_id}")


@click.command()
@click.argument("task_id", type=TASK)
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@click.option("--author", metavar="NAME", help="Shown as the author; the profile is kept in any case.")
@click.option("--max-len", type=POSITIVE, metavar="N", help="Keep at most N characters, and say so.")
@json_option
@click.pass_obj
def comment(
    session: Session, task_id: str, words: tuple[str, ...], author: str | None, max_len: int | None, as_json: bool
) -> None:
    """Say something about a task."""
    gateway = session.gateway()
    said = _at_most(joined(words) or "", max_len)
    number = gateway.make_comment(task_id, said, author=author)
    value = {"ok": True, "task_id": task_id, "comment_id": number}
    answer(as_json, value, f"Comment added to {task_id}  (comment {number})")


def _create_all(session: Session, title: str | None, file: TextIO, dry_run: bool, as_json: bool) -> None:
    """Make the tasks of ``file``."""
    from kanban_shards.cli.rows import check_parents, create_rows, read_rows

    ctx = click.get_current_context()
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    given = [name for name, source in sources.items() if source is ParameterSource.COMMANDLINE]
    if title is not None or set(given) - {"rows", "dry_run", "as_json"}:
        raise click.UsageError("--from FILE stands alone: what a task has is said in its line.")
    found = read_rows(whole_text(file))
    gateway = session.gateway()
    if dry_run:
        check_parents(gateway.board, found)
        lines = [{"line": row.line, "title": row.title, "parents": row.parents, **row.fields} for row in found]
        said = f"{wording.many(len(found), 'task')} would be made; nothing was written."
        text.print_json({"ok": True, "dry_run": True, "tasks": lines}) if as_json else text.say(said)
        return
    written: dict[str, str] = {}
    try:
        made = create_rows(gateway, found, written)
    except Undecided:  # whoever says it again without the ids would make them twice
        for task_id, name in written.items():
            text.say(f"Written, not decided yet: {task_id}  {name}", err=True)
        raise
    if as_json:
        text.print_json([{"id": each.task_id, "title": each.row.title, "created": each.is_new} for each in made])
        return
    for each in made:
        text.say(
            f"{'Created' if each.is_new else 'There already:'} {each.task_id}  {wording.printable(each.row.title)}"
        )
    text.say(f"Created {wording.many(sum(each.is_new for each in made), 'task')}.", err=True)


def _workspace(told: str) -> tuple[WorkspaceKind, str | None]:
    word, colon, path = (part.strip() for part in told.partition(":"))
    kind = next((kind for kind in get_args(WorkspaceKind) if kind == word), None)
    if kind is None or (kind == "scratch" and colon) or (kind == "dir" and not colon):
        sentence = f"{told!r} is not a workspace; write scratch, worktree, worktree:PATH or dir:PATH."
        raise click.BadParameter(sentence, param_hint="'--workspace'")
    if colon and not path:
        raise click.BadParameter(f"{told!r} lacks the path after the colon.", param_hint="'--workspace'")
    return kind, str(expanded(path)) if path else None


def _branch(name: str | None, kind: str) -> str | None:
    if name is None:
        return None
    branch = name.strip()
    if not branch or branch.startswith("-") or any(character.isspace() for character in branch):
        raise click.BadParameter(f"{name!r} cannot name a branch.", param_hint="'--branch'")
    if kind != "worktree":
        raise click.UsageError("--branch belongs to --workspace worktree.")
    return branch


def _reclaimed(gateway: Gateway, task_id: str, reason: str | None) -> bool:
    """Whether there was a run to take the task away from."""
    try:
        once_more(gateway.reclaim)(task_id, reason)
    except Refused as refused:
        if refused.reason != "wrong_status":
            raise
        return False
    return True


def _at_most(said: str, longest: int | None) -> str:
    if longest is None or len(said) <= longest:
        return said
    note = f"\n\n[trimmed to {longest} chars by --max-len]"
    return said[: max(0, longest - len(note))].rstrip() + note
