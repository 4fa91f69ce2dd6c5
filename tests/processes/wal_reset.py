"""The WAL-reset conditions: two writers and a loop of checkpoints on one WAL, with or without the lock of law 2.

``python -m tests.processes.wal_reset [--rounds N] [--seconds S] [--until-damaged] [--without-lock] [--library apsw]``
runs so many rounds and says how many were damaged. ``--library`` names the module of another SQLite, which is never in
one process with the standard one (law 6). Exit code 1 if a round was damaged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from kanban_shards.storage.locks import FileLock

# A filesystem in memory makes the moments come oftener.
MEMORY = Path("/dev/shm")
SETTINGS = (
    "PRAGMA busy_timeout=5000", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA wal_autocheckpoint=100",
)  # fmt: skip


def version(library: str) -> str:
    """Which SQLite the library is."""
    module = import_module(library)
    return module.sqlite_version if library == "sqlite3" else module.sqlitelibversion()


class Database:
    """A connection of either library, which commits each statement."""

    def __init__(self, library: str, path: Path) -> None:
        module = import_module(library)
        how = {"isolation_level": None} if library == "sqlite3" else {}
        opened = getattr(module, "connect", None) or module.Connection
        self._connection = opened(str(path), **how)
        for setting in SETTINGS:
            self.run(setting)

    def run(self, sql: str, given: tuple = ()) -> list:
        """All rows of the answer."""
        return self._connection.cursor().execute(sql, given).fetchall()

    def close(self) -> None:
        """Close it, which may checkpoint."""
        self._connection.close()


def role(library: str, name: str, path: Path, until_s: float, locked: bool) -> None:
    """One process: ``checkpoint``, or a writer by any name. With the lock, from before opening until after closing."""
    acknowledged = 0
    lock = FileLock(path.with_suffix(".lock"))
    while time.time() < until_s:
        if locked:
            lock.acquire(60)
        try:
            with contextlib.closing(Database(library, path)) as database:
                for _ in range(50) if locked else iter(lambda: time.time() > until_s, True):
                    if name == "checkpoint":
                        database.run("PRAGMA wal_checkpoint(PASSIVE)")
                    else:
                        given = (f"{name}-{acknowledged + 1}", acknowledged % 97, "x" * 300)
                        database.run("INSERT INTO t (name, k, body) VALUES (?, ?, ?)", given)
                        acknowledged += 1
                        time.sleep(random.random() / 1_000)  # so that the checkpoints reach the end of the WAL
        except Exception as error:
            if "locked" not in str(error) and "busy" not in str(error).lower():
                print(json.dumps({"name": name, "acknowledged": acknowledged, "error": str(error)}))
                return
        finally:
            lock.release()
    print(json.dumps({"name": name, "acknowledged": acknowledged, "error": None}))


def damage_of_round(library: str, seconds: float, locked: bool) -> tuple[list[str], int]:
    """What was damaged after one round, and how many commits were acknowledged in it."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "file.db"
        made = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, k INTEGER, body TEXT)"
        words = [sys.executable, "-m", __spec__.name if __spec__ else "tests.processes.wal_reset", "--library", library]
        subprocess.run([*words, "--role", "make", "--path", path, "--sql", made], check=True, stdout=subprocess.DEVNULL)
        until_s = time.time() + 0.5 + seconds
        how = ["--path", path, "--until", str(until_s), *([] if locked else ["--without-lock"])]
        working = [
            subprocess.Popen([*words, "--role", name, *map(str, how)], stdout=subprocess.PIPE, text=True)
            for name in ("one", "two", "checkpoint")
        ]
        said = [json.loads(process.communicate()[0]) for process in working]
        acknowledged = sum(each["acknowledged"] for each in said)
        found = [each["error"] for each in said if each["error"]]
        checked = subprocess.run(
            [*words, "--role", "make", "--path", path, "--sql", "PRAGMA integrity_check(3)"],
            capture_output=True,
            text=True,
        )
        if checked.stdout.strip() != "ok":
            found.append((checked.stdout.strip() or checked.stderr.strip().splitlines()[-1])[:200])
        else:
            count = ("SELECT count(*) FROM t NOT INDEXED",)
            kept = subprocess.run(
                [*words, "--role", "make", "--path", path, "--sql", *count], capture_output=True, text=True
            )
            if int(kept.stdout) < acknowledged:
                found.append(f"{acknowledged - int(kept.stdout)} acknowledged commits are gone")
        return found, acknowledged


def main() -> None:
    """The command, and the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--until-damaged", action="store_true")
    parser.add_argument("--without-lock", action="store_true")
    parser.add_argument("--library", default="sqlite3")
    for inner in ("--role", "--path", "--until", "--sql"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "make":
        with contextlib.closing(Database(given.library, Path(given.path))) as database:
            print("\n".join(str(row[0]) for row in database.run(given.sql)))
    elif given.role:
        role(given.library, given.role, Path(given.path), float(given.until), not given.without_lock)
    else:
        damaged = 0
        for number in range(given.rounds):
            found, acknowledged = damage_of_round(given.library, given.seconds, not given.without_lock)
            damaged += bool(found)
            print(f"round {number + 1}: {acknowledged} commits, {'; '.join(found) or 'sound'}", flush=True)
            if damaged and given.until_damaged:
                break
        print(f"{damaged} of {given.rounds} rounds damaged")
        sys.exit(damaged > 0)


if __name__ == "__main__":
    main()
