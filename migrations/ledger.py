"""The ledger: every change once, in the order that was decided."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("ledger")


@migrations()
def m001_entries(db: Database) -> None:
    # written_ms: the author's clock; at_ms: the coordinator's, and the only time that deciding knows.
    # change_digest continues the shard's chain, digest the ledger's.
    db.execute(
        """CREATE TABLE entries (
            position INTEGER PRIMARY KEY,
            profile TEXT NOT NULL,
            seq INTEGER NOT NULL,
            task_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            body TEXT NOT NULL,
            seen TEXT NOT NULL,
            written_ms INTEGER NOT NULL,
            change_digest TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            digest TEXT NOT NULL,
            UNIQUE (profile, seq)
        ) STRICT"""
    )
    # Where the ledger begins: the entries up to this position were dropped, up to a snapshot of the board.
    db.execute(
        """CREATE TABLE base (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            position INTEGER NOT NULL,
            digest TEXT NOT NULL
        ) STRICT"""
    )
    db.execute("INSERT INTO base VALUES (1, 0, '')")


@migrations()
def m002_shared(db: Database) -> None:
    # Where the other hosts are of whose ledger this is a copy: what ``shared.json`` said when it was last followed.
    db.execute("CREATE TABLE shared (one INTEGER PRIMARY KEY CHECK (one = 1), said TEXT NOT NULL) STRICT")
