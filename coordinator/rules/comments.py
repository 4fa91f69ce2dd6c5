"""Comments: what is said about a task."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import AddComment
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.state.board_state import BoardState, TaskState


def comment(board: BoardState, entry: Entry, body: AddComment, task: TaskState) -> dict[str, Any]:
    """Add the comment. The event names the profile whose shard it came from, whatever author it shows."""
    author = body.author or entry.change.profile
    comment_id = board.add_comment(task.id, author, body.text)
    board.add_event(task.id, "commented", {"author": author, "len": len(body.text), "by": entry.change.profile})
    return {"comment_id": comment_id}
