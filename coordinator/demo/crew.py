"""Crew: the processes of the demo: started, watched, killed, stopped."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.demo.check import Account
from kanban_shards.coordinator.demo.worker import LEASE_S
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths

DAEMON = "the daemon"
# A worker in the middle of a call that waits for its verdict ends when it has it.
STOP_S = 40.0
LOOK_EVERY_S = 0.1
# After a run's lease, until the daemon has taken the task back.
SETTLE_S = LEASE_S + 30.0
# A daemon that was started a moment ago does not handle SIGTERM yet, and is ended by it.
STOPPED = (0, -signal.SIGTERM)


class Crew:
    """The processes: DAEMON, and workers of the profiles of ``team``. A worker's name is its profile, or its profile, a
    colon and another word.

    ``scratch``: the folder for journals and for what the processes say on standard error. ``chance``: who is killed.
    """

    def __init__(self, scratch: Path, home: Path, team: list[str], chance: random.Random | None = None) -> None:
        self.team = team
        self.paths = BoardPaths.find(DEFAULT_BOARD, home)
        self.accounts = {profile: Account() for profile in team}
        self.killed: Counter[str] = Counter()
        self.problems: list[str] = []
        self._scratch = scratch
        self._chance = chance or random.Random()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._journals: list[tuple[str, Path]] = []

    def start(self, name: str) -> None:
        """Start the daemon, or a worker with a new journal."""
        if name == DAEMON:
            role: list[str | Path] = ["daemon", self.paths.folder, self._scratch]
        else:
            journal = self._scratch / f"journal-{len(self._journals)}"
            profile = name.partition(":")[0]
            self._journals.append((profile, journal))
            role = ["worker", self.paths.folder, journal, profile, *self.team]
        with self._errors(name).open("ab") as errors:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "kanban_shards.coordinator.demo.worker", *map(str, role)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the demo alone, which then ends the others in order
            )

    def kill_one(self) -> None:
        """Kill -9 a process drawn by lot, and start it again at once."""
        name = self._chance.choice(list(self._processes))
        self.end(name)
        self.killed["daemon" if name == DAEMON else "workers"] += 1
        self.start(name)

    def process(self, name: str) -> subprocess.Popen[bytes] | None:
        """The process of that name; None if it is not there now."""
        return self._processes.get(name)

    def look(self) -> None:
        """Read on in the journals; a process that ended without being asked is a problem, and is started again."""
        for profile, journal in self._journals:
            self.accounts[profile].read(journal)
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self._note_end(name, process)
                self.end(name)
                self.start(name)

    def stop(self, *names: str) -> None:
        """Ask the processes to end, and wait until they have."""
        asked = {name: self._processes[name] for name in names if name in self._processes}
        for name, process in asked.items():
            process.terminate() if name == DAEMON else _close_input(process)
        for name, process in asked.items():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.problems.append(f"{name} did not stop within {STOP_S:g} s")
            else:
                if process.returncode not in STOPPED:
                    self._note_end(name, process)
            self.end(name)
        for profile, journal in self._journals:
            self.accounts[profile].read(journal)

    def settling(self, board: Board) -> Iterator[None]:
        """Until all that was written has its verdict, and no run of a killed worker is open."""
        for profile in self.team:
            with Gateway(profile, board=DEFAULT_BOARD, home=self.paths.folder) as kanban:
                kanban.sync()
        deadline = time.monotonic() + SETTLE_S
        while board.tasks(status="running", limit=1):
            if time.monotonic() > deadline:
                self.problems.append("a task still runs long after its lease ended")
                return
            yield
            time.sleep(LOOK_EVERY_S)

    def kill(self) -> None:
        """Leave nobody behind."""
        for name in list(self._processes):
            self.end(name)

    def end(self, name: str) -> None:
        """Kill -9 the process of that name."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        _close_input(process)

    def _note_end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        said = self._errors(name).read_text(errors="replace").strip().splitlines()
        last = f": {said[-1]}" if said else ""
        problem = f"{name} ended with exit code {process.returncode}{last}"
        if problem not in self.problems:
            self.problems.append(problem)

    def _errors(self, name: str) -> Path:
        return self._scratch / f"errors of {name}"


def _close_input(process: subprocess.Popen[bytes]) -> None:
    """Let the process know that it is to end."""
    if process.stdin is not None:
        process.stdin.close()
