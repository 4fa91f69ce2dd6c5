"""Normalizing: what a caller says, spelled as it is written.

Hermes spells the name of a profile in small letters without blanks around it, wherever one comes in. A task that is
assigned to any other spelling would be silently nobody's. So a name is spelled that way here, and what can name no
profile is refused at once, unless whoever writes has lanes that somebody outside works through; and so are words that
say nothing. This is asked of what is written from now on. What lies in a shard, a ledger or on an imported board is
read as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from kanban_shards.changes.codec import KIND_OF
from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import (
    AddComment,
    Assign,
    Complete,
    Create,
    Decompose,
    Edit,
    PlannedChild,
    Specify,
    Subscribe,
)
from kanban_shards.errors import InvalidChange
from kanban_shards.paths import lane_meant, profile_meant
from kanban_shards.records import Run, Task

if TYPE_CHECKING:
    from kanban_shards.arguments import CompleteFields

# Of the changes that a caller's words come in by. A profile's name; words that must say something, blanks around them
# meaning nothing; what another program must find again letter by letter, and in one line.
_PROFILES = ("assignee", "root_assignee")
_WORDS = ("title",)
_SAYS_SOMETHING = ("text", "author", "platform", "chat_id", "idempotency_key")
_ON_ONE_LINE = ("platform", "chat_id", "thread_id")
_Meant = Callable[[str], str]
_SPELLED = (Create, Assign, Edit, Specify, Decompose, AddComment, Subscribe)


def spelled(change: Body, *, lanes: bool = False) -> Body:
    """``change`` as it is written. ``lanes``: whether an assignee may be a lane, and need be no profile. Raises
    InvalidName for an assignee who can be neither, and InvalidChange for a title, a comment, a chat's id and the like
    that are blank, or have a line break where none can be."""
    if not isinstance(change, _SPELLED):
        return change
    kind = KIND_OF[type(change)]
    meant = lane_meant if lanes else profile_meant
    fields = _respelled(kind, change, meant)
    if isinstance(change, Decompose):
        fields["children"] = tuple(_child(number, child, meant) for number, child in enumerate(change.children))
    return msgspec.structs.replace(change, **fields) if fields else change


def _child(number: int, child: PlannedChild, meant: _Meant) -> PlannedChild:
    fields = _respelled("decompose", child, meant, f"task {number}: ")
    return msgspec.structs.replace(child, **fields) if fields else child


def _respelled(kind: str, said: msgspec.Struct, meant: _Meant, where: str = "") -> dict[str, Any]:
    """The fields of ``said`` that are spelled otherwise. What is no text is left to the check of the body."""
    texts = {name: value for name in said.__struct_fields__ if isinstance(value := getattr(said, name), str)}
    for name in (*_WORDS, *_SAYS_SOMETHING):
        if texts.get(name, "-").isspace():
            raise InvalidChange(kind=kind, problem=f"{where}{name} is blank")
    for name in _ON_ONE_LINE:
        if texts.get(name, "").splitlines() not in ([], [texts.get(name)]):
            raise InvalidChange(kind=kind, problem=f"{where}{name} has a line break")
    fields = {name: meant(texts[name]) for name in _PROFILES if name in texts}
    fields |= {name: texts[name].strip() for name in _WORDS if name in texts}
    return {name: value for name, value in fields.items() if value != texts[name]}


def named(work: Run | Task | str) -> tuple[str | Task, int | None]:
    """The task that is worked on, and the run that does it, if one is said."""
    return (work.task_id, work.id) if isinstance(work, Run) else (work, None)


def completion(run_id: int | None, done: CompleteFields) -> Complete:
    """The change that says that the task is done."""
    said: Any = {"card_check": "made", **done}
    for several in ("created_cards", "artifacts"):
        said[several] = tuple(said.get(several, ()))
    return Complete(run_id=run_id, **said)
