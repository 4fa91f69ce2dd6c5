"""Comments: what is said about a task, by people and by programs."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import AddComment, Note
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState, TaskState


def comment(board: BoardState, entry: Entry, body: AddComment, task: TaskState) -> dict[str, Any]:
    """Add the comment. The event names the profile whose shard it came from, whatever author it shows."""
    author = body.author or entry.change.profile
    comment_id = board.add_comment(task.id, author, body.text)
    board.add_event(task.id, "commented", {"author": author, "len": len(body.text), "by": entry.change.profile})
    return {"comment_id": comment_id}


def note(board: BoardState, entry: Entry, body: Note, task: TaskState) -> dict[str, Any]:
    """Add the event. It names the profile whose shard it came from, whatever its facts say."""
    run_id = body.about_run
    if run_id is not None and run_id != task["current_run_id"] and not board.has_run(task.id, run_id):
        raise Refusal("late", f"{task.id} has no run {run_id}")
    facts = {**(body.facts or {}), "by": entry.change.profile}
    return {"event_id": board.add_event(task.id, body.event, facts, run_id)}
