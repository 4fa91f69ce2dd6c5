"""A worker's context: what it should read before it begins, in one text of bounded size.

The parts are those that Hermes's workers get: the task, its files, earlier attempts, what the parents handed over,
what the assignee did elsewhere, and the comments. Names that other agents chose are quoted and kept on one line, so
that a comment's author cannot pass for an instruction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.records import Run

BODY_BYTES = 8 * 1024
FIELD_BYTES = 4 * 1024
ATTEMPTS = 10
COMMENTS = 30
RECENT = 5
PARENTS = 100


def gather(board: Board, task_id: str) -> dict[str, Any]:
    """Everything that the worker of ``task_id`` should know, every text cut to size, for programs and ``render``.

    Raises InvalidTaskId, UnknownTask.
    """
    task = board.known_task(task_id)
    attempts = [run for run in board.runs(task_id) if run.ended_at is not None]
    comments = board.comments(task_id)
    recent = board.completed_by(task.assignee, other_than=task_id, limit=RECENT) if task.assignee else []
    return {
        "task": {**task.as_hermes(), "body": fit(task.body, BODY_BYTES), "result": fit(task.result)},
        "max_runtime_seconds": task.max_runtime_seconds,
        "attachments": [each.as_dict() for each in board.attachments(task_id)],
        "attempts": [_attempt(run) for run in attempts[-ATTEMPTS:]],
        "attempts_omitted": max(0, len(attempts) - ATTEMPTS),
        "parents": list(_done_parents(board, task_id)),
        "recent": [{**each, "summary": fit(each["summary"])} for each in recent],
        "comments": [{**each.as_dict(), "body": fit(each.body)} for each in comments[-COMMENTS:]],
        "comments_omitted": max(0, len(comments) - COMMENTS),
    }


def render(gathered: dict[str, Any], now_s: int) -> str:
    """The text of what ``gather`` found. ``now_s``: seconds since 1970, for the ages it names."""
    parts = (_task, _files, _attempts, _parents, _recent, _comments)
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part(gathered, now_s)))) + "\n"


def fit(given: str | None, limit_bytes: int = FIELD_BYTES) -> str | None:
    """``given``, cut to ``limit_bytes`` of UTF-8; what is cut is counted at the end."""
    data = (given or "").strip().encode()
    if len(data) <= limit_bytes:
        return data.decode() or None
    mark = f"… ({len(data) - limit_bytes} bytes more)"
    return data[: limit_bytes - len(mark.encode())].decode(errors="ignore") + mark


def _attempt(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "profile": run.profile,
        "outcome": run.outcome or run.status,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "summary": fit(run.summary),
        "error": fit(run.error),
        "metadata": _metadata(run),
    }


def _metadata(run: Run | None) -> str | None:
    """As text: cut to size, it may no longer be JSON."""
    return fit(json.dumps(run.metadata, ensure_ascii=False, sort_keys=True)) if run and run.metadata else None


def _done_parents(board: Board, task_id: str) -> Iterator[dict[str, Any]]:
    for parent_id in board.parents(task_id)[:PARENTS]:
        parent = board.task(parent_id)
        if parent is None or parent.status != "done":
            continue
        run = next((run for run in reversed(board.runs(parent_id)) if run.outcome == "completed"), None)
        yield {
            "task_id": parent_id,
            "title": parent.title,
            "completed_at": (run and run.ended_at) or parent.completed_at,
            "summary": fit((run and run.summary) or parent.result),
            "metadata": _metadata(run),
        }


def _task(gathered: dict[str, Any], now_s: int) -> Iterator[str]:
    task = gathered["task"]
    yield f"# Task {task['id']}: {_line(task['title'])}"
    yield ""
    facts = {
        "Assignee": task["assignee"] or "nobody",
        "Status": task["status"],
        "Tenant": task["tenant"],
        "Workspace": " at ".join(filter(None, (task["workspace_kind"], task["workspace_path"]))),
        "Branch": task["branch_name"],
        "Time limit": gathered["max_runtime_seconds"] and wording.age(gathered["max_runtime_seconds"]),
    }
    yield from (f"{name}: {_line(fact)}" for name, fact in facts.items() if fact)
    if task["body"]:
        yield from ("", "## What is to be done", "", task["body"])


def _files(gathered: dict[str, Any], now_s: int) -> Iterator[str]:
    if not gathered["attachments"]:
        return
    yield from ("## Files", "", "They belong to the task; read them where they lie.", "")
    for file in gathered["attachments"]:
        kind = f", {_line(file['content_type'])}" if file["content_type"] else ""
        size = wording.many(file["size"], "byte")
        where = f"on the host {file['host']}, at " if "host" in file else ""
        yield f"- {_quoted(file['filename'])} ({size}{kind}): {where}{_quoted(file['stored_path'])}"


def _attempts(gathered: dict[str, Any], now_s: int) -> Iterator[str]:
    if not gathered["attempts"]:
        return
    yield from ("## Earlier attempts", "")
    omitted = gathered["attempts_omitted"]
    if omitted:
        yield f"The newest {len(gathered['attempts'])} of {omitted + len(gathered['attempts'])}."
    for number, attempt in enumerate(gathered["attempts"], start=omitted + 1):
        yield f"### Attempt {number}: {attempt['outcome']}, by {attempt['profile']}, {_ago(attempt['ended_at'], now_s)}"
        yield from filter(None, (attempt["summary"], _labeled("Error", attempt["error"]),
                                 _labeled("Metadata", attempt["metadata"])))  # fmt: skip


def _parents(gathered: dict[str, Any], now_s: int) -> Iterator[str]:
    if not gathered["parents"]:
        return
    yield from ("## What the tasks before this one handed over", "")
    yield "Each was true when it was written; check what is old before you rely on it."
    for parent in gathered["parents"]:
        yield f"### {parent['task_id']}: {_line(parent['title'])}, {_ago(parent['completed_at'], now_s)}"
        yield parent["summary"] or "It left no result."
        yield from filter(None, (_labeled("Metadata", parent["metadata"]),))


def _recent(gathered: dict[str, Any], now_s: int) -> Iterator[str]:
    if not gathered["recent"]:
        return
    yield from (f"## What {gathered['task']['assignee']} completed lately", "")
    for done in gathered["recent"]:
        said = wording.clip(done["summary"]) or "no summary"
        yield f"- {done['task_id']} {_line(done['title'])}, {_ago(done['ended_at'], now_s)}: {said}"


def _comments(gathered: dict[str, Any], now_s: int) -> Iterator[str]:
    if not gathered["comments"]:
        return
    yield from ("## Comments", "")
    if gathered["comments_omitted"]:
        yield f"The newest {len(gathered['comments'])}; {gathered['comments_omitted']} older ones are left out."
    for comment in gathered["comments"]:
        yield f"Comment by {_quoted(comment['author'])}, {_ago(comment['created_at'], now_s)}:"
        yield comment["body"] or ""


def _labeled(name: str, given: str | None) -> str | None:
    return given and f"{name}: {given}"


def _ago(then_s: int | None, now_s: int) -> str:
    return "at an unknown time" if then_s is None else f"{wording.age(max(0, now_s - then_s))} ago"


def _line(given: str) -> str:
    return " ".join(given.split())


def _quoted(name: str) -> str:
    return f"`{_line(name).replace('`', '')}`"
