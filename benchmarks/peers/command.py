"""The commands, one process for each operation: ``kanban …`` and ``hermes kanban …``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import Outcome, Peer
from benchmarks.peers.hermes import HOME, PYTHON, Hermes
from benchmarks.peers.shared import read_outcome

REFUSED = 1


class KanbanAlone(Peer):
    """``kanban``: whoever needs a verdict makes the pass."""

    long_lived = False

    @classmethod
    def settle(cls, folder: Path) -> None:
        from benchmarks.peers.this import Shards

        Shards.settle(folder)

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        from benchmarks.peers.this import Shards

        return Shards.outcome(folder)

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """One call of the command."""
        command = [sys.executable, "-m", "kanban_shards", "--home", str(self.folder), "--profile", self.profile]
        return subprocess.run([*command, *arguments], capture_output=True, text=True)

    def create(self, title: str, body: str) -> str:
        made = self.run("create", title, "--body", body, "--assignee", self.profile, "--json")
        return json.loads(_succeeded(made))["id"]

    def subscribe(self, task_id: str, chat_id: str) -> None:
        _succeeded(self.run("notify-subscribe", task_id, "--platform", "telegram", "--chat-id", chat_id))

    def comment(self, task_id: str, text: str) -> None:
        _succeeded(self.run("comment", task_id, text))

    def claim(self, task_id: str) -> tuple[str, str] | None:
        claimed = self.run("claim", task_id)
        if claimed.returncode == REFUSED:
            return None
        _succeeded(claimed)
        return task_id, task_id

    def complete(self, claim: str, summary: str) -> None:
        _succeeded(self.run("complete", claim, "--summary", summary))

    def list(self) -> int:
        return len(json.loads(_succeeded(self.run("list", "--json"))))


class Kanban(KanbanAlone):
    """``kanban``, beside a daemon."""

    @classmethod
    @contextmanager
    def serving(cls, folder: Path) -> Iterator[int | None]:
        from benchmarks.peers.this import Shards

        with Shards.serving(folder) as daemon:
            yield daemon


class HermesKanban(KanbanAlone):
    """``hermes kanban`` as released. It ends with exit code 0 whatever became of it, so its words are read."""

    @classmethod
    def missing(cls) -> str | None:
        return Hermes.missing()

    @classmethod
    def settle(cls, folder: Path) -> None:
        """Nothing is left to be done: there is one file."""

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        return read_outcome(folder / "kanban.db")

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [str(Path(os.environ[PYTHON]).with_name("hermes")), "kanban"]
        environment = {**os.environ, HOME: str(self.folder)}
        return subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)

    def create(self, title: str, body: str) -> str:
        made = self.run(
            "create", title, "--body", body, "--assignee", self.profile, "--created-by", self.profile, "--json"
        )
        return json.loads(_succeeded(made))["id"]

    def subscribe(self, task_id: str, chat_id: str) -> None:
        _said("Subscribed", self.run("notify-subscribe", task_id, "--platform", "telegram", "--chat-id", chat_id))

    def comment(self, task_id: str, text: str) -> None:
        _said("Comment", self.run("comment", task_id, text, "--author", self.profile))

    def claim(self, task_id: str) -> tuple[str, str] | None:
        claimed = self.run("claim", task_id)
        if re.search("cannot claim", claimed.stderr):
            return None
        _said("Claimed", claimed)
        return task_id, task_id

    def complete(self, claim: str, summary: str) -> None:
        _said("Completed", self.run("complete", claim, "--summary", summary))


def _succeeded(call: subprocess.CompletedProcess) -> str:
    if call.returncode:
        raise RuntimeError(_last_line(call))
    return call.stdout


def _said(word: str, call: subprocess.CompletedProcess) -> None:
    if call.returncode or word not in call.stdout:
        raise RuntimeError(_last_line(call))


def _last_line(call: subprocess.CompletedProcess) -> str:
    return ((call.stderr or call.stdout).strip().splitlines() or ["it said nothing"])[-1]
