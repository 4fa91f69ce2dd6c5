"""The real hermes-agent, through the functions that its own commands, tools and gateways call."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from benchmarks.peers import Outcome, Peer
from benchmarks.peers.shared import read_outcome

PYTHON = "BENCHMARK_HERMES_PYTHON"
HOME = "HERMES_HOME"


class Hermes(Peer):
    """As released: one connection for each operation, as ``hermes kanban`` and the gateways' tools open it."""

    in_hermes = True
    checked = True

    def __init__(self, folder: Path, profile: str) -> None:
        super().__init__(folder, profile)
        os.environ[HOME] = str(folder)
        from hermes_cli import kanban_db

        self.kanban_db = kanban_db
        if not self.checked:
            kanban_db._check_file_length_invariant = lambda connection: None

    @classmethod
    def missing(cls) -> str | None:
        return None if os.environ.get(PYTHON) else "hermes-agent is not there: --hermes-python PATH, or --install"

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        return read_outcome(folder / "kanban.db")

    def connected(self) -> AbstractContextManager:
        """The connection that one operation uses."""
        return self.kanban_db.connect_closing()

    def create(self, title: str, body: str) -> str:
        with self.connected() as connection:
            return self.kanban_db.create_task(
                connection, title=title, body=body, assignee=self.profile, created_by=self.profile
            )

    def subscribe(self, task_id: str, chat_id: str) -> None:
        with self.connected() as connection:
            self.kanban_db.add_notify_sub(
                connection, task_id=task_id, platform="telegram", chat_id=chat_id, notifier_profile=self.profile
            )

    def comment(self, task_id: str, text: str) -> None:
        with self.connected() as connection:
            self.kanban_db.add_comment(connection, task_id, self.profile, text)

    def claim(self, task_id: str) -> tuple[str, tuple[str, int]] | None:
        with self.connected() as connection:
            task = self.kanban_db.claim_task(connection, task_id)
        return None if task is None else (task_id, (task_id, task.current_run_id))

    def complete(self, claim: tuple[str, int], summary: str) -> None:
        task_id, run_id = claim
        with self.connected() as connection:
            if not self.kanban_db.complete_task(connection, task_id, summary=summary, expected_run_id=run_id):
                raise RuntimeError("a completion of the own open run was turned down")

    def list(self) -> int:
        with self.connected() as connection:
            return len(self.kanban_db.list_tasks(connection))


class HermesUnchecked(Hermes):
    """Without the check that opens and closes the file after each commit, which is what damages it."""

    checked = False


class HermesKeptOpen(HermesUnchecked):
    """The same with one connection for the life of the process: hermes-agent at its best."""

    def __init__(self, folder: Path, profile: str) -> None:
        super().__init__(folder, profile)
        self.kept = self.kanban_db.connect()

    def connected(self) -> AbstractContextManager:
        return nullcontext(self.kept)

    def close(self) -> None:
        with closing(self.kept):
            pass
