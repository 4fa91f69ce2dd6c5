"""The first fix that people propose: keep the shared file, and take an ``flock`` around every write."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import Outcome, Peer
from benchmarks.peers.shared import SharedFile, read_outcome


class Flocked(Peer):
    """One connection for the life of the process; opening, writing and closing happen under the lock."""

    def __init__(self, folder: Path, profile: str) -> None:
        super().__init__(folder, profile)
        self.lock = (folder / "board.lock").open("w")
        with self.locked():
            self.file = SharedFile(folder / "board.db")

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        return read_outcome(folder / "board.db")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes meanwhile."""
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.lock, fcntl.LOCK_UN)

    def create(self, title: str, body: str) -> str:
        with self.locked(), self.file.transaction():
            return self.file.create(self.profile, title, body)

    def subscribe(self, task_id: str, chat_id: str) -> None:
        with self.locked(), self.file.transaction():
            self.file.subscribe(self.profile, task_id, chat_id)

    def comment(self, task_id: str, text: str) -> None:
        with self.locked(), self.file.transaction():
            self.file.comment(self.profile, task_id, text)

    def claim(self, task_id: str) -> tuple[str, tuple[str, int]] | None:
        with self.locked(), self.file.transaction():
            run_id = self.file.claim(self.profile, task_id)
        return None if run_id is None else (task_id, (task_id, run_id))

    def complete(self, claim: tuple[str, int], summary: str) -> None:
        with self.locked(), self.file.transaction():
            if not self.file.complete(*claim, summary):
                raise RuntimeError("the run is over")

    def list(self) -> int:
        return self.file.list()

    def close(self) -> None:
        with self.locked():
            self.file.close()
        self.lock.close()
