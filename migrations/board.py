"""The board: Hermes 0.19.0's tables and columns, and what the merge needs beside them.

Whatever reads ``kanban.db`` today reads this one. Our own tables are named ``merge_…``; no column was added to
Hermes's, except the ones that later Hermes versions added themselves.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("board")

HERMES_TABLES = {
    "tasks": """
        id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT, assignee TEXT, status TEXT NOT NULL,
        priority INTEGER DEFAULT 0, created_by TEXT, created_at INTEGER NOT NULL, started_at INTEGER,
        completed_at INTEGER, workspace_kind TEXT NOT NULL DEFAULT 'scratch', workspace_path TEXT, branch_name TEXT,
        project_id TEXT, claim_lock TEXT, claim_expires INTEGER, tenant TEXT, result TEXT, idempotency_key TEXT,
        consecutive_failures INTEGER NOT NULL DEFAULT 0, worker_pid INTEGER, last_failure_error TEXT,
        max_runtime_seconds INTEGER, last_heartbeat_at INTEGER, current_run_id INTEGER, workflow_template_id TEXT,
        current_step_key TEXT, skills TEXT, model_override TEXT, max_retries INTEGER,
        goal_mode INTEGER NOT NULL DEFAULT 0, goal_max_turns INTEGER, session_id TEXT, block_kind TEXT,
        block_recurrences INTEGER NOT NULL DEFAULT 0, provider_override TEXT, reasoning_effort TEXT""",
    "task_links": """
        parent_id TEXT NOT NULL, child_id TEXT NOT NULL, PRIMARY KEY (parent_id, child_id)""",
    "task_comments": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, author TEXT NOT NULL, body TEXT NOT NULL,
        created_at INTEGER NOT NULL""",
    "task_events": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, run_id INTEGER, kind TEXT NOT NULL,
        payload TEXT, created_at INTEGER NOT NULL""",
    "task_runs": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, profile TEXT, step_key TEXT,
        status TEXT NOT NULL, claim_lock TEXT, claim_expires INTEGER, worker_pid INTEGER,
        max_runtime_seconds INTEGER, last_heartbeat_at INTEGER, started_at INTEGER NOT NULL, ended_at INTEGER,
        outcome TEXT, summary TEXT, metadata TEXT, error TEXT""",
    "task_attachments": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, filename TEXT NOT NULL,
        stored_path TEXT NOT NULL, content_type TEXT, size INTEGER NOT NULL DEFAULT 0, uploaded_by TEXT,
        created_at INTEGER NOT NULL""",
    "kanban_notify_subs": """
        task_id TEXT NOT NULL, platform TEXT NOT NULL, chat_id TEXT NOT NULL, thread_id TEXT NOT NULL DEFAULT '',
        user_id TEXT, notifier_profile TEXT, created_at INTEGER NOT NULL, last_event_id INTEGER NOT NULL DEFAULT 0,
        chat_type TEXT, delivery_mode TEXT NOT NULL DEFAULT 'notify', delivery_metadata TEXT,
        PRIMARY KEY (task_id, platform, chat_id, thread_id)""",
}

HERMES_INDEXES = {
    "idx_tasks_assignee_status": "tasks(assignee, status)",
    "idx_tasks_status": "tasks(status)",
    "idx_tasks_tenant": "tasks(tenant)",
    "idx_tasks_idempotency": "tasks(idempotency_key)",
    "idx_tasks_session_id": "tasks(session_id)",
    "idx_links_child": "task_links(child_id)",
    "idx_links_parent": "task_links(parent_id)",
    "idx_comments_task": "task_comments(task_id, created_at)",
    "idx_events_task": "task_events(task_id, created_at)",
    "idx_events_run": "task_events(run_id, id)",
    "idx_runs_task": "task_runs(task_id, started_at)",
    "idx_runs_status": "task_runs(status)",
    "idx_attachments_task": "task_attachments(task_id, created_at)",
    "idx_notify_task": "kanban_notify_subs(task_id)",
}

MERGE_TABLES = {
    # Where the board stands in the ledger. ``writing`` is 1 only inside the coordinator's own transaction.
    "merge_state": """
        one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL, digest TEXT NOT NULL,
        writing INTEGER NOT NULL""",
    # How far each shard is merged, and its digest there.
    "merge_watermarks": """
        profile TEXT PRIMARY KEY, seq INTEGER NOT NULL, digest TEXT NOT NULL""",
    # Ownership of a task. The run's two profiles, its lease and whether it reviews are set while a run is open;
    # ``forced``: ready although a parent is open; ``due_s``: scheduled until; ``not_before_s``: a rate limit.
    "merge_tasks": """
        task_id TEXT PRIMARY KEY, creator TEXT NOT NULL, owner TEXT NOT NULL, epoch INTEGER NOT NULL,
        vector TEXT NOT NULL, run_profile TEXT, run_claimer TEXT, lease_s INTEGER, reviewing INTEGER, forced INTEGER,
        due_s INTEGER, not_before_s INTEGER""",
    # Deleted tasks: an id is never used again.
    "merge_tombstones": """
        task_id TEXT PRIMARY KEY, position INTEGER NOT NULL""",
    # Profiles whose claim was refused for want of room, and when: it is their turn next.
    "merge_waiting": """
        profile TEXT PRIMARY KEY, asked_s INTEGER NOT NULL""",
    # Limits of the whole board.
    "merge_settings": """
        name TEXT PRIMARY KEY, value INTEGER NOT NULL""",
    # Notifications that could not be delivered. ``resend`` is 1 once somebody asked to try again.
    "merge_dead_letters": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, platform TEXT NOT NULL, chat_id TEXT NOT NULL,
        thread_id TEXT NOT NULL, profile TEXT NOT NULL, event_ids TEXT NOT NULL, error TEXT NOT NULL,
        attempts INTEGER NOT NULL, created_at INTEGER NOT NULL, resend INTEGER NOT NULL""",
    # What became of each change. ``answer`` is JSON: ids that were given, facts of a refusal.
    "merge_verdicts": """
        profile TEXT NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        verdict TEXT NOT NULL, reason TEXT, sentence TEXT, answer TEXT, PRIMARY KEY (profile, seq)""",
    # Whole changes that the board itself keeps: the refused ones, and the coordinator's own.
    "merge_kept": """
        position INTEGER PRIMARY KEY, profile TEXT NOT NULL, seq INTEGER NOT NULL, task_id TEXT NOT NULL,
        kind TEXT NOT NULL, body TEXT NOT NULL, seen TEXT NOT NULL, written_ms INTEGER NOT NULL,
        change_digest TEXT NOT NULL""",
}

WITHOUT_ROWID = MERGE_TABLES.keys() - {"merge_state", "merge_kept", "merge_dead_letters"}

# ``claim_next`` takes the first of these; without it, the choice would cost the number of ready tasks.
MERGE_INDEXES = {
    "merge_ready": "tasks(assignee, priority DESC, created_at, id) WHERE status = 'ready'",
    "merge_running": "tasks(claim_expires) WHERE status = 'running'",
    "merge_due": "merge_tasks(due_s) WHERE due_s IS NOT NULL",
    "merge_letters_task": "merge_dead_letters(task_id)",
}

KEEP_OUT = (
    "this board is written by its coordinator alone; use the kanban command or shards.Gateway instead of writing "
    "kanban.db"
)


@migrations()
def m001_tables(db: Database) -> None:
    for name, columns in HERMES_TABLES.items():
        db.execute(f"CREATE TABLE {name} ({columns})")
    for name, columns in MERGE_TABLES.items():
        db.execute(f"CREATE TABLE {name} ({columns}){' WITHOUT ROWID' if name in WITHOUT_ROWID else ''}")
    for name, target in {**HERMES_INDEXES, **MERGE_INDEXES}.items():
        db.execute(f"CREATE INDEX {name} ON {target}")
    db.execute("INSERT INTO merge_state VALUES (1, 0, '', 0)")


@migrations()
def m002_keep_out(db: Database) -> None:
    for table in [*HERMES_TABLES, *MERGE_TABLES.keys() - {"merge_state"}]:
        _keep_out(db, table)


@migrations()
def m003_order(db: Database) -> None:
    # The usual order of tasks within each status: a page of them costs what it shows (shards/queries.py).
    db.execute("CREATE INDEX merge_order ON tasks(status, priority DESC, created_at, id)")


@migrations()
def m004_supervision(db: Database) -> None:
    # Of an open run that is supervised: how long nobody may have given a sign before it ends.
    db.execute("ALTER TABLE merge_tasks ADD COLUMN grace_s INTEGER")


@migrations()
def m005_homes(db: Database) -> None:
    # Of a board that several hosts share: on which host each profile lives, its shard there, since which entry of the
    # ledger, and how far the profile was merged by then, with its digest there.
    columns = (
        "profile TEXT PRIMARY KEY, shard TEXT NOT NULL, host TEXT NOT NULL, position INTEGER NOT NULL, "
        "seq INTEGER NOT NULL, digest TEXT NOT NULL"
    )
    db.execute(f"CREATE TABLE merge_homes ({columns}) WITHOUT ROWID")
    # Of each attachment that was written on such a board: the host that has its bytes, where it lies there, and whether
    # it was removed since, which its host makes good.
    columns = (
        "attachment_id INTEGER PRIMARY KEY, host TEXT NOT NULL, of_task TEXT NOT NULL, stored_path TEXT NOT NULL, "
        "removed INTEGER NOT NULL"
    )
    db.execute(f"CREATE TABLE merge_files ({columns})")
    db.execute("CREATE INDEX merge_files_task ON merge_files(of_task)")
    for table in ("merge_homes", "merge_files"):
        _keep_out(db, table)


def _keep_out(db: Database, table: str) -> None:
    """Law 5. Other connections never see writing = 1, because the coordinator's transaction puts it back to 0."""
    for verb in ("INSERT", "UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER keep_out_{table}_{verb.lower()} BEFORE {verb} ON {table} "
            f"WHEN (SELECT writing FROM merge_state) = 0 BEGIN SELECT RAISE(ABORT, '{KEEP_OUT}'); END"
        )
