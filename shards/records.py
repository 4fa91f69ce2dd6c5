"""What a reader of the board gets: plain records with Hermes's fields, in Hermes's order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self, get_args

import msgspec

from kanban_shards.clocks import DRIFT_S

Status = Literal["triage", "todo", "scheduled", "ready", "running", "blocked", "review", "done", "archived"]
STATUSES: tuple[Status, ...] = get_args(Status)
TERMINAL = ("done", "archived")
OPEN: tuple[Status, ...] = tuple(status for status in STATUSES if status not in TERMINAL)
# The events that Hermes tells chats of.
DELIVERED_KINDS = ("completed", "blocked", "gave_up", "crashed", "timed_out", "status", "archived", "unblocked")

# The keys that `hermes kanban … --json` gives for a task, in its order.
TASK_JSON_KEYS = (
    "id", "title", "body", "assignee", "status", "priority", "tenant", "workspace_kind", "workspace_path",
    "branch_name", "project_id", "created_by", "created_at", "started_at", "completed_at", "result", "skills",
    "max_retries", "session_id", "workflow_template_id", "current_step_key",
)  # fmt: skip


class Record(msgspec.Struct, frozen=True):
    """A row of the board. Every time is in whole seconds since 1970, unless its name ends in ``_ms``."""

    # How a column's value becomes the field's, where it is not the same.
    _read: ClassVar[dict[str, Callable[[Any], Any]]] = {}

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """The record of a row that holds at least its columns."""
        found = dict(zip(row.keys(), row, strict=True))  # a look into a row by name goes through all its names
        names: tuple[str, ...] = cls.__match_args__  # its fields
        values: dict[str, Any] = {name: found[name] for name in names}
        for name, read in cls._read.items():
            values[name] = read(values[name])
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """The record as a dict, for JSON."""
        return msgspec.structs.asdict(self)


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def as_written(text: str) -> Any:
    """What an author wrote as JSON; the text itself where it is none, for which it was refused."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _facts(text: str | None) -> Any:
    return {} if text is None else json.loads(text)


class Task(Record, frozen=True):
    """One task: Hermes's columns, in Hermes's order, and after them what the merge keeps.

    ``assignee``: whose turn it is; None for nobody's. ``priority``: higher is sooner. ``created_by``: who is shown as
    its maker. ``workspace_kind``: scratch, worktree or dir, and ``workspace_path`` where that lies. ``claim_lock``:
    who claimed it, as Hermes shows it; ``claim_expires``: until when the open run is believed alive.
    ``current_run_id``: the open run; None for none. ``worker_pid``: the process of its worker.
    ``consecutive_failures``: runs that failed since one did not; ``max_retries``: how many block it, and None leaves
    that to the board. ``max_runtime_seconds``: how long a run may take. ``skills``: what its worker loads.
    ``goal_mode``: the worker goes on until the goal is reached, ``goal_max_turns`` turns at most. ``block_kind``: why
    it is blocked, in a word; ``block_recurrences``: how often it was blocked for that again.

    ``owner``: the profile that may change it without looking first. ``epoch``: how often that moved. ``vector``: the
    newest deciding change of each profile that was applied to it, ``{profile: seq}``. ``run_claimer``: the profile
    that claimed the open run.
    """

    id: str
    title: str
    body: str | None
    assignee: str | None
    status: Status
    priority: int
    created_by: str | None
    created_at: int
    started_at: int | None
    completed_at: int | None
    workspace_kind: str
    workspace_path: str | None
    claim_lock: str | None
    claim_expires: int | None
    tenant: str | None
    branch_name: str | None
    project_id: str | None
    result: str | None
    idempotency_key: str | None
    consecutive_failures: int
    worker_pid: int | None
    last_failure_error: str | None
    max_runtime_seconds: int | None
    last_heartbeat_at: int | None
    current_run_id: int | None
    workflow_template_id: str | None
    current_step_key: str | None
    skills: list[str] | None
    model_override: str | None
    max_retries: int | None
    goal_mode: bool
    goal_max_turns: int | None
    session_id: str | None
    block_kind: str | None
    block_recurrences: int
    provider_override: str | None
    reasoning_effort: str | None
    owner: str
    epoch: int
    vector: dict[str, int]
    run_claimer: str | None

    _read = {"skills": _parsed, "vector": _parsed, "goal_mode": bool}

    def as_hermes(self) -> dict[str, Any]:
        """The keys and values that ``hermes kanban show --json`` gives."""
        return {key: getattr(self, key) for key in TASK_JSON_KEYS} | {"skills": self.skills or []}


class Run(Record, frozen=True):
    """One attempt at a task; open while ``ended_at`` is None.

    ``profile``: whose worker does it; None if an import brought it so. ``claim_expires``: until when it is believed
    alive without a heartbeat. ``worker_pid``: its worker's process. ``outcome``: how it ended, in a word.
    ``summary``, ``metadata``: what its worker handed over. ``error``: why it failed.
    """

    id: int
    task_id: str
    profile: str | None
    step_key: str | None
    status: str
    claim_lock: str | None
    claim_expires: int | None
    worker_pid: int | None
    max_runtime_seconds: int | None
    last_heartbeat_at: int | None
    started_at: int
    ended_at: int | None
    outcome: str | None
    summary: str | None
    metadata: dict[str, Any] | None
    error: str | None

    _read = {"metadata": _parsed}

    @property
    def lease_s(self) -> int:
        """For how many seconds after a heartbeat it is believed alive."""
        signed_at = self.last_heartbeat_at or self.started_at
        return (self.claim_expires or signed_at) - signed_at


class Worker(Record, frozen=True):
    """A process that was started for a run. ``host``: where the number ``pid`` means it, and ``began``: when it began,
    as that host says it; None where whoever started it did not say. ``ended_at``: when its run ended; None while that
    is open. ``expires_at``: until when an open run is believed alive, ``lease_s`` after the last entry that said so.
    ``grace_s``: for how many seconds after a sign an open run goes on, if it is supervised."""

    task_id: str
    run_id: int
    pid: int
    host: str | None
    began: str | None
    ended_at: int | None
    expires_at: int | None
    lease_s: int | None
    grace_s: int | None

    def is_half_over(self, now_s: float) -> bool:
        """Whether less than half of the open run's lease is left, or more than all of it: that one begins at a time
        that has not come yet. ``now_s``: by the clock that stamps the board's entries (``heard.ledger_now_s``)."""
        lease_s = self.lease_s or 0
        return self.expires_at is not None and not lease_s / 2 <= self.expires_at - now_s <= lease_s + DRIFT_S


class Comment(Record, frozen=True):
    """Something said about a task. ``author``: who is shown, which need not be the profile that wrote it."""

    id: int
    task_id: str
    author: str
    body: str
    created_at: int


class Event(Record, frozen=True):
    """Something that became of a task. ``id``: events are numbered over the whole board, in the order of the ledger.
    ``payload``: its facts, by the kind of the event. ``run_id``: the run that it is about, if it is about one."""

    id: int
    task_id: str
    kind: str
    payload: dict[str, Any] | None
    created_at: int
    run_id: int | None

    _read = {"payload": _parsed}


class Subscription(Record, frozen=True):
    """A chat that is told of a task.

    ``platform``, ``chat_id``, ``thread_id`` ("" for none): the chat. ``user_id``, ``chat_type``: what else the gateway
    that subscribed said of it. ``notifier_profile``: whose gateway delivers; None for nobody's yet. ``last_event_id``:
    its cursor, the newest event that it was told of. ``delivery_metadata``: under ``kinds`` the events it wants.
    """

    task_id: str
    platform: str
    chat_id: str
    thread_id: str
    user_id: str | None
    notifier_profile: str | None
    created_at: int
    last_event_id: int
    chat_type: str | None
    delivery_metadata: dict[str, Any] | None

    @property
    def chat(self) -> tuple[str, str, str, str]:
        """What tells subscriptions apart: task, platform, chat, thread."""
        return self.task_id, self.platform, self.chat_id, self.thread_id

    _read = {"delivery_metadata": _parsed}


class Attachment(Record, frozen=True):
    """A file of a task. ``filename``: what it is called there. ``stored_path``: where its copy lies. ``size``: in
    bytes. ``uploaded_by``: who attached it. ``host``: the other host that it lies on, on a board that several share;
    None if it lies here."""

    id: int
    task_id: str
    filename: str
    stored_path: str
    content_type: str | None
    size: int
    uploaded_by: str | None
    created_at: int
    host: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The record as a dict, for JSON; of a file that lies here, as Hermes has it."""
        found = msgspec.structs.asdict(self)
        if self.host is None:
            del found["host"]
        return found

    @property
    def whereabouts(self) -> str:
        """Where its copy lies, in words."""
        return self.stored_path if self.host is None else f"on {self.host}: {self.stored_path}"


class DeadLetter(Record, frozen=True):
    """Events that could not be delivered to a chat, and why. ``profile``: whose gateway gave up, after ``attempts``.
    ``resend``: somebody asked to try again."""

    id: int
    task_id: str
    platform: str
    chat_id: str
    thread_id: str
    profile: str
    event_ids: list[int]
    error: str
    attempts: int
    created_at: int
    resend: bool

    _read = {"event_ids": _parsed, "resend": bool}

    @property
    def chat(self) -> tuple[str, str, str, str]:
        """Which chat, and of which task, as a Subscription says it."""
        return self.task_id, self.platform, self.chat_id, self.thread_id


class Verdict(Record, frozen=True):
    """What became of the change ``(profile, seq)``: ``applied``, or ``refused`` with a reason and a sentence.

    ``position``: of its entry in the ledger. ``at_ms``: when it was decided, by the coordinator's clock, in
    milliseconds since 1970. ``answer``: what it was given (a run's id, say), or the facts of the refusal; empty if
    there is nothing to say.
    """

    profile: str
    seq: int
    position: int
    at_ms: int
    verdict: Literal["applied", "refused"]
    reason: str | None
    sentence: str | None
    answer: dict[str, Any]

    _read = {"answer": _facts}


class ProfileHome(Record, frozen=True):
    """Where a profile lives, on a board that several hosts share: what it writes on ``host`` is merged, in the shard
    ``shard``, since the ledger's entry at ``position``. ``seq``, ``digest``: the profile's last change before that;
    ``(0, "")`` for none."""

    profile: str
    shard: str
    host: str
    position: int
    seq: int
    digest: str


class RefusedChange(Record, frozen=True):
    """A refused change, whole, with its verdict. ``body`` and ``seen`` are what its author wrote, at ``written_ms`` by
    its own clock: maps, and of a change that cannot be read whatever it was. ``at_ms``: when it was refused, by the
    coordinator's. Both in milliseconds since 1970."""

    position: int
    profile: str
    seq: int
    task_id: str
    kind: str
    body: Any
    seen: Any
    written_ms: int
    at_ms: int
    reason: str
    sentence: str

    _read = {"body": as_written, "seen": as_written}
