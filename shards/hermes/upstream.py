"""What the bridge uses of ``hermes_cli.kanban_db``, which is not installed where this package is checked or tested."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class UpstreamTask(Protocol):
    """Hermes's ``Task``, as far as it is looked at here."""

    id: str
    title: str
    status: str
    assignee: str | None
    claim_lock: str | None
    current_run_id: int | None


class UpstreamAttachment(Protocol):
    """Hermes's ``Attachment``, as far as it is looked at here."""

    id: int
    task_id: str
    filename: str
    stored_path: str


class UpstreamEvent(Protocol):
    """Hermes's ``Event``, as far as it is looked at here."""

    id: int


class _HallucinatedCardsError(Protocol):
    def __call__(self, phantom: list[str], completing_task_id: str) -> Exception: ...


class _Created(Protocol):
    def __call__(self, conn: sqlite3.Connection, **fields: Any) -> str: ...


class _Promoted(Protocol):
    def __call__(
        self, conn: sqlite3.Connection, task_id: str, *, actor: str, reason: str | None, force: bool, dry_run: bool
    ) -> tuple[bool, str | None]: ...


class _Listed(Protocol):
    def __call__(self, conn: sqlite3.Connection, task_id: str | None = None) -> list[dict[str, Any]]: ...


class Upstream(Protocol):
    """The module ``hermes_cli.kanban_db``. Its functions are called through it, so that each call takes what is there
    now: Hermes's own, or the bridge's."""

    DEFAULT_BOARD: str
    DEFAULT_FAILURE_LIMIT: int
    _PROTOCOL_VIOLATION_FAILURE_LIMIT: int
    VALID_BLOCK_KINDS: set[str]
    HallucinatedCardsError: _HallucinatedCardsError
    # A function with attributes, where Hermes's tick looks for what it found besides.
    detect_crashed_workers: Any
    create_task: _Created
    promote_task: _Promoted
    list_notify_subs: _Listed

    def kanban_db_path(self, board: str | None = None) -> Path: ...
    def kanban_home(self) -> Path: ...
    def _normalize_board_slug(self, slug: str | None) -> str | None: ...
    def get_current_board(self) -> str: ...
    def _canonical_assignee(self, assignee: str | None) -> str | None: ...
    def _claimer_id(self) -> str: ...
    def _resolve_claim_ttl_seconds(self, ttl_seconds: int | None = None) -> int: ...
    def _resolve_crash_grace_seconds(self) -> int: ...
    def _classify_worker_exit(self, pid: int) -> tuple[str, int | None]: ...
    def dispatch_once(self, conn: sqlite3.Connection, **settings: Any) -> Any: ...
    def _protocol_violation_streak(self, conn: sqlite3.Connection, task_id: str) -> int: ...
    def _pid_alive(self, pid: int | None) -> bool: ...
    def _terminate_reclaimed_worker(
        self, pid: int | None, claim_lock: str | None, *, signal_fn: Any = None
    ) -> dict[str, Any]: ...
    def _fire_kanban_lifecycle_hook(self, event: str, task_id: str, **fields: Any) -> None: ...
    def assign_task(self, conn: sqlite3.Connection, task_id: str, profile: str | None) -> bool: ...
    def reclaim_task(self, conn: sqlite3.Connection, task_id: str, *, reason: str | None) -> bool: ...
    def get_task(self, conn: sqlite3.Connection, task_id: str) -> UpstreamTask | None: ...
    def get_attachment(self, conn: sqlite3.Connection, attachment_id: int) -> UpstreamAttachment | None: ...
    def list_events(self, conn: sqlite3.Connection, task_id: str) -> list[UpstreamEvent]: ...
    def _verify_created_cards(
        self, conn: sqlite3.Connection, completing_task_id: str, claimed_ids: Iterable[str]
    ) -> tuple[list[str], list[str]]: ...
    def _merge_completion_prose_artifacts(
        self,
        conn: sqlite3.Connection,
        task_id: str,
        metadata: dict[str, Any] | None,
        *,
        summary: str | None,
        result: str | None,
    ) -> dict[str, Any] | None: ...
    def _persist_scratch_completion_artifacts(
        self, conn: sqlite3.Connection, task_id: str, metadata: dict[str, Any]
    ) -> None: ...
    def _scan_prose_for_phantom_ids(self, conn: sqlite3.Connection, text: str) -> list[str]: ...
    def _cleanup_workspace(self, conn: sqlite3.Connection, task_id: str) -> None: ...


class Hermes(NamedTuple):
    """Hermes's module twice: ``now``, as everybody calls it, and ``released``, as it was before it was patched."""

    now: Upstream
    released: Upstream

    def tell_plugins(self, event: str, conn: sqlite3.Connection, task_id: str, **fields: Any) -> None:
        """Call the hook ``event`` of Hermes's plugins, if one has asked for it: what each is told takes Hermes longer
        to find out than a task takes to read. Up to 0.17 there are none."""
        plugins: Any = sys.modules.get("hermes_cli.plugins")  # where that is not loaded, nobody has asked
        if plugins is None or not hasattr(self.now, "_fire_kanban_lifecycle_hook") or not plugins.has_hook(event):
            return
        task = self.now.get_task(conn, task_id)
        assignee = task.assignee if task else None
        self.now._fire_kanban_lifecycle_hook(
            event, task_id, board=self.now.get_current_board(), assignee=assignee, **fields
        )
