"""The tables of a ledger that several hosts share, in PostgreSQL: the statements that lead to each version of them.

A released version is never edited. Every host reads and appends with these tables; only ``kanban-merge share`` makes
them, so a host's own role needs no right to.
"""

from __future__ import annotations

from typing import LiteralString

# Which version a database has is in ``kanban_schema``, its only row.
VERSIONS: tuple[tuple[LiteralString, ...], ...] = (
    (
        "CREATE TABLE kanban_schema (version integer NOT NULL)",
        "INSERT INTO kanban_schema VALUES (0)",
        # Where each board's ledger ends. The row that is locked while something is appended.
        """CREATE TABLE kanban_ledger (
            board text PRIMARY KEY,
            ledger_id text NOT NULL,
            rules integer NOT NULL,
            position bigint NOT NULL,
            digest text NOT NULL
        )""",
        # The columns of ``entries`` in a host's own ledger, and which role appended it.
        """CREATE TABLE kanban_entry (
            board text NOT NULL,
            position bigint NOT NULL,
            profile text NOT NULL,
            seq bigint NOT NULL,
            task_id text NOT NULL,
            kind text NOT NULL,
            body text NOT NULL,
            seen text NOT NULL,
            written_ms bigint NOT NULL,
            change_digest text NOT NULL,
            at_ms bigint NOT NULL,
            digest text NOT NULL,
            host text NOT NULL DEFAULT current_user,
            PRIMARY KEY (board, position),
            UNIQUE (board, profile, seq)
        )""",
        # How far each host is, as it says itself. Nothing is decided by it.
        """CREATE TABLE kanban_host (
            board text NOT NULL,
            host text NOT NULL,
            program text NOT NULL,
            rules integer NOT NULL,
            position bigint NOT NULL,
            decided text NOT NULL,
            seen_ms bigint NOT NULL,
            PRIMARY KEY (board, host)
        )""",
    ),
    # What no host of this program appends, and others could not keep or read, is refused where it is written. NOT
    # VALID: what is there already is not looked at, so that the step can be taken in any case.
    (
        """ALTER TABLE kanban_entry ADD CONSTRAINT kanban_entry_bounds CHECK (
            position > 0 AND seq > 0
            AND octet_length(profile) <= 64 AND octet_length(task_id) <= 128 AND octet_length(kind) <= 64
            AND octet_length(body) <= 8388608 AND octet_length(seen) <= 1048576
            AND octet_length(change_digest) <= 64 AND octet_length(digest) <= 64
            AND written_ms BETWEEN 0 AND 253402300799999 AND at_ms BETWEEN 0 AND 253402300799999
        ) NOT VALID""",
        """ALTER TABLE kanban_host ADD CONSTRAINT kanban_host_bounds CHECK (
            octet_length(host) <= 64 AND octet_length(program) <= 64 AND octet_length(decided) <= 256
        ) NOT VALID""",
        """ALTER TABLE kanban_ledger ADD CONSTRAINT kanban_ledger_bounds CHECK (
            octet_length(ledger_id) <= 64 AND octet_length(digest) <= 64
        ) NOT VALID""",
    ),
)
