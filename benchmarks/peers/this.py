"""This project, as a gateway uses it: one long-lived ``Gateway``, with a daemon and without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import running_daemon
from benchmarks.peers import Outcome, Peer
from kanban_shards import Board, Gateway, Refused
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths
from kanban_shards.records import Run


class ShardsAlone(Peer):
    """Whoever needs a verdict makes the pass."""

    def __init__(self, folder: Path, profile: str) -> None:
        super().__init__(folder, profile)
        self.gateway = Gateway(profile, home=folder)

    @classmethod
    def settle(cls, folder: Path) -> None:
        merge_once(_paths(folder))

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        found = Outcome()
        with Board(_paths(folder)) as board, board.reading() as connection:
            found.tasks = {
                task_id: (title, status)
                for task_id, title, status in connection.execute("SELECT id, title, status FROM tasks")
            }
            found.comments = {text for (text,) in connection.execute("SELECT body FROM task_comments")}
            found.subscribed = {task_id for (task_id,) in connection.execute("SELECT task_id FROM kanban_notify_subs")}
        if not verify(_paths(folder)).clean:
            found.integrity = "kanban-merge verify found a difference"
        return found

    def create(self, title: str, body: str) -> str:
        return self.gateway.create(title, body=body, assignee=self.profile)

    def subscribe(self, task_id: str, chat_id: str) -> None:
        self.gateway.subscribe(task_id, platform="telegram", chat_id=chat_id)

    def comment(self, task_id: str, text: str) -> None:
        self.gateway.comment(task_id, text)

    def claim(self, task_id: str) -> tuple[str, Run] | None:
        try:
            return task_id, self.gateway.claim(task_id)
        except Refused:
            return None

    def complete(self, claim: Run, summary: str) -> None:
        self.gateway.complete(claim, summary=summary)

    def whole_tasks(self, titles: Sequence[str], body: str, chat_id: str, summary: str) -> dict[str, str]:
        with self.gateway.batch() as begun:
            made = {begun.create(title, body=body, assignee=self.profile): title for title in titles}
            for task_id in made:
                begun.subscribe(task_id, platform="telegram", chat_id=chat_id)
                begun.claim(task_id)
        with self.gateway.batch() as ended:
            for run in begun.runs.values():
                ended.complete(run, summary=summary)
        return made

    def list(self) -> int:
        return len(self.gateway.board.tasks())

    def close(self) -> None:
        self.gateway.close()


class Shards(ShardsAlone):
    """A daemon makes the passes."""

    @classmethod
    @contextmanager
    def serving(cls, folder: Path) -> Iterator[int | None]:
        with running_daemon(_paths(folder)) as daemon:
            yield daemon.pid


def _paths(folder: Path) -> BoardPaths:
    return BoardPaths.of(folder, DEFAULT_BOARD)
