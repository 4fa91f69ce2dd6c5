"""Check: what the demo looks at: the workers' journals while they work, and everything afterwards."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.coordinator.ledger import Entry, FileLedger
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import KanbanError
from kanban_shards.paths import BoardPaths

LOCK_WAIT_S = 10.0
PROBLEMS_SHOWN = 5
# What an applied change of a kind leaves on its task, if nobody deletes it.
_EFFECTS = {
    "create": "SELECT id FROM tasks",
    "comment": "SELECT task_id FROM task_comments",
    "complete": "SELECT task_id FROM task_events WHERE kind = 'completed'",
}


@dataclass
class Account:
    """What the processes of one profile were told, as their journals say (coordinator/demo/worker.py, ``Journal``).

    ``written``: kind and task of each acknowledged change; ``told``: what its author heard of it.
    """

    written: dict[int, tuple[str, str]] = field(default_factory=dict)
    told: dict[int, str] = field(default_factory=dict)
    newest: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    runs: list[tuple[int, str]] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits_ms: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _read_to: dict[Path, int] = field(default_factory=dict)

    def read(self, journal: Path) -> None:
        """Take in the lines that were added since; not the half one that a killed process leaves."""
        if not journal.exists():
            return
        with journal.open("rb") as file:
            file.seek(self._read_to.get(journal, 0))
            whole = file.read().rpartition(b"\n")
        self._read_to[journal] = self._read_to.get(journal, 0) + len(whole[0]) + len(whole[1])
        for line in whole[0].decode().splitlines():
            self.take(line)

    def take(self, line: str) -> None:
        """Take in one line of a journal."""
        word, *facts = line.split(" ")
        self._take(word, *facts)

    @property
    def lost_races(self) -> int:
        """Claims of a certain task that somebody else had won."""
        claims = {outcome: count for (call, outcome), count in self.outcomes.items() if call == "claim"}
        return sum(claims.values()) - claims.get("applied", 0)

    def _take(self, word: str, *facts: str) -> None:
        if word == "wrote":
            seq = int(facts[0])
            if seq in self.written:
                self.problems.append(f"change {seq} was acknowledged twice")
            self.written[seq] = (facts[1], facts[2])
            self.newest = max(self.newest, seq)
            self.kinds[facts[1]] += 1
        elif word == "told":
            self._hear(int(facts[0]), facts[1])
        elif word == "run":
            self.runs.append((int(facts[0]), facts[1]))
        elif word == "verdict":
            self.outcomes[facts[0], facts[2]] += 1
            self.waits_ms.append(float(facts[1]))

    def _hear(self, seq: int, outcome: str) -> None:
        if self.told.setdefault(seq, outcome) != outcome:
            self.problems.append(f"the verdict on change {seq} was told as {self.told[seq]}, and as {outcome}")


@dataclass
class Checked:
    """What was found: counts of what is good, and a sentence for each thing that is not."""

    files: int = 0
    changes: int = 0
    acknowledged: int = 0
    tasks: int = 0
    runs: int = 0
    expired: int = 0
    entries: int = 0
    rows: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check(paths: BoardPaths, accounts: dict[str, Account]) -> Checked:
    """Hold the files against each other and against what the workers were told. Nobody else uses the board now."""
    checked = Checked()
    try:
        _check_files(checked, paths)
        with Board(paths) as board, board.reading() as connection:
            _count(checked, connection)
            entries = _ledger_entries(paths)
            _check_acknowledged(checked, connection, entries, accounts)
            _check_effects(checked, connection, entries)
            _check_runs(checked, connection, accounts)
    except KanbanError as error:
        checked.problems.append(str(error))
    return checked


def _check_files(checked: Checked, paths: BoardPaths) -> None:
    """Each file by itself, and all of them against each other."""
    verification = verify(paths)
    checked.files = 2 + verification.shards
    checked.entries, checked.rows = verification.entries, verification.rows
    checked.problems += [f"{each.where}: {each.problem}" for each in verification.findings]


def _ledger_entries(paths: BoardPaths) -> list[Entry]:
    with closing(FileLedger(paths.ledger)) as ledger:
        return list(ledger.after(0))


def _count(checked: Checked, board: sqlite3.Connection) -> None:
    (checked.tasks,) = board.execute("SELECT count(*) FROM tasks").fetchone()
    (checked.runs,) = board.execute("SELECT count(*) FROM task_runs").fetchone()
    (checked.expired,) = board.execute("SELECT count(*) FROM merge_kept WHERE kind = 'expire'").fetchone()
    refused = "SELECT reason, count(*) FROM merge_verdicts WHERE verdict = 'refused' GROUP BY 1 ORDER BY 2 DESC"
    checked.refused = dict(tuple(row) for row in board.execute(refused))


def _check_acknowledged(
    checked: Checked, board: sqlite3.Connection, entries: list[Entry], accounts: dict[str, Account]
) -> None:
    """no_lost_change and exactly_once: each acknowledged change is in the ledger once, as it was written, with one
    verdict, the one that its author was told."""
    ledger: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for entry in entries:
        ledger[entry.change.profile, entry.change.seq].append(entry)
    verdicts: dict[tuple[str, int], list[str]] = defaultdict(list)
    for profile, seq, outcome in board.execute("SELECT profile, seq, coalesce(reason, verdict) FROM merge_verdicts"):
        verdicts[profile, seq].append(outcome)
    checked.changes = sum(1 for profile, _ in verdicts if profile in accounts)
    for profile, account in accounts.items():
        problems = list(account.problems)
        checked.acknowledged += len(account.written)
        for seq, written in sorted(account.written.items()):
            held = [(entry.change.kind, entry.change.task_id) for entry in ledger[profile, seq]]
            if held != [written] or len(verdicts[profile, seq]) != 1:
                problems.append(
                    f"change {seq}, {written[0]} of {written[1] or 'no task'}, was acknowledged; the ledger holds "
                    f"{held}, and the verdicts are {verdicts[profile, seq]}"
                )
        for seq, outcome in sorted(account.told.items()):
            if verdicts[profile, seq] != [outcome]:
                problems.append(f"change {seq} was told as {outcome}; the board says {verdicts[profile, seq]}")
        checked.problems += [f"{profile}: {problem}" for problem in problems[:PROBLEMS_SHOWN]]
        if len(problems) > PROBLEMS_SHOWN:
            checked.problems.append(f"and {len(problems) - PROBLEMS_SHOWN} more problems of {profile}")


def _check_effects(checked: Checked, board: sqlite3.Connection, entries: list[Entry]) -> None:
    """What was applied is to be seen, once: tasks, comments, and runs that were completed."""
    applied = {
        position for (position,) in board.execute("SELECT position FROM merge_verdicts WHERE verdict = 'applied'")
    }
    wanted = Counter(
        (entry.change.kind, entry.change.task_id)
        for entry in entries
        if entry.change.kind in _EFFECTS and entry.position in applied
    )
    found: Counter[tuple[str, str]] = Counter()
    for kind, sql in _EFFECTS.items():
        found.update((kind, task_id) for (task_id,) in board.execute(sql))
    for kind, task_id in sorted((wanted - found) | (found - wanted)):
        checked.problems.append(
            f"{kind} of {task_id} was applied {wanted[kind, task_id]} times, and shows {found[kind, task_id]} times"
        )


def _check_runs(checked: Checked, board: sqlite3.Connection, accounts: dict[str, Account]) -> None:
    """one_winner: a task's runs follow each other, and each claim that was won has a run of its own."""
    claimed: Counter[int] = Counter()
    open_run: dict[str, int] = {}
    for task_id, run_id, kind in board.execute(
        "SELECT task_id, run_id, kind FROM task_events WHERE run_id IS NOT NULL ORDER BY id"
    ):
        if kind == "claimed":
            claimed[run_id] += 1
            if task_id in open_run:
                problem = f"{task_id} was claimed for run {run_id} while its run {open_run[task_id]} was open"
                checked.problems.append(problem)
            open_run[task_id] = run_id
        elif kind in ("completed", "blocked", "block_loop_detected", "dependency_wait", "reclaimed"):
            open_run.pop(task_id, None)
    rows = {row["id"]: (row["profile"], row["task_id"]) for row in board.execute("SELECT * FROM task_runs")}
    if claimed != Counter(rows.keys()):
        checked.problems.append(
            f"{wording.many(claimed.total(), 'claim')} applied, and {wording.many(len(rows), 'run')} there"
        )
    told = Counter(run_id for account in accounts.values() for run_id, _ in account.runs)
    for profile, account in accounts.items():
        for run_id, task_id in account.runs:
            if told[run_id] != 1 or rows.get(run_id) != (profile, task_id):
                problem = f"{profile} was given run {run_id} of {task_id}; the board says {rows.get(run_id)}"
                checked.problems.append(problem)
