"""Tasks in triage: they get their words, or become a graph of tasks. The words and the graph come from the caller,
a person or a model; this stores and decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from kanban_shards import wording
from kanban_shards.arguments import PlannedTask, SpecifyFields
from kanban_shards.cli import text
from kanban_shards.cli.params import body_told, whole_text
from kanban_shards.cli.session import TASK, Session, assignee_meant, complete_profiles, json_option, once_more
from kanban_shards.errors import InvalidChange, KanbanError, Refused, UnknownTask

if TYPE_CHECKING:
    from kanban_shards.gateway import Gateway

# Does it to one task; returns facts for programs and a sentence for people.
Verb = Callable[[str], tuple[dict[str, Any], str]]
CHILD_KEYS = frozenset({"title", "body", "assignee", "priority", "skills", "parents"})


class NotPlanned(KanbanError):
    template = "The plan says nothing of {task_id}; it stays in triage."
    task_id: str


@click.command()
@click.argument("task_id", type=TASK, required=False)
@click.option("--all", "all_triage", is_flag=True, help="Every task in triage, with the words that it has.")
@click.option("--tenant", metavar="NAME", help="With --all: only this tenant's.")
@click.option("--title", help="What the task is called now.")
@click.option("--body", help="What is to be done, in full; - reads standard input.")
@click.option("--body-file", type=click.File(encoding="utf-8"), metavar="FILE", help="The body, from a file or -.")
@click.option(
    "--assignee", metavar="PROFILE", shell_complete=complete_profiles, help="Whose turn it is now; none for nobody."
)
@click.option("--author", metavar="NAME", help="Who says so in a comment; else the profile.")
@json_option
@click.pass_obj
def specify(
    session: Session,
    task_id: str | None,
    all_triage: bool,
    tenant: str | None,
    title: str | None,
    body: str | None,
    body_file: Any,
    assignee: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Say what a task in triage is about.

    It leaves triage then, and is ready or waits for its parents. No model is asked: the words come with the call.
    --json prints one object per line.
    """
    if bool(task_id) == all_triage:
        raise click.UsageError("Name a task, or say --all.")
    given: SpecifyFields = {}
    if title is not None:
        given["title"] = title
    if (told := body_told(body, body_file)) is not None:
        given["body"] = told
    if all_triage and given:
        raise click.UsageError("--title and --body belong to one task.")
    if assignee is not None:
        given["assignee"] = assignee_meant(assignee)
    gateway = session.gateway()
    given["author"] = author or gateway.profile

    def specified(task_id: str) -> tuple[dict[str, Any], str]:
        status = once_more(gateway.specify)(task_id, **given).answer["status"]
        retitled = f" — retitled: {title!r}" if title else ""
        return {"reason": "specified", "status": status}, f"Specified {task_id} → {status}{retitled}"

    tasks = [task_id] if task_id else _in_triage(gateway, tenant)
    _each_line(as_json, tasks, specified, "specified", {"new_title": title})


@click.command()
@click.argument("task_id", type=TASK, required=False)
@click.option("--plan", type=click.File(encoding="utf-8"), required=True, metavar="FILE",
              help="The tasks, as a JSON list; - reads standard input.")  # fmt: skip
@click.option("--all", "all_triage", is_flag=True,
              help="Every task in triage; the plan is then an object, with a list for each task's id.")  # fmt: skip
@click.option("--tenant", metavar="NAME", help="With --all: only this tenant's.")
@click.option("--root-assignee", metavar="PROFILE", help="Whose turn it is when the whole plan is done.")
@click.option("--author", metavar="NAME", help="Who says so in a comment; else the profile.")
@click.option("--no-promote", is_flag=True, help="Leave the tasks in todo until somebody promotes them.")
@json_option
@click.pass_obj
def decompose(
    session: Session,
    task_id: str | None,
    plan: Any,
    all_triage: bool,
    tenant: str | None,
    root_assignee: str | None,
    author: str | None,
    no_promote: bool,
    as_json: bool,
) -> None:
    """Turn a task in triage into a graph of tasks.

    It waits for all of them. The plan is applied whole, or refused whole.

    No model is asked: the plan comes with the call. Each task of it has a title, and may have a body, an assignee, a
    priority, skills, and parents: the numbers of tasks in the list that it waits for, counted from 0.

    \b
      [{"title": "draft", "body": "…", "assignee": "amy",
        "priority": 1, "skills": ["writing"]},
       {"title": "review", "assignee": "bob", "parents": [0]}]

    --json prints one object per line.
    """
    if bool(task_id) == all_triage:
        raise click.UsageError("Name a task, or say --all.")
    told = _parsed(whole_text(plan))
    plans = {task_id: _children(told)} if task_id else _plans(told)
    gateway = session.gateway()
    root_owner = assignee_meant(root_assignee)

    def decomposed(task_id: str) -> tuple[dict[str, Any], str]:
        if task_id not in plans:
            raise NotPlanned(task_id=task_id)
        ids = once_more(gateway.decompose)(
            task_id,
            plans[task_id],
            root_assignee=root_owner,
            author=author or gateway.profile,
            auto_promote=not no_promote,
        )
        said = f"Decomposed {task_id} → {wording.many(len(ids), 'task')} ({', '.join(ids)}); root promoted to todo"
        return {"reason": "decomposed", "child_ids": ids}, said

    usual = {"fanout": True, "child_ids": None, "new_title": None}
    tasks = [task_id] if task_id else _in_triage(gateway, tenant)
    _each_line(as_json, tasks, decomposed, "decomposed", usual)


def _in_triage(gateway: Gateway, tenant: str | None) -> list[str]:
    return [task.id for task in gateway.board.tasks(status="triage", tenant=tenant)]


def _each_line(as_json: bool, task_ids: list[str], verb: Verb, word: str, usual: dict[str, Any]) -> None:
    """``verb`` on each task, and one line about it; the call ends with 1 if none of them went well."""
    if not task_ids:
        text.print_json_line({word: 0, "total": 0}) if as_json else text.say("No triage tasks.")
    elif not any([_line(as_json, task_id, verb, usual) for task_id in task_ids]):
        click.get_current_context().exit(1)


def _line(as_json: bool, task_id: str, verb: Verb, usual: dict[str, Any]) -> bool:
    """``verb`` on the task, and one line about it; returns whether it went well."""
    try:
        facts, said = verb(task_id)
    except (Refused, UnknownTask, NotPlanned) as error:
        if as_json:
            text.print_json_line({"task_id": task_id, "ok": False, **usual, "reason": str(error)})
        text.say(f"kanban: {error}", fg="red", err=True)
        return False
    if as_json:
        text.print_json_line({"task_id": task_id, "ok": True, **usual, **facts})
    else:
        text.say(said)
    return True


def _parsed(plan: str) -> Any:
    try:
        return json.loads(plan)
    except (ValueError, RecursionError) as error:
        raise InvalidChange(kind="plan", problem=f"not JSON: {error}") from error


def _plans(told: Any) -> dict[str, list[PlannedTask]]:
    """A plan for each of several tasks."""
    if not isinstance(told, dict):
        raise InvalidChange(kind="plan", problem="a JSON object is needed, with a list for each task's id")
    return {task_id: _children(children) for task_id, children in told.items()}


def _children(children: Any) -> list[PlannedTask]:
    """The tasks of a plan. Raises InvalidChange, naming the one that is wrong."""
    if not isinstance(children, list) or not children:
        raise InvalidChange(kind="plan", problem="a JSON list of tasks is needed")
    return [_child(number, child) for number, child in enumerate(children)]


def _child(number: int, child: Any) -> PlannedTask:
    if not isinstance(child, dict) or "title" not in child:
        raise InvalidChange(kind="plan", problem=f"task {number} is not an object with a title")
    if unknown := sorted(child.keys() - CHILD_KEYS):
        problem = f"task {number} has {', '.join(unknown)}, and only {', '.join(sorted(CHILD_KEYS))} mean anything"
        raise InvalidChange(kind="plan", problem=problem)
    given: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in child.items()}
    if isinstance(given.get("assignee"), str):
        given["assignee"] = assignee_meant(given["assignee"])
    planned: PlannedTask = given  # the values are checked where the change is
    return planned
