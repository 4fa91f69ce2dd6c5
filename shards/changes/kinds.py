"""Bodies: the closed set of things a profile may want done.

Each kind of change is a class whose fields are the change's body. Decoding checks types, lengths and unknown fields,
in the writer and again in the coordinator, so what reaches a rule has the shape that the rule expects.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from kanban_shards.changes.fields import (
    ADDING,
    PARENTS_LIMIT,
    TEXT_LIMIT,
    BlockKind,
    Body,
    Count,
    Id,
    Lease,
    Line,
    MaybeRunBound,
    Metadata,
    Priority,
    Profile,
    RunBound,
    Salt,
    Seconds,
    TaskId,
    Text,
    Title,
)
from kanban_shards.changes.homes import Alive, Home
from kanban_shards.changes.imported import Import, ImportRows, ImportTask
from kanban_shards.errors import InvalidChange

# Between the tasks of one plan. Deciding a plan is one step of the coordinator, for which every other profile waits:
# 0.2 s for the largest, and without this 8 s.
PLAN_LINKS_LIMIT = 1_000
# Believed alive for so long without a heartbeat, where a claim does not say.
LEASE_S = 900
# Failures in a row before a task is blocked, where no setting says otherwise.
FAILURE_LIMIT = 2

Start = Literal["blocked", "triage"]
WorkspaceKind = Literal["scratch", "worktree", "dir"]
ReopenedStatus = Literal["triage", "todo", "scheduled", "ready"]
# Who a task may have been made by, so that a worker's claim to have made it is believed; see Complete.
CardCheck = Literal["made", "shown"]
# What a program may note about a task beside what becomes of it: kinds of events that Hermes writes and its
# diagnostics read, and that decide nothing.
NotedKind = Literal[
    "claim_extended",
    "completion_blocked_hallucination",
    "reclaim_deferred",
    "respawn_guarded",
    "suspected_hallucinated_references",
    "tip_scratch_workspace",
]
Outcome = Literal["crashed", "timed_out", "stale", "spawn_failed", "rate_limited", "protocol_violation"]


class Create(Body, frozen=True):
    """A new task. ``blocked`` and ``triage`` name where it starts; otherwise it is ready, or waits for its parents.
    ``salt``: what its id was drawn with (shards/changes/identities.py)."""

    title: Title
    body: Text | None = None
    assignee: Line | None = None
    created_by: Line | None = None
    priority: Priority = 0
    parents: Annotated[tuple[TaskId, ...], Meta(max_length=PARENTS_LIMIT)] = ()
    starts: Start | None = None
    idempotency_key: Line | None = None
    tenant: Line | None = None
    workspace_kind: WorkspaceKind = "scratch"
    workspace_path: Line | None = None
    branch_name: Line | None = None
    project_id: Line | None = None
    max_runtime_seconds: Seconds | None = None
    skills: Annotated[tuple[Line, ...], Meta(max_length=100)] | None = None
    max_retries: Count | None = None
    goal_mode: bool = False
    goal_max_turns: Count | None = None
    session_id: Line | None = None
    model_override: Line | None = None
    provider_override: Line | None = None
    reasoning_effort: Line | None = None
    salt: Salt | None = None

    def _named(self) -> int:
        return len(self.parents)


class Claim(Body, frozen=True):
    """Start work on a task: opens a run. ``runs_as``: the profile that will do the work; None means the author.
    ``grace_s``: the run is supervised: dispatchers look whether the worker's process is there, and without a sign of
    them or of the worker it ends only after that many seconds."""

    lease_s: Lease = LEASE_S
    runs_as: Profile | None = None
    claimer: Line | None = None
    grace_s: Seconds | None = None


class ClaimNext(Claim, frozen=True):
    """Start work on the best ready task that ``runs_as`` may take; the coordinator chooses it."""

    costs = 10  # those that wait out a rate limit are passed over


class Complete(MaybeRunBound, frozen=True):
    """The task is done. ``created_cards``: tasks that the worker says it made; they must exist, and be ``made`` by the
    profile of the run, its claimer or the author, or, if ``card_check`` is ``shown``, be shown as made by the task's
    assignee, or wait for the task. Where ``card_check`` is not said, without a run one that does not exist passes, as
    it did before it could be said. ``artifacts``: paths of files that came of it."""

    result: Text | None = None
    summary: Text | None = None
    metadata: Metadata | None = None
    created_cards: Annotated[tuple[TaskId, ...], Meta(max_length=PARENTS_LIMIT)] = ()
    card_check: CardCheck | None = None
    artifacts: Annotated[tuple[Line, ...], Meta(max_length=PARENTS_LIMIT)] = ()

    def _named(self) -> int:
        return len(self.created_cards)


class Block(MaybeRunBound, frozen=True):
    """The task cannot go on. ``hold_s``: if it waits for others (``dependency``), it does so for that many seconds even
    if none is linked yet."""

    reason: Text | None = None
    block: BlockKind | None = None
    hold_s: Seconds | None = None


class Schedule(MaybeRunBound, frozen=True):
    """The task waits for a time: ``due_s`` in seconds since 1970, or, without one, for somebody to unblock it."""

    reason: Text | None = None
    due_s: Count | None = None


class Review(MaybeRunBound, frozen=True):
    """The work is finished and somebody should look at it; claiming it then opens the review."""

    summary: Text | None = None
    metadata: Metadata | None = None


class Spawned(RunBound, frozen=True):
    """The worker of the run is started, as process ``pid``, in the folder ``workspace_path`` and on the branch
    ``branch_name``, if these are said. ``host``: where that number means that process; ``began``: when it began, as
    that host says it, which tells it from one that has the number later (shards/processes.py)."""

    pid: Id
    host: Line | None = None
    began: Line | None = None
    workspace_path: Line | None = None
    branch_name: Line | None = None


class Progress(RunBound, frozen=True):
    """The worker says where it is, or, without a ``note``, that it is alive, where readers see it. (A mere heartbeat is
    a row in ``liveness``, not a change.)"""

    note: Text | None = None


class Supervise(RunBound, frozen=True):
    """A dispatcher, of whichever profile, sees the worker's process of a supervised run: the lease begins anew."""

    rule = ADDING


class Fail(RunBound, frozen=True):
    """The run ended without a result. Failures in a row trip the breaker; a rate limit only makes the task wait.

    ``limit``: so many trip it, unless the task itself says; None leaves that to the board. ``counts``: whether this one
    is counted. ``trips``: it trips the breaker, however many there were. ``facts``: what its dispatcher saw, shown with
    the event and the run."""

    outcome: Outcome
    error: Text | None = None
    exit_code: Annotated[int, Meta(ge=-1_000, le=1_000)] | None = None
    cooldown_s: Seconds | None = None
    limit: Id | None = None
    counts: bool = True
    trips: bool = False
    facts: Metadata | None = None


class Release(RunBound, frozen=True):
    """The worker gives the task back without a result."""

    reason: Text | None = None


class Reclaim(Body, frozen=True):
    """An operator takes the task away from its run. ``facts``: what became of its worker, shown with the event and the
    run."""

    reason: Text | None = None
    facts: Metadata | None = None


class Unblock(Body, frozen=True):
    """The task may go on."""

    reason: Text | None = None


class Promote(Body, frozen=True):
    """A waiting or blocked task is ready now; with ``force``, although its parents are not done. ``actor``: who is
    shown; the profile that wrote it is always kept."""

    statuses: ClassVar[tuple[str, ...]] = ("todo", "blocked")
    reason: Text | None = None
    force: bool = False
    actor: Line | None = None


class Recover(Body, frozen=True):
    """A task that the breaker blocked goes on, if by now it takes more failures than it had: as the task says, else
    ``limit``, else the board."""

    limit: Id | None = None


class Reopen(Body, frozen=True):
    """A task goes back to where work can begin again, whatever became of it. ``hold_s``: in todo it stays for that many
    seconds even if it waits for none."""

    to: ReopenedStatus = "ready"
    reason: Text | None = None
    hold_s: Seconds | None = None


class Archive(Body, frozen=True):
    """The task is out of sight. Those that waited for it wait no longer."""


class Delete(Body, frozen=True):
    """The task and everything of it is gone, for good. ``archived_only`` leaves one that is not archived alone."""

    archived_only: bool = False


class Specify(Body, frozen=True):
    """A task in triage says now what is to be done."""

    title: Title | msgspec.UnsetType = msgspec.UNSET
    body: Text | msgspec.UnsetType | None = msgspec.UNSET
    assignee: Line | msgspec.UnsetType | None = msgspec.UNSET
    author: Line | None = None


class PlannedChild(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One task of a plan. ``parents``: which of its siblings it waits for, counted from 0. ``workspace_kind``,
    ``workspace_path``, ``tenant``: None for those of the task that is planned, but no path of a workspace of another
    kind. ``salt`` as in Create."""

    id: TaskId
    title: Title
    body: Text | None = None
    assignee: Line | None = None
    priority: Priority = 0
    skills: Annotated[tuple[Line, ...], Meta(max_length=100)] | None = None
    parents: Annotated[tuple[Count, ...], Meta(max_length=PARENTS_LIMIT)] = ()
    salt: Salt | None = None
    created_by: Line | None = None
    tenant: Line | None = None
    workspace_kind: WorkspaceKind | None = None
    workspace_path: Line | None = None


class Decompose(Body, frozen=True):
    """A task in triage becomes a graph of tasks that it waits for: applied whole, or refused whole."""

    children: Annotated[tuple[PlannedChild, ...], Meta(min_length=1, max_length=PARENTS_LIMIT)]
    root_assignee: Line | None = None
    author: Line | None = None
    auto_promote: bool = True

    def __post_init__(self) -> None:
        links = self._links()
        if links > PLAN_LINKS_LIMIT:
            problem = f"its tasks wait for each other {links} times, and {PLAN_LINKS_LIMIT} is the limit"
            raise InvalidChange(kind="decompose", problem=problem)

    def _named(self) -> int:
        return len(self.children) + self._links()

    def _links(self) -> int:
        return sum(len(child.parents) for child in self.children)


class Assign(Body, frozen=True):
    """Somebody else's turn; None leaves the task to its creator."""

    assignee: Line | None = None


class Edit(Body, frozen=True):
    """New values for some fields. ``result``, ``summary`` and ``metadata`` are those of a task that is done."""

    title: Title | msgspec.UnsetType = msgspec.UNSET
    body: Text | msgspec.UnsetType | None = msgspec.UNSET
    priority: Priority | msgspec.UnsetType = msgspec.UNSET
    tenant: Line | msgspec.UnsetType | None = msgspec.UNSET
    workspace_path: Line | msgspec.UnsetType | None = msgspec.UNSET
    branch_name: Line | msgspec.UnsetType | None = msgspec.UNSET
    max_runtime_seconds: Seconds | msgspec.UnsetType | None = msgspec.UNSET
    max_retries: Count | msgspec.UnsetType | None = msgspec.UNSET
    result: Text | msgspec.UnsetType | None = msgspec.UNSET
    summary: Text | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET


class AddComment(Body, frozen=True):
    """Something said about the task. ``author`` is what is shown; the profile that wrote it is always kept."""

    rule = ADDING
    text: Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT)]
    author: Line | None = None


class Note(Body, frozen=True):
    """An event that a program notes about the task, of one of few kinds, and that decides nothing. ``facts``: what a
    JSON object may be; ``about_run``: the run of the task that it is about, if it is about one."""

    rule = ADDING
    event: NotedKind
    facts: Metadata | None = None
    about_run: Id | None = None


class Link(Body, frozen=True):
    """The task waits for ``parent``."""

    rule = ADDING
    costs = 50  # whatever waits for the task is looked through for a circle
    parent: TaskId


class Unlink(Body, frozen=True):
    """The task no longer waits for ``parent``."""

    rule = ADDING
    parent: TaskId


class Subscribe(Body, frozen=True):
    """Tell this chat what becomes of the task. Only ``notifier_profile``'s gateway delivers, None for its author's;
    ``unadopted``: nobody's does, until one adopts the chat. ``kinds``: of which events; None leaves it to that
    gateway."""

    rule = ADDING
    platform: Line
    chat_id: Line
    thread_id: Annotated[str, Meta(max_length=1_000)] = ""
    user_id: Line | None = None
    notifier_profile: Profile | None = None
    from_start: bool = False
    chat_type: Line | None = None
    kinds: Annotated[tuple[Line, ...], Meta(max_length=100)] | None = None
    unadopted: bool = False


class Unsubscribe(Body, frozen=True):
    """No longer tell this chat."""

    rule = ADDING
    platform: Line
    chat_id: Line
    thread_id: Annotated[str, Meta(max_length=1_000)] = ""


class Adopt(Body, frozen=True):
    """A subscription that no profile's gateway delivers becomes this profile's."""

    rule = ADDING
    platform: Line
    chat_id: Line
    thread_id: Annotated[str, Meta(max_length=1_000)] = ""


class Delivered(Body, frozen=True):
    """A chat was told of the task's events up to ``upto``; with an ``error``, telling it was given up after
    ``attempts``, and the events are kept as a dead letter. ``letter_id``: it was this dead letter that was told."""

    rule = ADDING
    platform: Line
    chat_id: Line
    upto: Id
    thread_id: Annotated[str, Meta(max_length=1_000)] = ""
    letter_id: Id | None = None
    events: Annotated[tuple[Id, ...], Meta(max_length=PARENTS_LIMIT)] = ()
    error: Text | None = None
    attempts: Count = 0

    def _named(self) -> int:
        return len(self.events)


class Resend(Body, frozen=True):
    """A dead letter shall be delivered after all."""

    rule = ADDING
    letter_id: Id


class Attach(Body, frozen=True):
    """A file belongs to the task. It lies at ``stored_path`` already."""

    rule = ADDING
    filename: Line
    stored_path: Line
    size: Count
    content_type: Line | None = None
    uploaded_by: Line | None = None


class Detach(Body, frozen=True):
    """A file no longer belongs to the task."""

    rule = ADDING
    attachment_id: Id


class Settings(Body, frozen=True):
    """Limits of the whole board: open runs in all and of one profile, and failures in a row before a task is blocked.
    None lifts a limit."""

    max_in_progress: Count | msgspec.UnsetType | None = msgspec.UNSET
    max_in_progress_per_profile: Count | msgspec.UnsetType | None = msgspec.UNSET
    failure_limit: Id | msgspec.UnsetType | None = msgspec.UNSET


class Gc(Body, frozen=True):
    """Events before ``events_before_s`` (seconds since 1970) of finished tasks are no longer needed."""

    costs = 1_000  # every event is looked at
    events_before_s: Count


class Expire(RunBound, frozen=True):
    """The run's lease ran out without a heartbeat. ``unheard_s``: for so long no host that reads its signs of life
    renewed it, and the one that ends it is none of them; None if it read them. Written by the coordinator alone."""

    last_sign_ms: Count
    unheard_s: Seconds | None = None


class Due(Body, frozen=True):
    """The time that a scheduled task waited for has come. Written by the coordinator alone."""

    due_s: Count


KINDS: dict[str, type[Body]] = {
    "create": Create,
    "assign": Assign,
    "edit": Edit,
    "specify": Specify,
    "decompose": Decompose,
    "claim": Claim,
    "claim_next": ClaimNext,
    "spawned": Spawned,
    "progress": Progress,
    "supervise": Supervise,
    "release": Release,
    "reclaim": Reclaim,
    "fail": Fail,
    "complete": Complete,
    "review": Review,
    "block": Block,
    "schedule": Schedule,
    "unblock": Unblock,
    "promote": Promote,
    "recover": Recover,
    "reopen": Reopen,
    "archive": Archive,
    "delete": Delete,
    "comment": AddComment,
    "note": Note,
    "link": Link,
    "unlink": Unlink,
    "attach": Attach,
    "detach": Detach,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "adopt": Adopt,
    "delivered": Delivered,
    "resend": Resend,
    "settings": Settings,
    "gc": Gc,
    "expire": Expire,
    "due": Due,
    "import": Import,
    "import_task": ImportTask,
    "import_rows": ImportRows,
    "home": Home,
    "alive": Alive,
}
COORDINATOR_KINDS = frozenset({"expire", "due", "import", "import_task", "import_rows", "home", "alive"})
# These name no task: the coordinator chooses one, or the whole board is meant.
TASKLESS_KINDS = frozenset({"claim_next", "settings", "gc", "import", "home"})
