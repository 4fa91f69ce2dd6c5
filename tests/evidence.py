"""Evidence: what the files of a board say, and where its tasks stand by the ledger and the verdicts alone.

Plain Python that knows docs/design/rule.md, but none of the code that keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kanban_shards.changes.fields import ADDING
from kanban_shards.changes.kinds import KINDS
from kanban_shards.coordinator.ledger import Entry, FileLedger
from kanban_shards.errors import FileMissing
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.locks import FileLock

Dot = tuple[str, int]
# (task_id, platform, chat_id, thread_id)
Chat = tuple[str, str, str, str]

CLAIMS = ("claim", "claim_next")
# Applied changes of these kinds end the open run of their task, if there is one.
ENDS_RUN = frozenset(
    {"complete", "review", "block", "schedule", "fail", "release", "reclaim", "expire", "archive", "reopen"}
)
_NOT_REPLAYED = ("_sqlite_migrations",)


@dataclass(frozen=True)
class Known:
    """What the process that wrote a change really knew: every entry up to a position, and its own changes."""

    position: int
    own: frozenset[Dot]

    def covers(self, entry: Entry) -> bool:
        return entry.position <= self.position or (entry.change.profile, entry.change.seq) in self.own


@dataclass
class Standing:
    """Where a task stands. One that a plan made starts with an empty vector: nobody decided anything on it yet."""

    creator: str
    assignee: str | None
    owner: str
    epoch: int = 1
    run_id: int | None = None
    run_profile: str | None = None
    run_claimer: str | None = None
    due_s: int | None = None
    # Until when it was last held in todo; a parent that finished may have ended that before.
    held_until_s: int | None = None
    vector: dict[str, int] = field(default_factory=dict)
    applied: list[Entry] = field(default_factory=list)

    def settle(self) -> None:
        owner = self.run_profile or self.assignee or self.creator
        if owner != self.owner:
            self.owner, self.epoch = owner, self.epoch + 1


@dataclass(frozen=True)
class Shown:
    """An entry that the board shows, with its verdict. ``task_id``: "" if it is on no task."""

    entry: Entry
    reason: str | None
    answer: dict[str, Any]
    task_id: str
    body: dict[str, Any]

    @property
    def applied(self) -> bool:
        return self.reason is None

    @property
    def kind(self) -> str:
        return self.entry.change.kind

    @property
    def profile(self) -> str:
        """Its author."""
        return self.entry.change.profile

    @property
    def is_deciding(self) -> bool:
        return KINDS[self.entry.change.kind].rule != ADDING

    @property
    def chat(self) -> Chat:
        """The chat that a change on a subscription names."""
        return self.task_id, self.body["platform"], self.body["chat_id"], self.body.get("thread_id", "")

    def __str__(self) -> str:
        entry = self.entry
        return f"{entry.change.kind} at {entry.position} by {entry.change.profile} on {self.task_id or 'no task'}"


@dataclass
class Evidence:
    """What the files of a board say at one moment. The board may be missing; then nothing is merged."""

    paths: BoardPaths
    entries: list[Entry]
    tables: dict[str, list[dict[str, Any]]]
    shards: dict[str, list[tuple]]
    bases: dict[str, tuple[int, str]]

    @classmethod
    def read(cls, paths: BoardPaths, earlier: Sequence[Entry] = ()) -> Evidence:
        """``earlier``: the entries as they were read before, for those that the ledger dropped since."""
        entries, tables = [], {}
        with suppress(FileMissing):  # not made yet, or its making was cut short
            entries = ledger_entries(paths, earlier)
        with suppress(FileMissing):
            tables = board_tables(paths)
        shards, bases = {}, {}
        for profile, _ in paths.shards():
            shards[profile], bases[profile] = shard_rows(paths, profile)
        return cls(paths, entries, tables, shards, bases)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table of the board; none if there is no board."""
        return self.tables.get(table, [])

    @property
    def position(self) -> int:
        """How many entries the board shows."""
        rows = self.rows("merge_state")
        return rows[0]["position"] if rows else 0

    @property
    def verdicts(self) -> dict[Dot, dict[str, Any]]:
        return {(row["profile"], row["seq"]): row for row in self.rows("merge_verdicts")}

    @property
    def watermarks(self) -> dict[str, tuple[int, str]]:
        return {row["profile"]: (row["seq"], row["digest"]) for row in self.rows("merge_watermarks")}

    @property
    def cursors(self) -> dict[Chat, dict[str, Any]]:
        """The board's subscriptions."""
        return {
            (row["task_id"], row["platform"], row["chat_id"], row["thread_id"]): row
            for row in self.rows("kanban_notify_subs")
        }

    def shown(self) -> list[Shown]:
        """Each entry that the board shows."""
        return self._shown

    def __post_init__(self) -> None:
        self._shown = list(self._read_shown())

    def _read_shown(self) -> Iterable[Shown]:
        verdicts = self.verdicts
        for entry in self.entries[: self.position]:
            verdict = verdicts.get((entry.change.profile, entry.change.seq))
            assert verdict, (
                f"entry {entry.position}, {entry.change.kind} by {entry.change.profile}, is shown without a verdict"
            )
            answer = json.loads(verdict["answer"]) if verdict["answer"] else {}
            chosen = entry.change.kind == "claim_next" and verdict["reason"] is None
            task_id = answer["task_id"] if chosen else entry.change.task_id
            yield Shown(entry, verdict["reason"], answer, task_id, json.loads(entry.change.body))


def covers(seen: Mapping[str, int], vector: Mapping[str, int]) -> bool:
    return all(seen.get(profile, 0) >= seq for profile, seq in vector.items())


def walk(evidence: Evidence) -> Iterable[tuple[Shown, dict[str, Standing]]]:
    """Each entry that is shown, with where the tasks stood before it."""
    standings: dict[str, Standing] = {}
    for shown in evidence.shown():
        yield shown, standings
        _follow(standings, shown)


def final(evidence: Evidence) -> dict[str, Standing]:
    """Where the tasks stand behind the last entry that is shown."""
    standings: dict[str, Standing] = {}
    for shown in evidence.shown():
        _follow(standings, shown)
    return standings


def made_by(shown: Shown) -> list[str]:
    """The tasks that an applied change made."""
    if shown.kind == "decompose":
        return [child["id"] for child in shown.body["children"]]
    return [shown.task_id] if shown.kind in ("create", "import_task") else []


def _follow(standings: dict[str, Standing], shown: Shown) -> None:
    entry, body = shown.entry, shown.body
    if not shown.applied or not shown.is_deciding or not shown.task_id:
        return
    if entry.change.kind == "create":
        standings[shown.task_id] = _made(entry.change.profile, body)
    elif entry.change.kind == "import_task":
        standings[shown.task_id] = _brought(shown)
    elif entry.change.kind == "decompose":
        standings.update({child["id"]: _made(entry.change.profile, child) for child in body["children"]})
    elif entry.change.kind == "delete":
        del standings[shown.task_id]
        return
    task = standings[shown.task_id]
    _follow_assignee(task, entry.change.kind, body)
    if entry.change.kind in CLAIMS:
        task.run_id = shown.answer["run_id"]
        task.run_profile, task.run_claimer = body.get("runs_as") or entry.change.profile, entry.change.profile
    elif entry.change.kind in ENDS_RUN:
        task.run_id = task.run_profile = task.run_claimer = None
    if entry.change.kind in (*ENDS_RUN, "unblock", "due"):
        task.due_s = body.get("due_s") if entry.change.kind == "schedule" else None
        task.held_until_s = shown.answer.get("due_s")
    task.settle()
    task.vector[entry.change.profile] = entry.change.seq
    task.applied.append(entry)


def _made(creator: str, said: Mapping[str, Any]) -> Standing:
    assignee = said.get("assignee")
    return Standing(creator, assignee, assignee or creator)


def _brought(shown: Shown) -> Standing:
    body, run_id = shown.body, shown.answer["run_id"]
    profile = body.get("run_profile") if run_id else None
    task = _made(body["creator"], body["task"])
    task.run_id, task.run_profile, task.run_claimer, task.due_s = run_id, profile, profile, body.get("due_s")
    task.owner = profile or task.owner
    return task


def _follow_assignee(task: Standing, kind: str, body: Mapping[str, Any]) -> None:
    if kind == "assign" or (kind == "specify" and "assignee" in body):
        task.assignee = body.get("assignee")
    elif kind == "decompose" and body.get("root_assignee"):
        task.assignee = body["root_assignee"]


# --- reading the files -----------------------------------------------------------------------------------------------


def ledger_entries(paths: BoardPaths, earlier: Sequence[Entry] = ()) -> list[Entry]:
    """The whole ledger; what it dropped is taken from ``earlier``."""
    ledger = FileLedger(paths.ledger)
    try:
        base, digest = ledger.base()
        assert not base or earlier[base - 1].digest == digest, f"the ledger begins behind another entry {base}"
        return [*earlier[:base], *ledger.after(base)]
    finally:
        ledger.close()


def board_tables(paths: BoardPaths) -> dict[str, list[dict[str, Any]]]:
    """Every table of the board."""
    connection = sqlite.open_reader(paths.board, sqlite.BOARD)
    try:
        with connections.one_state(connection):
            return dump(connection)
    finally:
        connection.close()


def dump(connection) -> dict[str, list[dict[str, Any]]]:
    """Every table of an open board, its rows in one order."""
    connection.row_factory = None
    tables = {}
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        if name not in _NOT_REPLAYED:
            cursor = connection.execute(f"SELECT * FROM {name}")
            columns = [column[0] for column in cursor.description]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor]
            tables[name] = sorted(rows, key=lambda row: json.dumps(list(row.values())))
    return tables


def shard_rows(paths: BoardPaths, profile: str) -> tuple[list[tuple], tuple[int, str]]:
    """The rows of a shard, and the seq and digest that they continue, read under its lock."""
    lock = FileLock(paths.shard_lock(profile))
    lock.acquire(10)
    try:
        try:
            connection = sqlite.open_reader(paths.shard(profile), sqlite.SHARD)
        except FileMissing:
            return [], (0, "")  # its first transaction was never committed
        try:
            rows = connection.execute("SELECT seq, task_id, kind, body, seen, at_ms, digest FROM changes ORDER BY seq")
            meta = connection.execute("SELECT base_seq, base_digest FROM meta").fetchone()
            return rows.fetchall(), meta or (0, "")
        finally:
            connection.close()
    finally:
        lock.close()
