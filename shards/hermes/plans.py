"""Plans: tasks in triage that get their words, or become a graph of tasks."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any

from kanban_shards.changes.identities import new_task
from kanban_shards.changes.kinds import Decompose, PlannedChild, Specify
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import writer_of
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.verbs import applies


def specify_triage_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    title: str | None = None,
    body: str | None = None,
    assignee: str | None = None,
    author: str | None = None,
) -> bool:
    """Whether the task was in triage. Raises ValueError for a blank title."""
    if title is not None and not title.strip():
        raise ValueError("title cannot be blank")
    said = {"title": title, "body": body, "assignee": hermes.now._canonical_assignee(assignee)}
    fields: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    author = (author or "").strip() or None
    return applies(writer_of(conn.paths), task_id, Specify(**fields, author=author)) is not None


def decompose_triage_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    root_assignee: str | None,
    children: list[dict[str, Any]],
    author: str | None = None,
    auto_promote: bool = True,
) -> list[str] | None:
    """The ids of the new tasks; None if the task was not in triage. Raises ValueError for a plan that is none."""
    if not children:
        return None
    for number, child in enumerate(children):
        _check(number, child, len(children))
    _check_no_circle(children)
    writer = writer_of(conn.paths)
    change = Decompose(
        children=tuple(_planned(hermes, writer.profile, child, author or "decomposer") for child in children),
        root_assignee=hermes.now._canonical_assignee(root_assignee),
        author=(author or "").strip() or None,
        auto_promote=auto_promote,
    )
    verdict = applies(writer, task_id, change)
    return None if verdict is None else list(verdict.answer["child_ids"])


def _planned(hermes: Hermes, profile: str, child: dict[str, Any], created_by: str) -> PlannedChild:
    new = new_task(profile)
    body = child.get("body")
    return PlannedChild(
        id=new.id,
        salt=new.salt,
        title=child["title"].strip(),
        body=body if isinstance(body, str) else None,
        assignee=hermes.now._canonical_assignee(child.get("assignee")),
        parents=tuple(child.get("parents") or ()),
        created_by=created_by,
        workspace_kind=child.get("workspace_kind") or None,
        workspace_path=child.get("workspace_path") or None,
    )


def _check(number: int, child: object, count: int) -> None:
    """Raise ValueError in Hermes's words."""
    if not isinstance(child, dict):
        raise ValueError(f"child[{number}] is not a dict")
    title = child.get("title")
    if not isinstance(title, str) or not title.strip():
        raise ValueError(f"child[{number}].title is required")
    parents = child.get("parents") or []
    if not isinstance(parents, list):
        raise ValueError(f"child[{number}].parents must be a list")
    for parent in parents:
        if not isinstance(parent, int) or not 0 <= parent < count:
            raise ValueError(f"child[{number}].parents[{parent}] is not a valid index into children")
        if parent == number:
            raise ValueError(f"child[{number}] cannot list itself as a parent")


def _check_no_circle(children: list[dict[str, Any]]) -> None:
    graph = {number: child.get("parents") or [] for number, child in enumerate(children)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise ValueError("cyclic dependency detected in decomposed children list") from error
