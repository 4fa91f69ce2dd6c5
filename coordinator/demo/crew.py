"""The processes of the demo: started, watched, killed, stopped."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from coordinator.demo.check import Account
from shards.names import DEFAULT_BOARD, BoardPaths

DAEMON = "the daemon"
# A worker in the middle of a call that waits for its verdict ends when it has it.
STOP_S = 40.0
# A daemon that was started a moment ago does not handle SIGTERM yet, and is ended by it.
STOPPED = (0, -signal.SIGTERM)


class Crew:
    """The processes: DAEMON, and one worker for each profile of ``team``. A worker's name is its profile.

    ``scratch``: the folder for journals and for what the processes say on standard error.
    """

    def __init__(self, scratch: Path, home: Path, team: list[str]) -> None:
        self.team = team
        self.paths = BoardPaths.find(DEFAULT_BOARD, home)
        self.accounts = {profile: Account() for profile in team}
        self.killed: Counter[str] = Counter()
        self.problems: list[str] = []
        self._scratch = scratch
        self._processes: dict[str, subprocess.Popen] = {}
        self._journals: list[tuple[str, Path]] = []

    def start(self, name: str) -> None:
        """Start the daemon, or a worker with a new journal."""
        if name == DAEMON:
            role = ("daemon", self.paths.folder, self._scratch)
        else:
            journal = self._scratch / f"journal-{len(self._journals)}"
            self._journals.append((name, journal))
            role = ("worker", self.paths.folder, journal, name, *self.team)
        with self._errors(name).open("ab") as errors:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "coordinator.demo.worker", *map(str, role)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the demo alone, which then ends the others in order
            )

    def kill_one(self) -> None:
        """Kill -9 a process drawn by lot, and start it again at once."""
        name = random.choice(list(self._processes))
        self._end(name)
        self.killed["daemon" if name == DAEMON else "workers"] += 1
        self.start(name)

    def look(self) -> None:
        """Read on in the journals; a process that ended without being asked is a problem, and is started again."""
        for profile, journal in self._journals:
            self.accounts[profile].read(journal)
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self._note_end(name, process)
                self._end(name)
                self.start(name)

    def stop(self, *names: str) -> None:
        """Ask the processes to end, and wait until they have."""
        asked = {name: self._processes[name] for name in names if name in self._processes}
        for name, process in asked.items():
            process.terminate() if name == DAEMON else process.stdin.close()
        for name, process in asked.items():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.problems.append(f"{name} did not stop within {STOP_S:g} s")
            else:
                if process.returncode not in STOPPED:
                    self._note_end(name, process)
            self._end(name)
        for profile, journal in self._journals:
            self.accounts[profile].read(journal)

    def kill(self) -> None:
        """Leave nobody behind."""
        for name in list(self._processes):
            self._end(name)

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        process.stdin.close()

    def _note_end(self, name: str, process: subprocess.Popen) -> None:
        said = self._errors(name).read_text(errors="replace").strip().splitlines()
        last = f": {said[-1]}" if said else ""
        problem = f"{name} ended with exit code {process.returncode}{last}"
        if problem not in self.problems:
            self.problems.append(problem)

    def _errors(self, name: str) -> Path:
        return self._scratch / f"errors of {name}"
