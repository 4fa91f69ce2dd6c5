"""The page of one task: everything that the board knows of it. Runs in the reader."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kanban_shards import cards, inline_merge, wording
from kanban_shards.board import Board
from kanban_shards.diagnostics import Diagnostic, diagnose
from kanban_shards.errors import KanbanError, UnknownTask
from kanban_shards.past import PastBoard, TaskHistory
from kanban_shards.records import Task
from kanban_shards.sentences import sentence
from kanban_shards.web import looks

# The newest of each list, unless all are asked for.
SHOWN = 50


@dataclass(frozen=True)
class Told:
    """An event in words."""

    id: int
    kind: str
    sentence: str
    at_s: int


def gather(board: Board, task_id: str, query: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """What the page shows. ``query``: ``all=1`` for more than the newest of its lists. Raises UnknownTask."""
    task, card = board.task(task_id), cards.one(board, task_id)
    if task is None or card is None:
        raise UnknownTask(task_id=task_id, board=board.paths)
    is_past = isinstance(board, PastBoard)
    runs, events = board.runs(task_id), told(board, task_id)
    comments, history = board.comments(task_id), None if is_past else _history(board, task_id)
    heartbeats = {} if is_past else inline_merge.last_heartbeats(board.paths, cards.runs_of([card]))
    summary = next((run.summary for run in reversed(runs) if run.summary and run.summary != task.result), None)
    return {
        "task": task,
        "position": board.position(),
        "card": cards.alive(card, heartbeats),
        "facts": list(_facts(task)),
        "summary": summary,
        "most": None if ("all", "1") in query else SHOWN,
        "comments": comments,
        "events": events[::-1],
        "last_event": events[-1].id if events else 0,
        "runs": runs[::-1],
        "parents": cards.named(board, board.parents(task_id)),
        "children": cards.named(board, board.children(task_id)),
        "files": board.attachments(task_id),
        "subscriptions": board.subscriptions(task_id),
        "letters": [letter for letter in board.dead_letters(task_id=task_id) if not letter.resend],
        "history": history,
        "diagnostics": [] if is_past else _diagnostics(board, task_id),
    }


def told(board: Board, task_id: str, after: int = 0) -> list[Told]:
    """The events of the task with an id above ``after``, in words, oldest first."""
    events = board.events_of(task_id, after)
    return [Told(event.id, event.kind, sentence(event), event.created_at) for event in events]


def _diagnostics(board: Board, task_id: str) -> list[Diagnostic]:
    return [each for _, found in diagnose(board, int(time.time()), task_id=task_id) for each in found]


def _history(board: Board, task_id: str) -> TaskHistory | None:
    """Each change of the task, from the ledger; None where that cannot be read, as the page on health tells."""
    try:
        with inline_merge.open_history(board.paths) as history:
            return history.of_task(task_id)
    except KanbanError:
        return None


def _facts(task: Task) -> list[tuple[str, object]]:
    """What is beside the text: names and values, and only those that say something."""
    told = {
        "owner": task.owner,
        "priority": task.priority or None,
        "tenant": task.tenant,
        "created": looks.at(task.created_at),
        "by": task.created_by,
        "started": looks.at(task.started_at),
        "completed": looks.at(task.completed_at),
        "blocked for": task.block_kind and task.block_kind.replace("_", " ") if task.status == "blocked" else None,
        "failures": task.consecutive_failures or None,
        "workspace": " ".join(filter(None, (task.workspace_kind, task.workspace_path))),
        "branch": task.branch_name,
        "project": task.project_id,
        "skills": ", ".join(map(str, task.skills or ())),
        "model": task.model_override,
        "max runtime": task.max_runtime_seconds and wording.age(task.max_runtime_seconds),
        "max retries": task.max_retries,
        "from chat": task.session_id,
        "changed hands": wording.many(task.epoch, "time") if task.epoch else None,
    }
    return [(name, value) for name, value in told.items() if value not in (None, "")]
