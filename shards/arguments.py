"""What a call of a Gateway may say of a task, by name: the fields of the changes in shards/changes/kinds.py.

A field that is left out keeps its default (a new task) or its value (a task that is there); None empties it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NotRequired, Required, TypedDict

from kanban_shards.changes.kinds import CardCheck, Start, WorkspaceKind
from kanban_shards.paths import BoardPaths


class Opening(TypedDict, total=False):
    """Which board a writer opens, and how it waits; see Writer."""

    board: str | None
    home: str | os.PathLike[str] | None
    paths: BoardPaths | None
    patience_s: float
    looks: int
    lanes: bool


class Chat(TypedDict, total=False):
    """A chat that is told what becomes of a task; ``platform`` and ``chat_id`` name it, and the others are as in
    ``Gateway.subscribe``."""

    platform: Required[str]
    chat_id: Required[str]
    thread_id: str
    user_id: str | None
    notifier_profile: str | None
    from_start: bool
    chat_type: str | None
    kinds: Sequence[str] | None
    unadopted: bool


class TaskFields(TypedDict, total=False):
    """Of a new task. ``parents`` and ``title`` are parameters of their own.

    ``body``: what is to be done, in full. ``assignee``: the profile whose turn it is. ``created_by``: shown as its
    maker; the profile that wrote it is kept in any case. ``priority``: higher is sooner, 0 unless said. ``starts``:
    ``blocked`` or ``triage``; else it is ready, or waits for its parents. ``idempotency_key``: one live task for each.
    ``tenant``: a namespace to filter by. ``workspace_kind``, ``workspace_path``, ``branch_name``, ``project_id``: where
    it is worked on; ``scratch`` unless said. ``max_runtime_seconds``: how long a run may take. ``skills``: what its
    worker loads. ``max_retries``: it is blocked after so many failures in a row; else as the board's limit says.
    ``goal_mode``, ``goal_max_turns``: the worker goes on until the goal is reached, for so many turns at most.
    ``session_id``: the chat that it came from. ``model_override``, ``provider_override``, ``reasoning_effort``: the
    worker's model.
    """

    body: str | None
    assignee: str | None
    created_by: str | None
    priority: int
    starts: Start | None
    idempotency_key: str | None
    tenant: str | None
    workspace_kind: WorkspaceKind
    workspace_path: str | None
    branch_name: str | None
    project_id: str | None
    max_runtime_seconds: int | None
    skills: tuple[str, ...] | None
    max_retries: int | None
    goal_mode: bool
    goal_max_turns: int | None
    session_id: str | None
    model_override: str | None
    provider_override: str | None
    reasoning_effort: str | None


class EditFields(TypedDict, total=False):
    """New values of a task, each as in TaskFields. ``result``, ``summary`` and ``metadata`` (what a JSON object may be)
    are those of a task that is done."""

    title: str
    body: str | None
    priority: int
    tenant: str | None
    workspace_path: str | None
    branch_name: str | None
    max_runtime_seconds: int | None
    max_retries: int | None
    result: str | None
    summary: str | None
    metadata: dict[str, Any] | None


class CompleteFields(TypedDict, total=False):
    """What is said of a task that is done. ``result``: what came of it, for people; ``summary`` and ``metadata`` (what
    a JSON object may be): what the tasks that waited for it are handed. ``created_cards``: ids of tasks that the worker
    made; the completion is refused if one of them is not its own. ``card_check``: its own is what the run's profile or
    its claimer ``made`` (also unless said), or also what is ``shown`` as made by the task's assignee, or waits for the
    task, as Hermes has it. ``artifacts``: paths of files that came of it, which chats may be sent."""

    result: str | None
    summary: str | None
    metadata: dict[str, Any] | None
    created_cards: Sequence[str]
    card_check: CardCheck
    artifacts: Sequence[str]


class SpecifyFields(TypedDict, total=False):
    """What a task in triage is about. ``author``: a comment by that name says that it was done."""

    title: str
    body: str | None
    assignee: str | None
    author: str | None


class PlannedTask(TypedDict):
    """One task of a plan. ``parents``: which of its siblings it waits for, by their place in the plan, from 0.
    ``tenant``, ``workspace_kind``, ``workspace_path``: those of the task that is planned, where they are not said, but
    no path of a workspace of another kind. ``created_by``: who is shown as its maker."""

    title: str
    body: NotRequired[str | None]
    assignee: NotRequired[str | None]
    priority: NotRequired[int]
    skills: NotRequired[Sequence[str] | None]
    parents: NotRequired[Sequence[int]]
    created_by: NotRequired[str | None]
    tenant: NotRequired[str | None]
    workspace_kind: NotRequired[WorkspaceKind | None]
    workspace_path: NotRequired[str | None]


class Limits(TypedDict, total=False):
    """Limits of the whole board; None lifts one. Open runs in all and of one profile, and failures in a row before a
    task is blocked (2, where none is set)."""

    max_in_progress: int | None
    max_in_progress_per_profile: int | None
    failure_limit: int | None
