"""The rules: one function for each kind of change, in one module for each noun.

A rule gets the board as it stands (coordinator/state/board_state.py), the entry, its body and, except for those that
make or choose one, the task. It writes its effects, returns what the author is told, or raises Refusal. It imports no
clock and opens no file.
"""

from __future__ import annotations

from collections.abc import Callable

from kanban_shards.changes.kinds import TASKLESS_KINDS
from kanban_shards.coordinator.rules import (
    archive,
    attachments,
    comments,
    deliveries,
    failures,
    imports,
    links,
    outcomes,
    plans,
    runs,
    settings,
    subscriptions,
    tasks,
)

# These get no task: they make one, choose one, or mean the whole board. They return ``(task or None, answer)``.
NO_TASK_YET = TASKLESS_KINDS | {"create", "import_task"}

RULES: dict[str, Callable] = {
    "create": tasks.create,
    "assign": tasks.assign,
    "edit": tasks.edit,
    "specify": plans.specify,
    "decompose": plans.decompose,
    "claim": runs.claim,
    "claim_next": runs.claim_next,
    "spawned": runs.spawned,
    "progress": runs.progress,
    "release": runs.release,
    "reclaim": runs.reclaim,
    "expire": runs.expire,
    "fail": failures.fail,
    "complete": outcomes.complete,
    "review": outcomes.review,
    "block": outcomes.block,
    "schedule": outcomes.schedule,
    "due": outcomes.due,
    "unblock": outcomes.unblock,
    "promote": outcomes.promote,
    "archive": archive.archive,
    "reopen": archive.reopen,
    "delete": archive.delete,
    "comment": comments.comment,
    "link": links.link,
    "unlink": links.unlink,
    "attach": attachments.attach,
    "detach": attachments.detach,
    "subscribe": subscriptions.subscribe,
    "unsubscribe": subscriptions.unsubscribe,
    "adopt": deliveries.adopt,
    "delivered": deliveries.delivered,
    "resend": deliveries.resend,
    "settings": settings.settings,
    "gc": archive.gc,
    "import": imports.begin,
    "import_task": imports.bring_task,
    "import_rows": imports.bring_rows,
}
