"""Fields: what a body of a change is made of, and how large it may be. Decoding checks all of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from kanban_shards.paths import NAME, TASK_ID

# Of one text, in characters; and of a whole change, so that any such text fits, however it has to be escaped.
TEXT_LIMIT = 1024 * 1024
LIMIT_BYTES = 8 * TEXT_LIMIT
PARENTS_LIMIT = 1_000
# Of lists and maps in metadata. Without it, what can be decoded would depend on how deep the caller's stack is.
NESTING_LIMIT = 64
# Integers in metadata fit in 64 bits: how many digits Python parses depends on an environment variable.
INTEGER_LIMIT = 2**63
# So many tasks or links that a change names cost as much to decide as a plain change.
NAMED_PER_CHANGE = 2

Line = Annotated[str, Meta(min_length=1, max_length=1_000)]
Title = Annotated[str, Meta(min_length=1, max_length=10_000)]
Text = Annotated[str, Meta(max_length=TEXT_LIMIT)]
TaskId = Annotated[str, Meta(pattern=rf"^{TASK_ID}\Z")]
Salt = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Host = Annotated[str, Meta(pattern=rf"^{NAME}\Z")]
ShardId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Profile = Annotated[str, Meta(pattern=rf"^{NAME}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Id = Annotated[int, Meta(ge=1, le=2**53)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31)]
Seconds = Annotated[int, Meta(ge=1, le=366 * 24 * 3600)]
Lease = Annotated[int, Meta(ge=0, le=366 * 24 * 3600)]
Metadata = dict[str, Any]
BlockKind = Literal["needs_input", "capability", "transient", "dependency"]

Rule = Literal["adding", "deciding"]
ADDING: Rule = "adding"
DECIDING: Rule = "deciding"


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one change says. ``rule``: whether it adds or decides (docs/design/rule.md, "The rule")."""

    rule: ClassVar[Rule] = DECIDING
    # In plain changes, if it names nothing: what has to look at a part of the board that grows costs more than one.
    costs: ClassVar[int] = 1

    def weight(self) -> int:
        """What deciding it costs, in plain changes."""
        return self.costs + self._named() // NAMED_PER_CHANGE

    def _named(self) -> int:
        return 0


class RunBound(Body, frozen=True):
    """What is said of a run, and applied only while that run is open."""

    run_id: Id


class MaybeRunBound(Body, frozen=True):
    """What is said of a run, or, where ``run_id`` is None, of its task."""

    run_id: Id | None = None


def run_id_of(body: Body) -> int | None:
    """The run that ``body`` is bound to, if it is bound to one."""
    return body.run_id if isinstance(body, (RunBound, MaybeRunBound)) else None
