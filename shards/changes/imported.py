"""The rows that an import brings, one class for each of Hermes's tables; their fields are its columns.

They are clean when they are here: whatever an old board held that does not fit was changed, or named as lost, by
coordinator/hermes/importer.py.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kanban_shards.changes.fields import ADDING, Body, Count, Id, Line, Profile, TaskId, Text
from kanban_shards.records import Status

Number = Annotated[int, Meta(ge=-(2**53), le=2**53)]
# Seconds since 1970, until the year 9999: later ones no calendar can show.
LAST_MOMENT_S = 253_402_300_799
Moment = Annotated[int, Meta(ge=0, le=LAST_MOMENT_S)]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A row of a table. What is not said is as Hermes would have it."""


class TaskRow(Row, frozen=True):
    """A row of ``tasks``, without its id."""

    title: str
    status: Status
    created_at: Moment
    body: str | None = None
    assignee: str | None = None
    priority: Number | None = 0
    created_by: str | None = None
    started_at: Moment | None = None
    completed_at: Moment | None = None
    workspace_kind: str = "scratch"
    workspace_path: str | None = None
    branch_name: str | None = None
    project_id: str | None = None
    claim_lock: str | None = None
    claim_expires: Moment | None = None
    tenant: str | None = None
    result: str | None = None
    idempotency_key: str | None = None
    consecutive_failures: Number = 0
    worker_pid: Number | None = None
    last_failure_error: str | None = None
    max_runtime_seconds: Number | None = None
    last_heartbeat_at: Moment | None = None
    current_run_id: Id | None = None
    workflow_template_id: str | None = None
    current_step_key: str | None = None
    skills: str | None = None
    model_override: str | None = None
    max_retries: Number | None = None
    goal_mode: Number = 0
    goal_max_turns: Number | None = None
    session_id: str | None = None
    block_kind: str | None = None
    block_recurrences: Number = 0
    provider_override: str | None = None
    reasoning_effort: str | None = None


class RunRow(Row, frozen=True):
    """A row of ``task_runs``."""

    id: Id
    status: str
    started_at: Moment
    profile: str | None = None
    step_key: str | None = None
    claim_lock: str | None = None
    claim_expires: Moment | None = None
    worker_pid: Number | None = None
    max_runtime_seconds: Number | None = None
    last_heartbeat_at: Moment | None = None
    ended_at: Moment | None = None
    outcome: str | None = None
    summary: str | None = None
    metadata: str | None = None
    error: str | None = None


class EventRow(Row, frozen=True):
    """A row of ``task_events``. ``payload`` is JSON text."""

    id: Id
    kind: str
    created_at: Moment
    run_id: Number | None = None
    payload: str | None = None


class CommentRow(Row, frozen=True):
    """A row of ``task_comments``."""

    id: Id
    author: str
    body: str
    created_at: Moment


class AttachmentRow(Row, frozen=True):
    """A row of ``task_attachments``."""

    id: Id
    filename: str
    stored_path: str
    created_at: Moment
    content_type: str | None = None
    size: Number = 0
    uploaded_by: str | None = None


class SubscriptionRow(Row, frozen=True):
    """A row of ``kanban_notify_subs``. ``last_event_id``: the newest event that the chat was told of."""

    platform: str
    chat_id: str
    created_at: Moment
    thread_id: str = ""
    user_id: str | None = None
    notifier_profile: str | None = None
    last_event_id: Annotated[int, Meta(ge=0, le=2**53)] = 0
    chat_type: str | None = None
    delivery_mode: str = "notify"
    delivery_metadata: str | None = None


ROWS: dict[str, type[Row]] = {
    "task_runs": RunRow,
    "task_events": EventRow,
    "task_comments": CommentRow,
    "task_attachments": AttachmentRow,
    "kanban_notify_subs": SubscriptionRow,
}


class Import(Body, frozen=True):
    """A board of Hermes's is brought here. ``digest``: of its rows. ``ids``: for each counted table, the largest id
    that the import will bring; later ones go on after it. Written by the coordinator alone, as are the next two."""

    digest: Line
    source: Text
    ids: dict[str, Count]
    tasks: Count = 0


class ImportTask(Body, frozen=True):
    """A task of that board, with the run that is open on it. ``creator``: the profile that counts as its maker;
    ``forced``: ready although a parent is open; ``due_s``: when a scheduled one goes on."""

    task: TaskRow
    creator: Profile
    parents: tuple[TaskId, ...] = ()
    run: RunRow | None = None
    run_profile: Profile | None = None
    reviewing: bool = False
    forced: bool = False
    due_s: Count | None = None


class ImportRows(Body, frozen=True):
    """Rows that belong to an imported task; as many entries of these as it takes."""

    rule = ADDING
    task_runs: tuple[RunRow, ...] = ()
    task_events: tuple[EventRow, ...] = ()
    task_comments: tuple[CommentRow, ...] = ()
    task_attachments: tuple[AttachmentRow, ...] = ()
    kanban_notify_subs: tuple[SubscriptionRow, ...] = ()
