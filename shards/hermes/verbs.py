"""What Hermes answers with False: a change that was refused, or is of no task."""

from __future__ import annotations

from kanban_shards.changes.fields import Body
from kanban_shards.errors import InvalidTaskId, Refused, UnknownTask
from kanban_shards.records import Verdict
from kanban_shards.writer import Writer


def applies(writer: Writer, task_id: str, change: Body) -> Verdict | None:
    """The verdict that ``change`` was applied; None if it was refused, or there is no such task. Raises Undecided."""
    try:
        return writer.ask(task_id, change)
    except (Refused, UnknownTask, InvalidTaskId):
        return None
