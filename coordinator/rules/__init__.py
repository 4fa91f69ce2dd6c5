"""The rules: one function for each kind of change, in one module for each noun.

A rule gets the board as it stands (coordinator/state/board_state.py), the entry, its body and, except for those that
make or choose one, the task. It writes its effects, returns what the author is told, or raises Refusal. It imports no
clock and opens no file. A rule's body is of the class of its kind (shards/changes/kinds.py), as decoding made it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules import (
    archive,
    attachments,
    comments,
    deliveries,
    failures,
    homes,
    imports,
    links,
    outcomes,
    plans,
    runs,
    settings,
    subscriptions,
    supervision,
    tasks,
)
from kanban_shards.coordinator.state.board_state import BoardState, TaskState

# Which rules these are. Hosts that share a ledger have one number: whatever is decided otherwise than before, or could
# not be read before, raises it (tests/rules/test_version.py).
VERSION = 1

Answer = dict[str, Any] | None
TaskRule = Callable[[BoardState, Entry, Any, TaskState], Answer]
TasklessRule = Callable[[BoardState, Entry, Any], tuple[TaskState | None, Answer]]

RULES: dict[str, TaskRule] = {
    "assign": tasks.assign,
    "edit": tasks.edit,
    "specify": plans.specify,
    "decompose": plans.decompose,
    "claim": runs.claim,
    "spawned": runs.spawned,
    "progress": runs.progress,
    "supervise": supervision.supervise,
    "release": runs.release,
    "reclaim": runs.reclaim,
    "expire": runs.expire,
    "alive": runs.alive,
    "fail": failures.fail,
    "complete": outcomes.complete,
    "review": outcomes.review,
    "block": outcomes.block,
    "schedule": outcomes.schedule,
    "due": outcomes.due,
    "unblock": outcomes.unblock,
    "promote": outcomes.promote,
    "recover": failures.recover,
    "archive": archive.archive,
    "reopen": archive.reopen,
    "delete": archive.delete,
    "comment": comments.comment,
    "note": comments.note,
    "link": links.link,
    "unlink": links.unlink,
    "attach": attachments.attach,
    "detach": attachments.detach,
    "subscribe": subscriptions.subscribe,
    "unsubscribe": subscriptions.unsubscribe,
    "adopt": deliveries.adopt,
    "delivered": deliveries.delivered,
    "resend": deliveries.resend,
    "import_rows": imports.bring_rows,
}

# These get no task: they make one, choose one, or mean the whole board. They return ``(task or None, answer)``.
TASKLESS_RULES: dict[str, TasklessRule] = {
    "create": tasks.create,
    "claim_next": runs.claim_next,
    "settings": settings.settings,
    "gc": archive.gc,
    "import": imports.begin,
    "import_task": imports.bring_task,
    "home": homes.settle,
}
