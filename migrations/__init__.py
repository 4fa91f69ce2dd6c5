"""The schemas of shard, ledger and board, as sqlite-utils migrations.

Each module holds one file's schema. A migration, once released, is never edited; a new need is a new migration and
a higher ``schema`` in shards/storage/sqlite.py.
"""

from __future__ import annotations

import sqlite3
from importlib import import_module

from sqlite_utils import Database


def migrate(connection: sqlite3.Connection, role: str) -> None:
    """Bring the file behind ``connection`` to the newest schema of ``role`` (shard, ledger, board).

    Runs inside the caller's transaction, so a file has either its whole schema or none of it.
    """
    import_module(f"{__name__}.{role}").migrations.apply(Database(connection, execute_plugins=False))
