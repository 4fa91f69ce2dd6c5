"""Reading: what an entry says, or the refusal of one that nobody can read.

A pass lets none into the ledger; another host may have, or a newer program. It is refused by all alike, and stops
nobody.
"""

from __future__ import annotations

from kanban_shards.changes import vectors
from kanban_shards.changes.codec import KIND_OF, LATEST_MS, Change, decode_body
from kanban_shards.changes.fields import Body
from kanban_shards.changes.identities import names_as_its_kind
from kanban_shards.changes.kinds import COORDINATOR_KINDS, Settings
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.errors import InvalidChange
from kanban_shards.paths import COORDINATOR, is_profile

SETTINGS = KIND_OF[Settings]


def read_body(entry: Entry) -> Body:
    """What the entry's change says. Raises Refusal, also for one whose author, task or time can be none."""
    change = entry.change
    try:
        body = decode_body(change.kind, change.body)
    except InvalidChange as error:
        raise _unreadable(change) from error
    if not _is_possible(change):
        raise _unreadable(change)
    return body


def read_seen(entry: Entry) -> vectors.Vector:
    """What the entry's author had seen. Raises Refusal."""
    try:
        return vectors.decode(entry.change.seen)
    except ValueError as error:
        raise _unreadable(entry.change) from error


def _is_possible(change: Change) -> bool:
    is_coordinators = change.kind in COORDINATOR_KINDS
    may_be_coordinators = is_coordinators or change.kind == SETTINGS  # those of an adopted board
    return (
        (may_be_coordinators if change.profile == COORDINATOR else not is_coordinators and is_profile(change.profile))
        and names_as_its_kind(change.kind, change.task_id)
        and 0 <= change.written_ms <= LATEST_MS
    )


def _unreadable(change: Change) -> Refusal:
    """The sentence is this program's own, and not that of a library, which may say it otherwise in another version."""
    return Refusal("unreadable", f"change {change.seq} of {change.profile} cannot be read")
