"""The ``kanban`` command, run inside the test's process: fast enough to try every verb and flag."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from kanban_shards.board import Board
from kanban_shards.changes.fields import Body
from kanban_shards.cli.main import main
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard

MISSING = "t_0123456789abcdef"


class Shell:
    """``kanban`` on the board of ``home``, as ``amy`` unless the call names another profile."""

    def __init__(self, home: str) -> None:
        self._home = home

    def run(self, *words: object, profile: str | None = "amy", stdin: str | None = None) -> Result:
        """Run it, whatever comes of it."""
        who = ["-p", profile] if profile else []
        argv = ["--home", self._home, *who, *map(str, words)]
        ended = CliRunner().invoke(main, argv, prog_name="kanban", input=stdin)
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exc_info
        return ended

    def says(self, *words: object, **how: Any) -> str:
        """What it prints when it goes well."""
        ended = self.run(*words, **how)
        assert (ended.exit_code, ended.stderr) == (0, ""), (words, ended.output)
        return ended.stdout

    def json(self, *words: object, **how: Any) -> Any:
        """The one JSON value that it prints when it goes well."""
        return json.loads(self.says(*words, "--json", **how))

    def refuses(self, code: int, *words: object, **how: Any) -> str:
        """What it says when it ends with ``code``."""
        ended = self.run(*words, **how)
        assert ended.exit_code == code, (words, ended.output)
        return ended.stderr

    def create(self, *words: object, **how: Any) -> str:
        """Make a task and return its id."""
        return self.json("create", *words, **how)["id"]

    def task(self, task_id: str) -> dict[str, Any]:
        """What ``show`` says of a task, whole."""
        return self.json("show", task_id)

    def status(self, task_id: str) -> str:
        """The task's status."""
        return self.task(task_id)["task"]["status"]

    def kinds(self, task_id: str) -> list[str]:
        """The kinds of the task's events, in order."""
        return [event["kind"] for event in self.task(task_id)["events"]]

    def said_of(self, task_id: str) -> list[str]:
        """The task's comments."""
        return [comment["body"] for comment in self.task(task_id)["comments"]]


def append_unmerged(paths: BoardPaths, profile: str, task_id: str, change: Body) -> None:
    """Write ``change`` as a process of ``profile`` that sees the board, and dies before anybody merges it."""
    with Board(paths) as board:
        view = board.view(task_id, profile)
    shard = Shard(paths, profile)
    shard.append(task_id, change, view)
    shard.close()
