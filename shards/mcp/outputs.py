"""What each tool answers: typed, and of bounded size. Times are UTC, as ISO 8601 has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, Field

from kanban_shards import wording
from kanban_shards.context import fit
from kanban_shards.records import Attachment, Comment, Event, Run, Task
from kanban_shards.sentences import sentence


class Output(BaseModel):
    """The answer of one tool, or a part of it."""


class TaskLine(Output):
    """A task in a list."""

    id: str
    title: str
    status: str
    assignee: str | None = None
    priority: int
    tenant: str | None = None
    created_at: datetime
    run_id: int | None = Field(default=None, description="The open run, if somebody works on it.")

    @classmethod
    def of(cls, task: Task) -> Self:
        """The line of ``task``."""
        return cls(
            id=task.id,
            title=wording.clip(task.title),
            status=task.status,
            assignee=task.assignee,
            priority=task.priority,
            tenant=task.tenant,
            created_at=_time(task.created_at),
            run_id=task.current_run_id,
        )


class TaskList(Output):
    """Some tasks."""

    tasks: list[TaskLine]
    after: str | None = Field(default=None, description="There are more: call again with this as `after`.")


class Said(Output):
    """A comment."""

    author: str
    at: datetime
    text: str | None = None

    @classmethod
    def of(cls, comment: Comment, text_bytes: int) -> Self:
        """``comment``, cut to ``text_bytes``."""
        return cls(author=comment.author, at=_time(comment.created_at), text=fit(comment.body, text_bytes))


class Attempt(Output):
    """A run."""

    run_id: int
    profile: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = Field(default=None, description="How it ended; absent while it is open.")
    summary: str | None = None
    error: str | None = None
    metadata: str | None = Field(default=None, description="Facts that its worker left, as JSON.")

    @classmethod
    def of(cls, run: Run, text_bytes: int) -> Self:
        """``run``, its texts cut to ``text_bytes``."""
        return cls(
            run_id=run.id,
            profile=run.profile,
            started_at=_time(run.started_at),
            ended_at=None if run.ended_at is None else _time(run.ended_at),
            outcome=run.outcome,
            summary=fit(run.summary, text_bytes),
            error=fit(run.error, text_bytes),
            metadata=fit(json.dumps(run.metadata, ensure_ascii=False), text_bytes) if run.metadata else None,
        )


class Happened(Output):
    """An event, in words."""

    at: datetime
    what: str

    @classmethod
    def of(cls, event: Event) -> Self:
        """What ``event`` tells."""
        return cls(at=_time(event.created_at), what=sentence(event))


class AttachedFile(Output):
    """A file of a task. ``host``: the other host that it lies on; None if it lies here."""

    name: str
    path: str
    bytes: int
    host: str | None = None

    @classmethod
    def of(cls, file: Attachment) -> Self:
        """``file``, which may be read where it lies."""
        return cls(name=file.filename, path=str(file.stored_path), bytes=file.size, host=file.host)


class TaskShown(TaskLine):
    """A task and what belongs to it."""

    body: str | None = None
    result: str | None = None
    owner: str = Field(description="The profile that may change it without having seen the latest changes.")
    block_kind: str | None = None
    parents: list[TaskLine] = Field(description="What it waits for, or waited for.")
    children: list[TaskLine] = Field(description="What waits for it.")
    runs: list[Attempt] = Field(description="Attempts at it, oldest first.")
    comments: list[Said] = Field(description="What was said about it, oldest first.")
    events: list[Happened] = Field(description="What became of it, oldest first.")
    files: list[AttachedFile]
    left_out: dict[str, int] = Field(description="How many older ones of each list are not shown.")


class Created(Output):
    """A new task."""

    task_id: str
    status: str | None = None
    is_new: bool = Field(description="False: a live task had the idempotency key already, and this is its id.")


class Claimed(Output):
    """A run that was opened."""

    run_id: int
    task: TaskLine
    lease_s: int = Field(description="The run ends so many seconds after this server does, unless it is completed.")
    workspace: str | None = Field(default=None, description="The folder to work in.")
    workspace_problem: str | None = Field(default=None, description="Why that folder could not be made.")
    context: str = Field(description="What to read before beginning: the task, earlier attempts, what was handed over.")


class NextClaim(Output):
    """What ``claim_next`` found."""

    claimed: Claimed | None = None
    nothing: str | None = Field(default=None, description="Why there is none.")


class Alive(Output):
    """An open run."""

    task_id: str
    run_id: int
    lease_ends: datetime


class Commented(Output):
    """A comment that is on the board."""

    task_id: str
    comment_id: int


class Changed(Output):
    """Where a task stands after a change to it."""

    task_id: str
    status: str
    run_id: int | None = Field(default=None, description="The run that ended with it.")


class Linked(Output):
    """Two tasks, one of which waits for the other."""

    parent_id: str
    child_id: str
    child_status: str


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
