"""Values of the wrong type, as a flipped bit leaves them: it makes a text of a number, whatever the schema says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def write_untyped(path: Path, *statements: str) -> None:
    """Run ``statements`` on a closed database as if its tables were not STRICT; its schema is as before then."""
    with closing(sqlite3.connect(path)) as database:
        schema = database.execute("SELECT sql, name FROM sqlite_schema").fetchall()
        _write_schema(database, [(sql and _untyped(sql), name) for sql, name in schema])
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
    with closing(sqlite3.connect(path)) as database:
        _write_schema(database, schema)


def _untyped(sql: str) -> str:
    return sql.replace(" STRICT", "").replace(" NOT NULL", "").replace(" TEXT", "")


def _write_schema(database: sqlite3.Connection, schema: list[tuple]) -> None:
    with database:
        database.execute("PRAGMA writable_schema=ON")
        database.executemany("UPDATE sqlite_schema SET sql = ? WHERE name = ?", schema)
