"""The calls that are made of Hermes's dashboard on both sides: each route of its plugin, where it works and not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """One call: a method, a path below the plugin's, and what is sent. ``keep``: the name under which the first id in
    the answer (of a task; of a run if the name is ``run``) is known in later paths and bodies, as ``$name``."""

    method: str
    path: str
    body: Any = None
    keep: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body or ''}".strip()


def _task(**fields: Any) -> dict[str, Any]:
    return {"title": "a task", **fields}


CALLS = (
    # What the page asks for when it opens.
    Call("GET", "/config"),
    Call("GET", "/boards"),
    Call("GET", "/board"),
    Call("GET", "/home-channels"),
    Call("GET", "/stats"),
    Call("GET", "/assignees"),
    Call("GET", "/profiles"),
    Call("GET", "/orchestration"),
    Call("GET", "/diagnostics"),
    Call("GET", "/workers/active"),
    # Cards.
    Call("POST", "/tasks", _task(title="PRD", body="b", assignee="mafei", tenant="acme", priority=2), keep="a"),
    Call("POST", "/tasks", _task(title="after it", parents=["$a"], skills=["review"]), keep="b"),
    Call("POST", "/tasks", _task(title="an idea", triage=True), keep="c"),
    Call("POST", "/tasks", _task(title="once", idempotency_key="k", max_runtime_seconds=60), keep="d"),
    Call("POST", "/tasks", _task(title="twice", idempotency_key="k")),
    Call("POST", "/tasks", _task(title="goal", goal_mode=True, goal_max_turns=3), keep="e"),
    Call("POST", "/tasks", _task(title="in a folder", workspace_kind="dir", workspace_path="/tmp"), keep="f"),
    Call("POST", "/tasks", _task(title="  ")),
    Call("POST", "/tasks", _task(parents=["t_00000000"])),
    Call("POST", "/tasks", _task(workspace_kind="elsewhere")),
    Call("POST", "/tasks", {}),
    Call("POST", "/tasks?board=nowhere", _task()),
    Call("GET", "/board?board=no slug!"),
    Call("GET", "/board"),
    Call("GET", "/board?tenant=acme"),
    Call("GET", "/tasks/$b"),
    Call("GET", "/tasks/t_00000000"),
    # What is edited in a card.
    Call("PATCH", "/tasks/$a", {"priority": 7}),
    Call("PATCH", "/tasks/$a", {"title": " PRD, two pages "}),
    Call("PATCH", "/tasks/$a", {"body": ""}),
    Call("PATCH", "/tasks/$a", {"title": "PRD", "body": "both", "priority": 1}),
    Call("PATCH", "/tasks/$a", {"title": "   "}),
    Call("PATCH", "/tasks/$a", {"assignee": "pixiel"}),
    Call("PATCH", "/tasks/$a", {"assignee": ""}),
    Call("PATCH", "/tasks/t_00000000", {"priority": 1}),
    # Columns into which a card is dragged.
    Call("PATCH", "/tasks/$b", {"status": "ready"}),
    Call("PATCH", "/tasks/$b", {"status": "running"}),
    Call("PATCH", "/tasks/$b", {"status": "nowhere"}),
    Call("PATCH", "/tasks/$a", {"status": "triage"}),
    Call("PATCH", "/tasks/$a", {"status": "ready"}),
    Call("PATCH", "/tasks/$a", {"status": "ready"}),
    Call("PATCH", "/tasks/$a", {"status": "todo"}),
    Call("PATCH", "/tasks/$a", {"status": "ready"}),
    Call("PATCH", "/tasks/$a", {"status": "blocked", "block_reason": "which colors?"}),
    Call("PATCH", "/tasks/$a", {"status": "ready"}),
    Call("PATCH", "/tasks/$a", {"status": "scheduled", "block_reason": "on Monday"}),
    Call("PATCH", "/tasks/$a", {"status": "ready"}),
    Call("PATCH", "/tasks/$a", {"status": "done", "summary": "two pages", "result": "prd.md", "metadata": {"n": 1}}),
    Call("PATCH", "/tasks/$a", {"status": "done"}),
    Call("GET", "/tasks/$b"),
    Call("PATCH", "/tasks/$a", {"status": "ready"}),
    Call("GET", "/tasks/$b"),
    Call("PATCH", "/tasks/$a", {"status": "done"}),
    Call("PATCH", "/tasks/$d", {"status": "archived"}),
    Call("PATCH", "/tasks/$d", {"status": "archived"}),
    Call("GET", "/board?include_archived=true"),
    # Words, links and files.
    Call("POST", "/tasks/$a/comments", {"body": "well done"}),
    Call("POST", "/tasks/$a/comments", {"body": "so it is", "author": "mafei"}),
    Call("POST", "/tasks/$a/comments", {"body": "  "}),
    Call("POST", "/tasks/t_00000000/comments", {"body": "nobody"}),
    Call("POST", "/links", {"parent_id": "$c", "child_id": "$e"}),
    Call("POST", "/links", {"parent_id": "$e", "child_id": "$c"}),
    Call("POST", "/links", {"parent_id": "$c", "child_id": "t_00000000"}),
    Call("DELETE", "/links?parent_id=$c&child_id=$e"),
    Call("DELETE", "/links?parent_id=$c&child_id=$e"),
    Call("POST", "/tasks/$a/attachments", b"1. Login\n"),
    Call("POST", "/tasks/t_00000000/attachments", b"1. Login\n"),
    Call("GET", "/tasks/$a/attachments"),
    Call("GET", "/attachments/1"),
    Call("GET", "/attachments/999"),
    Call("DELETE", "/attachments/1"),
    Call("DELETE", "/attachments/1"),
    # Chats.
    Call("POST", "/tasks/$b/home-subscribe/telegram"),
    Call("POST", "/tasks/$b/home-subscribe/nowhere"),
    Call("POST", "/tasks/t_00000000/home-subscribe/telegram"),
    Call("GET", "/home-channels?task_id=$b"),
    Call("DELETE", "/tasks/$b/home-subscribe/telegram"),
    # Several cards at once.
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e", "t_00000000"], "priority": 3}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "status": "blocked"}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "status": "ready"}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "status": "scheduled"}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "status": "todo"}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "status": "ready"}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "status": "running"}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "status": "nowhere"}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "assignee": "mafei", "reclaim_first": True}),
    Call("POST", "/tasks/bulk", {"ids": ["$b", "$e"], "assignee": ""}),
    Call("POST", "/tasks/bulk", {"ids": ["$e"], "status": "done", "summary": "all of it"}),
    Call("POST", "/tasks/bulk", {"ids": ["$e"], "archive": True}),
    Call("POST", "/tasks/bulk", {"ids": []}),
    # A worker, and what one does with it.
    Call("PATCH", "/tasks/$f", {"assignee": "mafei"}),
    Call("POST", "/dispatch?dry_run=true&max=8"),
    Call("POST", "/dispatch?max=8"),
    Call("GET", "/workers/active", keep="run"),
    Call("GET", "/runs/$run"),
    Call("GET", "/runs/$run/inspect"),
    Call("GET", "/runs/999"),
    Call("GET", "/runs/999/inspect"),
    Call("PATCH", "/tasks/$f", {"assignee": "pixiel"}),
    Call("GET", "/tasks/$f/log"),
    Call("GET", "/tasks/$f/log?tail=4"),
    Call("GET", "/tasks/t_00000000/log"),
    Call("POST", "/runs/$run/terminate", {"reason": "it hangs"}),
    Call("POST", "/runs/$run/terminate", {}),
    Call("POST", "/runs/999/terminate", {}),
    Call("POST", "/tasks/$f/reclaim", {}),
    Call("POST", "/dispatch?max=8"),
    Call("PATCH", "/tasks/$f", {"status": "todo"}),
    Call("GET", "/tasks/$f"),
    Call("PATCH", "/tasks/$f", {"status": "ready"}),
    Call("POST", "/dispatch?max=8"),
    Call("POST", "/tasks/$f/reclaim", {"reason": "again"}),
    Call("POST", "/tasks/$f/reassign", {"profile": "pixiel", "reclaim_first": True}),
    Call("POST", "/tasks/$f/reassign", {"profile": ""}),
    Call("POST", "/tasks/t_00000000/reassign", {"profile": "pixiel"}),
    Call("GET", "/diagnostics"),
    Call("GET", "/diagnostics?severity=critical"),
    # A model.
    Call("POST", "/tasks/$c/specify", {"author": "bingge"}),
    Call("POST", "/tasks/$c/specify", {}),
    Call("POST", "/tasks", _task(title="split this", triage=True), keep="g"),
    Call("POST", "/tasks/$g/decompose", {}),
    Call("POST", "/tasks/t_00000000/decompose", {}),
    Call("GET", "/tasks/$g"),
    Call("PATCH", "/profiles/mafei", {"description": "writes"}),
    Call("PATCH", "/profiles/nobody", {"description": "writes"}),
    Call("POST", "/profiles/mafei/describe-auto", {"overwrite": True}),
    Call("PUT", "/orchestration", {"auto_decompose": False, "default_assignee": "mafei"}),
    Call("GET", "/orchestration"),
    # Boards.
    Call("POST", "/boards", {"slug": "sprint-4", "name": "Sprint 4", "switch": False}),
    Call("POST", "/boards", {"slug": "sprint-4"}),
    Call("POST", "/boards", {"slug": "no slug!"}),
    Call("PATCH", "/boards/sprint-4", {"name": "Sprint four", "description": "the fourth"}),
    Call("PATCH", "/boards/nowhere", {"name": "x"}),
    Call("POST", "/tasks?board=sprint-4", _task(title="on the fourth")),
    Call("GET", "/board?board=sprint-4"),
    Call("POST", "/boards/sprint-4/switch"),
    Call("GET", "/board"),
    Call("POST", "/boards/nowhere/switch"),
    Call("POST", "/boards/default/switch"),
    Call("DELETE", "/boards/sprint-4"),
    Call("DELETE", "/boards/sprint-4"),
    Call("DELETE", "/boards/default"),
    Call("GET", "/boards?include_archived=true"),
    # And away.
    Call("DELETE", "/tasks/$f"),
    Call("DELETE", "/tasks/$f"),
    Call("GET", "/board?include_archived=true"),
    Call("GET", "/stats"),
)
