"""What each tool takes: typed, described for a model, and within limits. An argument that there is not is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kanban_shards.changes.fields import PARENTS_LIMIT, TEXT_LIMIT, BlockKind
from kanban_shards.records import Status

TASKS_SHOWN = 20
# Of tasks in one answer, and of each text in `show`, in bytes.
TASKS_LIMIT = 100
TEXT_SHOWN = 8 * 1024
# In characters, as a change may have it (shards/changes/fields.py).
TITLE_LIMIT = 10_000

TaskId = Annotated[str, Field(pattern=r"^t_[0-9a-f]{8,64}$", description="The task's id, as in t_3f2a9c1e.")]
RunId = Annotated[
    int | None,
    Field(ge=1, le=2**53, description="The run's number. Needed if another connection claimed it; else left out."),
]
Line = Annotated[str, Field(min_length=1, max_length=1_000)]
Text = Annotated[str, Field(max_length=TEXT_LIMIT)]
ProfileName = Annotated[str, Field(min_length=1, max_length=64)]
Limit = Annotated[int, Field(ge=1, le=TASKS_LIMIT, description="At most so many tasks.")]
After = Annotated[
    str | None,
    Field(max_length=100_000, description="To see more: the `after` of the answer before, with the same other words."),
]
Statuses = Annotated[
    list[Status], Field(max_length=9, description="Only tasks in one of these; left out: all but archived ones.")
]
Metadata = Annotated[
    dict[str, Any] | None, Field(description="Facts for programs and for the tasks that wait for this one.")
]


class Input(BaseModel):
    """The arguments of one tool."""

    model_config = ConfigDict(extra="forbid")


class ListTasks(Input):
    """Of ``list``."""

    mine: bool = Field(False, description="Only tasks that are assigned to the profile of this server.")
    assignee: ProfileName | None = Field(None, description="Only tasks that are assigned to this profile.")
    unassigned: bool = Field(False, description="Only tasks that are assigned to nobody.")
    status: Statuses = []
    tenant: Line | None = Field(None, description="Only tasks of this tenant.")
    limit: Limit = TASKS_SHOWN
    after: After = None


class Search(Input):
    """Of ``search``."""

    text: Line = Field(description="What is looked for, in ids, titles and texts; small and capital letters alike.")
    status: Statuses = []
    limit: Limit = TASKS_SHOWN
    after: After = None


class Show(Input):
    """Of ``show``."""

    task_id: TaskId
    text_bytes: int = Field(
        TEXT_SHOWN, ge=256, le=TEXT_LIMIT, description="Longer texts are cut to so many bytes, and say so."
    )


class Create(Input):
    """Of ``create``."""

    title: str = Field(min_length=1, max_length=TITLE_LIMIT, description="What it is called, in one line.")
    body: Text | None = Field(None, description="What is to be done, in full.")
    assignee: ProfileName | None = Field(None, description="The profile whose turn it is; left out: anybody's.")
    priority: int = Field(0, ge=-(2**31), le=2**31, description="Higher is sooner.")
    parents: list[TaskId] = Field([], max_length=PARENTS_LIMIT, description="Tasks that have to be done before it.")
    tenant: Line | None = Field(None, description="A namespace to filter by.")
    starts: Literal["blocked", "triage"] | None = Field(
        None, description="Where it starts; left out: ready, or waiting for its parents."
    )
    idempotency_key: Line | None = Field(
        None, description="One live task for each key: a repeated call gives the task that there is."
    )


class Claim(Input):
    """Of ``claim``."""

    task_id: TaskId


class ClaimNext(Input):
    """Of ``claim_next``."""


class Heartbeat(Input):
    """Of ``heartbeat``."""

    task_id: TaskId
    run_id: RunId = None
    note: Text | None = Field(None, description="Where the work is, for whoever looks.")


class Comment(Input):
    """Of ``comment``."""

    task_id: TaskId
    text: Text = Field(min_length=1, description="What is to be said about the task.")


class Complete(Input):
    """Of ``complete``."""

    task_id: TaskId
    run_id: RunId = None
    summary: Text | None = Field(None, description="What whoever goes on from here has to know.")
    result: Text | None = Field(None, description="What came of it, for people.")
    metadata: Metadata = None
    created_cards: list[TaskId] = Field(
        [], max_length=PARENTS_LIMIT, description="Tasks that this work made; refused unless it did."
    )


class Block(Input):
    """Of ``block``."""

    task_id: TaskId
    run_id: RunId = None
    reason: Text = Field(min_length=1, description="Why it cannot go on, for the person who will read it.")
    kind: BlockKind | None = Field(None, description="The same in a word; dependency: it waits for its parents.")


class Unblock(Input):
    """Of ``unblock``."""

    task_id: TaskId
    reason: Text | None = Field(None, description="What was decided.")


class Release(Input):
    """Of ``release``."""

    task_id: TaskId
    run_id: RunId = None
    reason: Text | None = Field(None, description="Why it is given back.")


class Link(Input):
    """Of ``link``."""

    parent_id: TaskId = Field(description="The task that has to be done first.")
    child_id: TaskId = Field(description="The task that waits for it.")
