"""Machines: homes that share a board, each with its own way to one real server, its own files of libpq, and its own
daemon as a process. All of it ends with the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kanban_shards import Gateway
from kanban_shards.board import Board
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.hosts.joining import share
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holding
from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.far import Address
from kanban_shards.paths import BoardPaths
from tests.evidence import board_tables, shard_rows
from tests.far.server import Server
from tests.hosts.network import Link
from tests.until import PATIENCE_S, until

SERVICE = "kanban"
PASSWORD = "s3cret-Of-No-File"
# What a host says of itself, and when, differs; what it was told does not.


class Machine:
    """A host: ``home``, ``link``, and a daemon if one was started. ``name``: what it is called among the others."""

    def __init__(self, folder: Path, name: str, server: Server, database: str, user: str) -> None:
        self.name, self.folder, self.home = name, folder, folder / "home"
        self.home.mkdir(parents=True)
        self.paths = BoardPaths(self.home)
        self.link = Link(f"{server.folder}/.s.PGSQL.5432")
        self.clock_ahead_s = 0.0
        self._server = server
        self.daemon: subprocess.Popen[bytes] | None = None
        self.service_file, self.password_file = folder / "pg_service.conf", folder / "pgpass"
        self.database = database
        where = f"host=127.0.0.1\nport={self.link.port}\ndbname={database}\nuser={user}\n"
        self.service_file.write_text(f"[{SERVICE}]\n{where}")
        self.password_file.write_text(f"*:*:{database}:*:{PASSWORD}\n")
        self.password_file.chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes: libpq's files are this host's own, and no others are found."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "PGSERVICEFILE": str(self.service_file), "PGPASSFILE": str(self.password_file)}

    def argv(self, module: str, *words: object) -> list[str]:
        """A Python module as this host runs it: by its own clock."""
        by_its_clock = ["tests.hosts.acceptance.shifted", self.clock_ahead_s] if self.clock_ahead_s else []
        return [sys.executable, "-m", *map(str, [*by_its_clock, module, *words])]

    # --- its commands ----------------------------------------------------------------------------------------------

    def run(self, module: str, *words: object, ok: int | None = 0) -> subprocess.CompletedProcess[str]:
        """A command in a process of its own, on this host's home. ``ok``: how it must end; None for any way."""
        argv = self.argv(module, "--home", self.home, *words)
        ended = subprocess.run(argv, capture_output=True, text=True, env=self.environment, timeout=120)
        assert ok is None or ended.returncode == ok, (argv, ended.returncode, ended.stdout, ended.stderr)
        return ended

    def merge(self, *words: object, ok: int | None = 0) -> subprocess.CompletedProcess[str]:
        """``kanban-merge``."""
        return self.run("kanban_shards.coordinator", *words, ok=ok)

    def kanban(self, profile: str, *words: object, ok: int | None = 0) -> subprocess.CompletedProcess[str]:
        """``kanban --profile``."""
        return self.run("kanban_shards", "--profile", profile, *words, ok=ok)

    def json(self, *words: object, ok: int | None = 0) -> Any:
        """The answer of ``kanban-merge``, as JSON."""
        return json.loads(self.merge(*words, "--json", ok=ok).stdout)

    def create(self, profile: str, title: str, *words: object) -> str:
        """A new task; its id."""
        return str(json.loads(self.kanban(profile, "create", title, "--json", *words).stdout)["id"])

    def gateway(self, profile: str) -> Gateway:
        """A gateway in this process: beside the daemon, which alone asks the server."""
        assert self.daemon is not None
        return Gateway(profile, home=str(self.home))

    def share(self, *words: object, ok: int | None = 0) -> subprocess.CompletedProcess[str]:
        """``kanban-merge share``, as ``name``."""
        return self.merge("share", SERVICE, "--host", self.name, *words, ok=ok)

    def join(self) -> None:
        """The same without a process for it."""
        address = Address(SERVICE, "default", self.name, rules.VERSION)
        with patch.dict(os.environ, self.environment), holding(self.paths, COMMAND) as lock:
            share(self.paths, lock, address, Carrier)

    # --- its daemon ------------------------------------------------------------------------------------------------

    def start(self, waits: bool = True) -> None:
        """Start its daemon; it merges when this returns, unless it is not waited for."""
        argv = self.argv("kanban_shards.coordinator", "--home", self.home, "daemon")
        log = self.folder / "daemon.log"
        with log.open("ab") as told:
            offset = told.seek(0, os.SEEK_END)
            daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=self.environment)
        self.daemon = daemon
        if waits:
            until(lambda: b"merges the shards" in log.read_bytes()[offset:] or daemon.poll() is not None, "a daemon")
            assert daemon.poll() is None, self.log()

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End its daemon by a signal."""
        if self.daemon is not None:
            self.daemon.send_signal(how)
            self.daemon.wait(20)
            self.daemon = None

    def children(self) -> list[int]:
        """The processes that its daemon began."""
        if self.daemon is None:
            return []
        try:
            return [*map(int, Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split())]
        except OSError:
            return []

    def log(self) -> str:
        """What its daemons said."""
        path = self.folder / "daemon.log"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        """End everything of it."""
        self.kill()
        self.link.close()

    # --- its board -------------------------------------------------------------------------------------------------

    def position(self) -> int:
        """How many entries its board shows."""
        with Board(self.paths) as board:
            return board.position()

    def shared_end(self) -> int:
        """Where the ledger in the server ends."""
        [(end,)] = self._server.sql("SELECT coalesce(max(position), 0) FROM kanban_entry", self.database)
        return int(end)

    def a_minute_passes_in_silence(self) -> None:
        """By the server's notes, of this host alone."""
        silent = f"UPDATE kanban_host SET seen_ms = seen_ms - 60000 WHERE host = '{self.name}' RETURNING host"
        assert self._server.sql(silent, self.database)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Every table of its board."""
        return board_tables(self.paths)


@contextmanager
def machines(
    folder: Path, server: Server, *names: str, database: str | None = None, user: str = "postgres"
) -> Iterator[list[Machine]]:
    """Machines of these names, on a database of their own, or the one that is named."""
    database = database or server.database()
    with ExitStack() as opened:
        found = []
        for name in names:
            machine = Machine(folder / name, name, server, database, user)
            opened.callback(machine.close)
            found.append(machine)
        yield found


def settled(hosts: list[Machine], wait_s: float = PATIENCE_S) -> None:
    """Wait until every host shows all that the server has, and all that its own shards hold."""

    def is_settled() -> bool:
        # In this order: what waits while the positions are read may be merged before it is asked for.
        return not any(map(is_waiting, hosts)) and {host.position() for host in hosts} == {hosts[0].shared_end()}

    until(is_settled, "all hosts at one position", wait_s)


def is_waiting(host: Machine) -> bool:
    """Whether a shard of this host holds what its board does not show."""
    with Board(host.paths) as board:
        merged = board.watermarks()
    for profile, _ in host.paths.shards():
        rows, (base, _) = shard_rows(host.paths, profile)
        if (rows[-1][0] if rows else base) > merged.get(profile, (0, ""))[0]:
            return True
    return False


def assert_alike(hosts: list[Machine]) -> None:
    """Every row of every table is the same on each host."""
    first, *others = [(host, host.tables()) for host in hosts]
    for host, tables in others:
        assert tables.keys() == first[1].keys()
        for name, rows in tables.items():
            assert rows == first[1][name], f"{name} on {host.name} and on {first[0].name}"
