"""A shard: a profile's outbox."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("shard")


@migrations()
def m001_changes(db: Database) -> None:
    # digest: hexadecimal, of the row before and this row; see shards/changes/codec.py. AUTOINCREMENT is not used: seq
    # is given by the one who appends, and a gap is a fault that the collector must see.
    db.execute(
        """CREATE TABLE changes (
            seq INTEGER PRIMARY KEY,
            task_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            body TEXT NOT NULL,
            seen TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            digest TEXT NOT NULL
        ) STRICT"""
    )
    # Whose shard this is, which one, and where it begins: one row. The changes up to ``base_seq`` were dropped once the
    # ledger held them; ``base_digest`` is the digest there, which the next change continues.
    db.execute(
        """CREATE TABLE meta (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            profile TEXT NOT NULL,
            shard_id TEXT NOT NULL,
            base_seq INTEGER NOT NULL,
            base_digest TEXT NOT NULL
        ) STRICT"""
    )
    # The newest heartbeat of each run, overwritten in place: state, not history.
    db.execute(
        """CREATE TABLE liveness (
            run_id INTEGER PRIMARY KEY,
            at_ms INTEGER NOT NULL
        ) STRICT"""
    )
    # What is being delivered to each chat right now, overwritten in place. ``letter_id`` is 0, or the dead letter that
    # is sent again; ``acknowledged`` is the newest event that the chat was told of; ``acknowledged_seq`` the change
    # that says so (once it is merged, the board's cursor counts); ``upto`` the newest event of what was tried last.
    db.execute(
        """CREATE TABLE deliveries (
            task_id TEXT NOT NULL,
            platform TEXT NOT NULL,
            chat_id TEXT NOT NULL,
            thread_id TEXT NOT NULL,
            letter_id INTEGER NOT NULL,
            acknowledged INTEGER NOT NULL DEFAULT 0,
            acknowledged_seq INTEGER NOT NULL DEFAULT 0,
            upto INTEGER NOT NULL DEFAULT 0,
            leased_until_ms INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            next_try_ms INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (task_id, platform, chat_id, thread_id, letter_id)
        ) STRICT"""
    )
