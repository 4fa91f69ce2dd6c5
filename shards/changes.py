"""Changes: the closed set of things a profile may want done, and the immutable rows that carry them.

Each kind of change is a class whose fields are the change's body. Decoding checks types, lengths and unknown fields,
in the writer and again in the coordinator, so what reaches a rule has the shape that the rule expects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

from shards.errors import InvalidChange, TooLarge

LIMIT_BYTES = 1024 * 1024
PARENTS_LIMIT = 1_000
# Of lists and maps in metadata. Without it, what can be decoded would depend on how deep the caller's stack is.
NESTING_LIMIT = 64

Line = Annotated[str, Meta(min_length=1, max_length=1_000)]
Text = Annotated[str, Meta(max_length=LIMIT_BYTES)]
TaskId = Annotated[str, Meta(pattern=r"^t_[0-9a-f]{8,64}\Z")]
Profile = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Id = Annotated[int, Meta(ge=1, le=2**53)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31)]
Seconds = Annotated[int, Meta(ge=1, le=366 * 24 * 3600)]
Metadata = dict[str, Any]
BlockKind = Literal["needs_input", "capability", "transient", "dependency"]

ADDING = "adding"
DECIDING = "deciding"


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one change says. ``law``: whether it adds or decides (docs/design.md, "The rule").

    A body with a ``run_id`` that is not None is run-bound.
    """

    law: ClassVar[str] = DECIDING
    run_id: ClassVar[int | None] = None


class Create(Body):
    """A new task. ``blocked`` and ``triage`` name where it starts; otherwise it is ready, or waits for its parents."""

    title: Line
    body: Text | None = None
    assignee: Line | None = None
    created_by: Line | None = None
    priority: Priority = 0
    parents: Annotated[tuple[TaskId, ...], Meta(max_length=PARENTS_LIMIT)] = ()
    starts: Literal["blocked", "triage"] | None = None
    idempotency_key: Line | None = None
    tenant: Line | None = None
    workspace_kind: Literal["scratch", "worktree", "dir"] = "scratch"
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


class Claim(Body):
    """Start work on a task: opens a run. ``runs_as``: the profile that will do the work; None means the author."""

    lease_s: Seconds = 900
    runs_as: Profile | None = None
    claimer: Line | None = None


class ClaimNext(Claim):
    """Start work on the best ready task that ``runs_as`` may take; the coordinator chooses it."""


class Complete(Body):
    """The task is done."""

    run_id: Id | None = None
    result: Text | None = None
    summary: Text | None = None
    metadata: Metadata | None = None


class Block(Body):
    """The task cannot go on."""

    run_id: Id | None = None
    reason: Text | None = None
    block: BlockKind | None = None


class Progress(Body):
    """The worker says where it is. (A mere sign of life is a row in ``liveness``, not a change.)"""

    run_id: Id
    note: Text


class Release(Body):
    """The worker gives the task back without a result."""

    run_id: Id
    reason: Text | None = None


class Unblock(Body):
    """The task may go on."""

    reason: Text | None = None


class Assign(Body):
    """Somebody else's turn; None leaves the task to its creator."""

    assignee: Line | None = None


class Edit(Body):
    """New values for some fields. ``result``, ``summary`` and ``metadata`` are those of a task that is done."""

    title: Line | msgspec.UnsetType = msgspec.UNSET
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


class Comment(Body):
    """Something said about the task. ``author`` is what is shown; the profile that wrote it is always kept."""

    law = ADDING
    text: Annotated[str, Meta(min_length=1, max_length=LIMIT_BYTES)]
    author: Line | None = None


class Link(Body):
    """The task waits for ``parent``."""

    law = ADDING
    parent: TaskId


class Unlink(Body):
    """The task no longer waits for ``parent``."""

    law = ADDING
    parent: TaskId


class Subscribe(Body):
    """Tell this chat what becomes of the task. Only ``notifier_profile``'s gateway delivers."""

    law = ADDING
    platform: Line
    chat_id: Line
    thread_id: Annotated[str, Meta(max_length=1_000)] = ""
    user_id: Line | None = None
    notifier_profile: Profile | None = None
    from_start: bool = False
    chat_type: Line | None = None


class Unsubscribe(Body):
    """No longer tell this chat."""

    law = ADDING
    platform: Line
    chat_id: Line
    thread_id: Annotated[str, Meta(max_length=1_000)] = ""


class Expire(Body):
    """The run's lease ran out without a sign of life. Written by the coordinator alone."""

    run_id: Id
    last_sign_ms: Count


KINDS: dict[str, type[Body]] = {
    "create": Create,
    "claim": Claim,
    "claim_next": ClaimNext,
    "complete": Complete,
    "block": Block,
    "progress": Progress,
    "release": Release,
    "unblock": Unblock,
    "assign": Assign,
    "edit": Edit,
    "comment": Comment,
    "link": Link,
    "unlink": Unlink,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "expire": Expire,
}
COORDINATOR_KINDS = frozenset({"expire"})
KIND_OF = {body: kind for kind, body in KINDS.items()}

_decoders = {kind: msgspec.json.Decoder(body) for kind, body in KINDS.items()}
_encode = msgspec.json.Encoder().encode


class Change(NamedTuple):
    """One row of a shard. ``profile``, ``seq``: its dot. ``body``, ``seen``: JSON text. ``at_ms``: its author's clock.

    ``digest``: of the row before and this row, so that a rewritten or missing row shows.
    """

    profile: str
    seq: int
    task_id: str
    kind: str
    body: str
    seen: str
    at_ms: int
    digest: str


def encode_body(body: Body) -> str:
    """The text of ``body``, checked as the coordinator will check it. Raises InvalidChange, TooLarge."""
    kind = KIND_OF[type(body)]
    try:
        text = _encode(body).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidChange(kind=kind, problem=str(error)) from error
    if len(text.encode()) > LIMIT_BYTES:
        raise TooLarge(kind=kind, size_bytes=len(text.encode()), limit_bytes=LIMIT_BYTES)
    decode_body(kind, text)
    return text


def decode_body(kind: str, text: str) -> Body:
    """The body that ``text`` holds. Raises InvalidChange if there is no such kind, or it has no such body."""
    decoder = _decoders.get(kind)
    if decoder is None:
        raise InvalidChange(kind=kind, problem="no such kind of change is known")
    try:
        body = decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidChange(kind=kind, problem=str(error)) from error
    if _is_too_deep(getattr(body, "metadata", None)):
        raise InvalidChange(kind=kind, problem=f"metadata is nested more than {NESTING_LIMIT} levels deep")
    return body


def genesis(profile: str, shard_id: str) -> str:
    """The digest before a shard's first change."""
    return _digest([profile, shard_id])


def chain(previous: str, profile: str, seq: int, task_id: str, kind: str, body: str, seen: str, at_ms: int) -> str:
    """The digest of a row, given the digest of the row before."""
    return _digest([previous, profile, seq, task_id, kind, body, seen, at_ms])


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(NESTING_LIMIT + 1):
        level = [inner for each in level for inner in _contained(each)]
        if not level:
            return False
    return True


def _contained(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _digest(parts: list) -> str:
    return hashlib.blake2b(_encode(parts), digest_size=16).hexdigest()
