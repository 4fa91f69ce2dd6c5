"""Task queues on SQLite, where the work fits: create, claim and complete are their put, get and done.

They give whatever is next, not the task that was asked for, and know no comments and no subscriptions.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from benchmarks.peers import QUEUE_VERBS, Outcome, Peer
from benchmarks.peers.shared import read_integrity

_FILE = "queue.db"


class HueyQueue(Peer):
    """huey's SqliteHuey, with ``fsync``."""

    verbs = QUEUE_VERBS

    def __init__(self, folder: Path, profile: str) -> None:
        super().__init__(folder, profile)
        self.huey = _open_huey(folder)
        self.work = self.huey.task(name="work")(_work)

    @classmethod
    def missing(cls) -> str | None:
        return None if find_spec("huey") else "huey is not installed: pip install -e '.[benchmarks]'"

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        found = Outcome(integrity=read_integrity(folder / _FILE))
        huey = _open_huey(folder)
        huey.task(name="work")(_work)
        for task in huey.pending():
            found.tasks[task.id] = (task.args[0], "ready")
        for task_id, title in huey.all_results().items():
            found.tasks[task_id] = (huey.serializer.deserialize(title), "done")
        huey.storage.close()
        return found

    def create(self, title: str, body: str) -> str:
        task = self.work.s(title, body)
        self.huey.enqueue(task)
        return task.id

    def claim(self, task_id: str) -> tuple[str, object] | None:
        task = self.huey.dequeue()
        return None if task is None else (task.id, task)

    def complete(self, claim: object, summary: str) -> None:
        self.huey.put_result(claim.id, claim.args[0])

    def close(self) -> None:
        self.huey.storage.close()


class LiteQueuePeer(Peer):
    """litequeue, with ``synchronous=FULL`` in place of its NORMAL."""

    verbs = QUEUE_VERBS

    def __init__(self, folder: Path, profile: str) -> None:
        super().__init__(folder, profile)
        from litequeue import LiteQueue

        self.queue = LiteQueue(folder / _FILE)
        self.queue.conn.execute("PRAGMA synchronous=FULL")

    @classmethod
    def missing(cls) -> str | None:
        return None if find_spec("litequeue") else "litequeue is not installed: pip install -e '.[benchmarks]'"

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        found = Outcome(integrity=read_integrity(folder / _FILE))
        queue = cls(folder, "reader").queue
        for row in queue.conn.execute("SELECT message_id, data, status FROM Queue"):
            status = ("ready", "running", "done", "failed")[row["status"]]
            found.tasks[row["message_id"]] = (json.loads(row["data"])["title"], status)
        queue.close()
        return found

    def create(self, title: str, body: str) -> str:
        return self.queue.put(json.dumps({"title": title, "body": body})).message_id

    def claim(self, task_id: str) -> tuple[str, str] | None:
        message = self.queue.pop()
        return None if message is None else (message.message_id, message.message_id)

    def complete(self, claim: str, summary: str) -> None:
        self.queue.done(claim)

    def close(self) -> None:
        self.queue.close()


def _open_huey(folder: Path):
    from huey import SqliteHuey

    return SqliteHuey("board", filename=str(folder / _FILE), fsync=True)


def _work(title: str, body: str) -> None:
    """What a worker would do; nobody executes it here."""
