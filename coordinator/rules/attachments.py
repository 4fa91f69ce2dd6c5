"""Attachments: files that belong to a task. The board keeps their rows; the bytes lie in the attachments folder."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import Attach, Detach
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.state.board_state import BoardState, TaskState


def attach(board: BoardState, entry: Entry, body: Attach, task: TaskState) -> dict[str, Any]:
    """The file belongs to the task."""
    by = body.uploaded_by or entry.change.profile
    attachment_id = board.add_attachment(
        {
            "task_id": task.id,
            "filename": body.filename,
            "stored_path": body.stored_path,
            "content_type": body.content_type,
            "size": body.size,
            "uploaded_by": by,
            "created_at": board.now_s,
        }
    )
    if (home := board.home_of(entry.change.profile)) is not None:
        board.keep_file_on(home.host, attachment_id, task.id, body.stored_path)
    board.add_event(task.id, "attached", {"filename": body.filename, "size": body.size, "by": by})
    return {"attachment_id": attachment_id}


def detach(board: BoardState, entry: Entry, body: Detach, task: TaskState) -> dict[str, Any]:
    """The file no longer belongs to the task. Detaching twice changes nothing."""
    found = board.remove_attachment(task.id, body.attachment_id)
    if found is None:
        return {"detached": False}
    filename, stored_path = found
    board.file_was_removed(body.attachment_id)
    board.add_event(task.id, "attachment_removed", {"filename": filename, "by": entry.change.profile})
    return {"detached": True, "stored_path": stored_path}
