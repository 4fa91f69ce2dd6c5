"""``python -m tests.hosts.acceptance.worker HOME PROFILE DIARY SEED``: makes, comments, claims and completes tasks that
others want as well, without end, and notes in its diary what was acknowledged, once it was.

A create has a key, and is repeated with the same one if the process was killed before it was noted.
"""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

from kanban_shards import Gateway, Refused
from kanban_shards.errors import KanbanError

PATIENCE_S = 5.0
# Of the ready tasks, the newest so many are wanted: by all workers, on all hosts.
WANTED = 5


class Diary:
    """What was acknowledged, a line each. ``made``: how many creates are noted."""

    def __init__(self, path: Path) -> None:
        noted = path.read_text().splitlines() if path.exists() else []
        self.made = sum('"create"' in line for line in noted)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, **facts: object) -> None:
        """One line, whole: a killed writer leaves none of it, or all."""
        os.write(self._file, (json.dumps(facts) + "\n").encode())


def create(gateway: Gateway, diary: Diary, draws: random.Random) -> None:
    """A task that anybody may claim."""
    key = f"{gateway.profile}-{diary.made}"
    task_id = gateway.create(f"task {key}", idempotency_key=key)
    diary.made += 1
    diary.note(kind="create", key=key, task=task_id)


def comment(gateway: Gateway, diary: Diary, draws: random.Random) -> None:
    """A comment on one of the newest tasks."""
    tasks = gateway.board.tasks()[-WANTED:]
    if tasks:
        task_id = draws.choice(tasks).id
        diary.note(kind="comment", task=task_id, seq=gateway.comment(task_id, f"by {os.getpid()}"))


def claim(gateway: Gateway, diary: Diary, draws: random.Random) -> None:
    """One of the tasks that others claim at the same time; completed if it was won."""
    ready = gateway.board.tasks(status="ready")[-WANTED:]
    if not ready:
        return
    task_id = draws.choice(ready).id
    try:
        run = gateway.claim(task_id)
    except Refused as refused:
        diary.note(kind="lost", task=task_id, reason=refused.reason)
        return
    diary.note(kind="claim", task=task_id, run=run.id)
    gateway.complete(run)
    diary.note(kind="complete", task=task_id, run=run.id)


def main(home: str, profile: str, diary_path: str, seed: str) -> None:
    draws, diary = random.Random(int(seed)), Diary(Path(diary_path))
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        while True:
            act = draws.choice((create, comment, claim, claim))
            try:
                act(gateway, diary, draws)
            except KanbanError as error:
                diary.note(kind="trouble", of=act.__name__, error=type(error).__name__, message=str(error)[:500])
                with suppress(KanbanError):
                    gateway.settle()


if __name__ == "__main__":
    main(*sys.argv[1:])
