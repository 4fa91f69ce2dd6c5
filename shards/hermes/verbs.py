"""What all verbs of Hermes share: a change that was refused, or is of no task, is answered with False; and how it names
a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kanban_shards.changes.fields import Body
from kanban_shards.errors import InvalidTaskId, Refused, UnknownTask
from kanban_shards.hermes.identity import settle_surely
from kanban_shards.paths import BoardPaths
from kanban_shards.records import Verdict
from kanban_shards.writer import Writer

Found = TypeVar("Found")


def applies(writer: Writer, task_id: str, change: Body) -> Verdict | None:
    """The verdict that ``change`` was applied; None if it was refused, or there is no such task. Raises Undecided."""
    try:
        return writer.ask(task_id, change)
    except (Refused, UnknownTask, InvalidTaskId):
        return None


def shown(paths: BoardPaths, look: Callable[[], Found | None]) -> Found | None:
    """What ``look`` finds on the board; None only if that has all that this process wrote. Raises EarlierUndecided."""
    found = look()
    return look() if found is None and settle_surely(paths) else found


def named_run(expected_run_id: int | str | None) -> int | None:
    """The run that a worker says it is, which Hermes takes from the environment, so that it may be digits."""
    return None if expected_run_id is None else int(expected_run_id)
