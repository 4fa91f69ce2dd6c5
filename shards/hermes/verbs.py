"""What all verbs of Hermes share: a change that was refused, or is of no task, is answered with False; and how it names
a run."""

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


def named_run(expected_run_id: int | str | None) -> int | None:
    """The run that a worker says it is, which Hermes takes from the environment, so that it may be digits."""
    return None if expected_run_id is None else int(expected_run_id)
