"""The boards that are measured side by side, each behind the same few verbs.

A worker is a process of its own, and the one of hermes-agent runs in hermes-agent's own virtual environment. So what
is here needs nothing but the standard library until a peer is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

# In the order in which they run and are shown: this project first, then what a user would pick instead.
PEERS = {
    "shards": "benchmarks.peers.this:Shards",
    "shards, no daemon": "benchmarks.peers.this:ShardsAlone",
    "hermes": "benchmarks.peers.hermes:Hermes",
    "hermes, bridged": "benchmarks.peers.bridged:Bridged",
    "hermes, bridged, no daemon": "benchmarks.peers.bridged:BridgedAlone",
    "hermes unchecked": "benchmarks.peers.hermes:HermesUnchecked",
    "hermes unchecked, kept open": "benchmarks.peers.hermes:HermesKeptOpen",
    "one file, flock": "benchmarks.peers.flocked:Flocked",
    "one writer, queue": "benchmarks.peers.served:Served",
    "huey": "benchmarks.peers.queues:HueyQueue",
    "litequeue": "benchmarks.peers.queues:LiteQueuePeer",
}
COMMANDS = {
    "kanban": "benchmarks.peers.command:Kanban",
    "kanban, no daemon": "benchmarks.peers.command:KanbanAlone",
    "hermes kanban": "benchmarks.peers.command:HermesKanban",
}
OURS = (
    "shards",
    "shards, no daemon",
    "hermes, bridged",
    "hermes, bridged, no daemon",
    "kanban",
    "kanban, no daemon",
)
BOARD_VERBS = frozenset({"create", "subscribe", "comment", "claim", "complete", "list"})
QUEUE_VERBS = frozenset({"create", "claim", "complete"})


@dataclass
class Outcome:
    """What a board holds when everybody is done: ``tasks`` by id with title and status; the texts of the comments;
    the ids of tasks with a subscription; and what its check of the file says, "ok" if nothing."""

    tasks: dict[str, tuple[str, str]] = field(default_factory=dict)
    comments: set[str] = field(default_factory=set)
    subscribed: set[str] = field(default_factory=set)
    integrity: str = "ok"


class Peer:
    """One way to keep a board in ``folder``, as one process that works as ``profile`` uses it.

    A verb returns when it is acknowledged. Whatever goes wrong is an exception, and counted as an error; only a claim
    that somebody else won is None.
    """

    verbs = BOARD_VERBS
    # Whether the worker has to run in the virtual environment of hermes-agent.
    in_hermes = False
    # Whether a process lives on from call to call, so that its first calls are no measure of the others.
    long_lived = True

    def __init__(self, folder: Path, profile: str) -> None:
        self.folder = folder
        self.profile = profile

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot run here, in a few words; None if it can."""
        return None

    @classmethod
    @contextmanager
    def serving(cls, folder: Path) -> Iterator[int | None]:
        """Whatever has to run beside the workers; gives the id of its process, if there is one."""
        yield None

    @classmethod
    def settle(cls, folder: Path) -> None:
        """Return when what was acknowledged is to be seen by everybody."""

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        """What the board holds, and whether it is sound."""
        raise NotImplementedError

    def create(self, title: str, body: str) -> str:
        """A task assigned to this profile; returns its id."""
        raise NotImplementedError

    def subscribe(self, task_id: str, chat_id: str) -> None:
        """Tell a chat what becomes of the task."""
        raise NotImplementedError

    def comment(self, task_id: str, text: str) -> None:
        """Say something about the task."""
        raise NotImplementedError

    def claim(self, task_id: str) -> tuple[str, object] | None:
        """Take the task, or what a queue gives in place of it; returns its id and what ``complete`` wants."""
        raise NotImplementedError

    def complete(self, claim: object, summary: str) -> None:
        """Say that the claimed task is done."""
        raise NotImplementedError

    def whole_tasks(self, titles: Sequence[str], body: str, chat_id: str, summary: str) -> dict[str, str]:
        """So many tasks made, with a chat that is told, claimed and completed; returns their titles by id. In as few
        calls as there are for it; where there are none for it, one for each verb."""
        made = {}
        for title in titles:
            task_id = self.create(title, body)
            self.subscribe(task_id, chat_id)
            claimed = self.claim(task_id)
            if claimed is None:
                raise RuntimeError("a claim of the own new task was turned down")
            self.complete(claimed[1], summary)
            made[task_id] = title
        return made

    def list(self) -> int:
        """Read all tasks; returns how many."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the files."""


def find(name: str) -> type[Peer]:
    """The peer of that name, loaded now."""
    module, _, wanted = {**PEERS, **COMMANDS}[name].partition(":")
    return getattr(import_module(module), wanted)
