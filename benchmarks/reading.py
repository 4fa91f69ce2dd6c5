"""Reading costs what is shown: the same commands on a small and on a large board, in turn; and looks into the past."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from benchmarks.called import Command
from benchmarks.common import coordinator_of, drawn_create, fill_shard, say
from benchmarks.figures import FIGURES
from kanban_shards import inline_merge
from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import AddComment, Archive, Complete
from kanban_shards.past import History
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths

SMALL = 1_000
MOST_CPU_MS = 500.0
MOST_MEMORY_MIB = 60.0
PROFILES = 8
# What one reads: a screen of tasks, what needs a person, and what comes next.
COMMANDS = {
    "list --limit 50": ["list", "--limit", "50"],
    "list --status ready --limit 50": ["list", "--status", "ready", "--limit", "50"],
    "list --sort updated --limit 50": ["list", "--sort", "updated", "--limit", "50"],
    "diagnostics": ["diagnostics"],
    "stats": ["stats"],
    "dispatch --max 1 --dry-run": ["dispatch", "--max", "1", "--dry-run"],
    "claim --next": ["--profile", "p1", "claim", "--next"],
}


def measure(folder: Path, tasks: int, runs: int, looks: int) -> None:
    """Print the CPU and the memory of each command on a board of ``tasks`` tasks, called ``runs`` times in turn with
    the same on a board of SMALL; then what ``looks`` into the past of the large board cost, at random positions."""
    small, large = _board(folder / "small", min(SMALL, tasks)), _board(folder / "large", tasks)
    pairs = [(_command(what, words, small), _command(what, words, large)) for what, words in COMMANDS.items()]
    for _ in range(1 + runs):
        for pair in pairs:
            for command in pair:
                command.call()
    for on_small, on_large in pairs:
        cpu_ms = statistics.median(on_large.cpu_ms[1:])
        memory_mib = max(on_large.memory_mib)
        beside = f"{statistics.median(on_small.cpu_ms[1:]):.0f} ms with {min(SMALL, tasks):,}; {memory_mib:.0f} MiB"
        say(f"{on_large.what} of {tasks:,} tasks", f"{cpu_ms:.0f} ms of CPU", beside)
        FIGURES.asked(f"{on_large.what}, ms of CPU", cpu_ms, most=MOST_CPU_MS)
        FIGURES.asked(f"{on_large.what}, MiB", memory_mib, most=MOST_MEMORY_MIB)
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "cache")}):
        _look_back(large, looks)


def _command(what: str, words: list[str], paths: BoardPaths) -> Command:
    return Command(what, [sys.executable, "-m", "kanban_shards", "--home", str(paths.folder), *words])


def _look_back(paths: BoardPaths, looks: int) -> None:
    (paths.folder.parent / "cache").mkdir(mode=0o700)
    chance = random.Random(1)
    with inline_merge.open_history(paths) as history:
        last = history.span().last
        say(f"the board at {last:,}, nothing kept", _said(_look(history, last)), f"{last:,} entries replayed")
        say("the same again", _said(_look(history, last)), "")
        known = [_look(history, chance.randint(0, last)) for _ in range(looks)]
        say(f"the board at {looks} random positions", _said(statistics.median(known)), f"at most {_said(max(known))}")
        with history.board_at(position=last) as board:
            task_id = board.tasks(limit=1)[0].id
        began = time.process_time()
        found = history.of_task(task_id)
        say("the history of a task", _said(time.process_time() - began), f"{len(found.changes)} changes")


def _look(history: History, position: int) -> float:
    """Look at the board at ``position``; returns the CPU that it took, in seconds."""
    began = time.process_time()
    with history.board_at(position=position) as board:
        board.open_runs()
    return time.process_time() - began


def _said(cpu_s: float) -> str:
    return f"{cpu_s * 1000:.0f} ms of CPU"


def _board(folder: Path, tasks: int) -> BoardPaths:
    """A board in use: tasks in many statuses, of several profiles, with texts, comments and parents."""
    paths = BoardPaths.of(folder, DEFAULT_BOARD)
    paths.make_folder()
    fill_shard(paths, "default", _work(tasks))
    with coordinator_of(paths) as coordinator:
        coordinator.make_passes()
    return paths


def _work(tasks: int) -> Iterator[tuple[str, Body]]:
    chance = random.Random(1)
    made: list[str] = []
    for number in range(tasks):
        beginning = chance.random()
        task_id, create = drawn_create(
            "default",
            title=f"task {number}",
            body="Lorem ipsum dolor sit amet. " * 12,
            priority=chance.randint(0, 5),
            starts="triage" if beginning < 0.05 else "blocked" if beginning < 0.1 else None,
            parents=(chance.choice(made),) if made and chance.random() < 0.1 else (),
            assignee=chance.choice([None, *(f"p{each}" for each in range(PROFILES))]),
            tenant=chance.choice([None, None, "acme", "blue"]),
        )
        made.append(task_id)
        yield task_id, create
        yield task_id, AddComment(text="looking at it")
        end = chance.random()
        if end < 0.65:
            yield task_id, Complete(summary="done, see the docs")
        if end < 0.2:
            yield task_id, Archive()
