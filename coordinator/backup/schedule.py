"""Schedule: when the daemon makes the next backup of a board, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from kanban_shards.coordinator.backup.manifest import backups_in
from kanban_shards.errors import NEEDS_ATTENTION
from kanban_shards.paths import BoardPaths

# After a backup that failed, the next one is tried this soon.
RETRY_S = 600.0


class BackupSchedule:
    """Backups of one board, ``every_s`` seconds, each made by a process of its own so that no pass waits for it."""

    def __init__(self, paths: BoardPaths, every_s: float) -> None:
        self._paths = paths
        self._every_s = every_s
        self._child: subprocess.Popen[str] | None = None
        self._trouble: set[str] = set()
        newest = [backup for backup in backups_in(paths.backups) if backup.is_of(paths)][-1:]
        age_s = time.time() - newest[0].manifest.made_ms / 1000 if newest else every_s
        self._next_s = time.monotonic() + max(0.0, every_s - max(0.0, age_s))

    def run_if_due(self) -> set[str]:
        """Start a backup if its time has come, and see how the last one ended; never waits. Returns what is wrong."""
        if self._child is not None and self._child.poll() is not None:
            self._see_how_it_ended(self._child)
            self._child = None
        if self._child is None and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "kanban_shards.coordinator", "backup"],  # -P: as in a service's command
                env={**os.environ, "HERMES_KANBAN_DB": str(self._paths.board)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        return set(self._trouble)

    def close(self) -> None:
        """End a backup that is being made; the next one removes what it leaves. If the board is opened again, it is
        soon tried again."""
        child, self._child = self._child, None
        if child is not None:
            child.terminate()
            child.communicate()
            self._next_s = min(self._next_s, time.monotonic() + RETRY_S)

    def _see_how_it_ended(self, child: subprocess.Popen[str]) -> None:
        _, said = child.communicate()
        self._trouble = set()
        if child.returncode == NEEDS_ATTENTION:
            self._trouble = {"backup: the newest one is not whole; `kanban-merge backups` says what it lacks"}
        elif child.returncode:
            self._trouble = {f"backup: {said.strip()}"}
            self._next_s = min(self._next_s, time.monotonic() + RETRY_S)
