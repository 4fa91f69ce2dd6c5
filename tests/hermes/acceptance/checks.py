"""What must hold when everybody has stopped. Each check gives the sentences of what does not."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from tests.hermes.acceptance.fleet import Fleet

DAMAGE = ("malformed", "not a database", "torn-extend", "Traceback (most recent call last)")
# A dispatcher that is killed between starting a worker and saying so leaves a worker without "spawned".
UNSAID_S = 5.0


def faults(fleet: Fleet, asked: dict[str, str], acknowledged: list[str], *, ours: bool) -> list[str]:
    """All that does not hold. ``asked``: the tasks for workers, each with the profile whose chat is to be told."""
    found = list(_logs(fleet))
    found += [f"left running: {words}" for words in _left(fleet)]
    found += _set_aside(fleet)
    try:
        with closing(sqlite3.connect(f"file:{fleet.root / 'kanban.db'}?mode=ro", uri=True)) as board:
            board.row_factory = sqlite3.Row
            for check in (_integrity(board), _load(board, acknowledged), _asked(board, asked), _workers(board, fleet)):
                found += check
    except sqlite3.DatabaseError as error:
        found.append(f"the board cannot be read: {error}")
    found += _chats(fleet, asked)
    if ours:
        found += _verified(fleet)
    return found


def _logs(fleet: Fleet) -> Iterator[str]:
    """No log speaks of damage, and nothing of ours or of Hermes ended in a traceback."""
    for name in [*fleet.profiles, "daemon"]:
        log = fleet.log(name)
        text = log.read_text(errors="replace") if log.exists() else ""
        for word in DAMAGE:
            if lines := [line for line in text.splitlines() if word in line]:
                yield f"{name}'s log: {len(lines)} lines like {lines[0].strip()!r}"


def _set_aside(fleet: Fleet) -> Iterator[str]:
    """No file was taken for a damaged one or another program's: nobody here harms one, or puts one in its place."""
    for path in sorted(fleet.root.glob("*.damaged-*")):
        if not path.name.endswith(("-wal", "-shm", "-journal")):
            yield f"{path.name} was set aside"


def _left(fleet: Fleet) -> Iterator[str]:
    for process in fleet.processes():
        yield " ".join(process.cmdline())


def _integrity(board: sqlite3.Connection) -> Iterator[str]:
    said = [row[0] for row in board.execute("PRAGMA integrity_check")]
    if said != ["ok"]:
        yield f"integrity_check: {said[:3]}"


def _load(board: sqlite3.Connection, acknowledged: list[str]) -> Iterator[str]:
    """Every acknowledged id is there and done, and its subscription, which was taken back, is not."""
    status = dict(board.execute("SELECT id, status FROM tasks"))
    if lost := [task for task in acknowledged if task not in status]:
        yield f"{len(lost)} of {len(acknowledged)} acknowledged tasks are lost: {lost[:5]}"
    if undone := [task for task in acknowledged if status.get(task, "done") != "done"]:
        yield f"{len(undone)} acknowledged completions are lost: {undone[:5]}"
    subscribed = {task for (task,) in board.execute("SELECT task_id FROM kanban_notify_subs")}
    if back := subscribed & set(acknowledged):
        yield f"{len(back)} subscriptions are there that were taken back: {sorted(back)[:5]}"
    if len(set(acknowledged)) < len(acknowledged):
        yield "an id was given twice"


def _asked(board: sqlite3.Connection, asked: dict[str, str]) -> Iterator[str]:
    """Every task has exactly one completed run, and no two runs that were open at the same time."""
    for task in asked:
        row = board.execute("SELECT status FROM tasks WHERE id = ?", (task,)).fetchone()
        if row is None or row["status"] != "done":
            yield f"{task} is {row['status'] if row else 'lost'}"
        runs = board.execute("SELECT * FROM task_runs WHERE task_id = ? ORDER BY id", (task,)).fetchall()
        if (completed := sum(run["outcome"] == "completed" for run in runs)) != 1:
            yield f"{task} has {completed} completed runs"
        for one, other in pairwise(runs):
            if one["ended_at"] is None or one["ended_at"] > other["started_at"]:
                yield f"{task}: runs {one['id']} and {other['id']} were open at the same time"


def _workers(board: sqlite3.Connection, fleet: Fleet) -> Iterator[str]:
    """As many worker processes as the board says were spawned, and never two on one run or beside each other."""
    begun = defaultdict(list)
    for line in fleet.lines():
        task, run, pid, at, *beside = line.split()
        begun[int(run)].append((int(pid), float(at)))
        if beside:
            yield f"{task}: worker {pid} was started beside the living {' '.join(beside)}"
    spawned = Counter(run for (run,) in board.execute("SELECT run_id FROM task_events WHERE kind = 'spawned'"))
    killed = [at for profile in fleet.profiles for at in fleet.killed.gateways.get(profile, ())]
    for run, workers in begun.items():
        if len(workers) > 1:
            yield f"run {run} had {len(workers)} workers"
        unsaid = any(abs(at - kill) < UNSAID_S for kill in killed for _, at in workers)
        if len(workers) != spawned[run] and not (spawned[run] == 0 and unsaid):
            yield f"run {run}: {len(workers)} workers, {spawned[run]} times spawned"
    if more := [run for run in spawned if run not in begun]:
        yield f"runs {more} were spawned, and no worker came"


def _chats(fleet: Fleet, asked: dict[str, str]) -> Iterator[str]:
    """Who asked is told once; twice only if that gateway was killed between the two."""
    told = defaultdict(list)
    for message in fleet.chat.messages:
        if done := re.search(r"Kanban (t_[0-9a-f]+) done", message.text):
            told[message.topic, done[1]].append(message.at)
    for task, profile in asked.items():
        times = told.pop((profile, task), [])
        if not times:
            yield f"{profile} was never told of {task}"
        for one, other in pairwise(times):
            if not any(one - 1 <= at <= other for at in fleet.killed.gateways.get(profile, ())):
                yield f"{profile} was told of {task} again, {other - one:.1f} s later"
    if told:
        yield f"told to somebody who had not asked: {sorted(told)[:5]}"


def _verified(fleet: Fleet) -> Iterator[str]:
    """The ledger's replay gives this board."""
    command: list[str | Path] = [fleet.environment / "bin/kanban-merge", "--home", fleet.root, "verify"]
    done = subprocess.run(command, capture_output=True, text=True, env=fleet.environ("default"))
    if done.returncode:
        yield f"verify ended with {done.returncode}: {done.stdout}{done.stderr}"
