"""Plans: tasks in triage that get their words, or become a graph of tasks."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from kanban_shards.changes.kinds import Decompose, PlannedChild, Specify
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.links import settle_children, settle_waiting
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.rules.runs import require
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.coordinator.state.session import json_text


def specify(board: BoardState, entry: Entry, body: Specify, task: TaskState) -> dict[str, Any]:
    """The task says now what is to be done, and leaves triage."""
    require(task, ("triage",), "specified")
    fields = {name: getattr(body, name) for name in ("title", "body", "assignee")}
    changed = sorted(name for name, value in fields.items() if value not in (msgspec.UNSET, task[name]))
    for name in changed:
        task[name] = fields[name]
    if changed and body.author:
        board.add_comment(task.id, body.author, f"Specified: {', '.join(changed)}")
    task["status"] = "todo"
    board.add_event(task.id, "specified", {"changed_fields": changed, "by": entry.change.profile})
    settle_waiting(board, task)
    return {"status": task["status"], "changed_fields": changed}


def decompose(board: BoardState, entry: Entry, body: Decompose, task: TaskState) -> dict[str, Any]:
    """The task waits for a graph of new ones, which are made in the same change."""
    require(task, ("triage",), "decomposed")
    _check_plan(board, body)
    ids = [child.id for child in body.children]
    for child in body.children:
        _add_child(board, entry, task, child)
    for child in body.children:
        for number in sorted(set(child.parents)):
            board.add_link(ids[number], child.id)
            board.add_event(child.id, "linked", {"parent": ids[number], "child": child.id})
    for child_id in ids:
        board.add_link(child_id, task.id)
    task["status"] = "todo"
    if body.root_assignee is not None:
        task["assignee"] = body.root_assignee
    if body.author:
        board.add_comment(task.id, body.author, f"Decomposed into {', '.join(ids)}")
    payload = {"child_ids": ids, "root_assignee": body.root_assignee, "by": entry.change.profile}
    board.add_event(task.id, "decomposed", payload)
    if body.auto_promote:
        settle_children(board, ids)
    return {"child_ids": ids}


def _check_plan(board: BoardState, body: Decompose) -> None:
    ids = [child.id for child in body.children]
    taken = board.taken(ids)
    if taken or len(set(ids)) < len(ids):
        raise Refusal("taken_id", f"the plan uses ids twice: {', '.join(sorted(taken)) or 'among its own'}")
    count = len(ids)
    if any(number >= count for child in body.children for number in child.parents):
        raise Refusal("unknown_parent", f"the plan has {count} tasks, and one waits for a number beyond that")
    graph = {number: set(child.parents) for number, child in enumerate(body.children)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise Refusal("cycle", "tasks of the plan would wait for each other") from error


def _add_child(board: BoardState, entry: Entry, root: TaskState, child: PlannedChild) -> None:
    kind = child.workspace_kind or root["workspace_kind"]
    inherited = root["workspace_path"] if kind == root["workspace_kind"] else None
    created_by = child.created_by or entry.change.profile
    board.add_task(
        {
            "id": child.id,
            "title": child.title,
            "body": child.body,
            "assignee": child.assignee,
            "status": "todo",
            "priority": child.priority,
            "created_by": created_by,
            "created_at": board.now_s,
            "workspace_kind": kind,
            "workspace_path": child.workspace_path or inherited,
            "tenant": child.tenant or root["tenant"],
            "project_id": root["project_id"],
            "session_id": root["session_id"],
            "skills": json_text(child.skills),
        },
        creator=entry.change.profile,
        owner=child.assignee or entry.change.profile,
    )
    board.add_event(child.id, "created", {"by": entry.change.profile, "from_decompose_of": root.id})
