"""The invariants of docs/design.md, "Invariants", as checks of a board's files.

``Evidence`` is what the files say: it is read through shards.sqlite and judged here, in plain Python that knows the
rule but none of the code that keeps it. Each check raises AssertionError with what it found.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.ledger import Entry, FileLedger
from coordinator.passes import replay
from coordinator.state import BoardState
from coordinator.verify import verify
from shards import sqlite
from shards.changes import ADDING, KINDS, chain, genesis
from shards.errors import FileMissing
from shards.locks import FileLock
from shards.names import COORDINATOR, BoardPaths

Dot = tuple[str, int]

TERMINAL = ("done", "archived")
CLAIMS = ("claim", "claim_next")
# Applied changes of these kinds end the open run of their task, if there is one.
ENDS_RUN = frozenset({"complete", "block", "release", "expire", "archive", "schedule", "fail", "reclaim"})
CONCURRENCY = ("stale", "late", "not_your_run")

_NOT_REPLAYED = ("_sqlite_migrations",)
# Given in the ledger's order, so two orders of the same changes differ in them and in nothing else.
_GIVEN_BY_ORDER = frozenset({"last_event_id", "id"})


@dataclass(frozen=True)
class Known:
    """What the process that wrote a change really knew: every entry up to a position, and its own changes."""

    position: int
    own: frozenset[Dot]

    def covers(self, entry: Entry) -> bool:
        return entry.position <= self.position or (entry.profile, entry.seq) in self.own


@dataclass
class Standing:
    """Where a task stands, derived from the ledger and the verdicts alone."""

    creator: str
    assignee: str | None
    owner: str
    epoch: int = 1
    run_id: int | None = None
    run_profile: str | None = None
    run_claimer: str | None = None
    vector: dict[str, int] = field(default_factory=dict)
    applied: list[Entry] = field(default_factory=list)

    def settle(self) -> None:
        owner = self.run_profile or self.assignee or self.creator
        if owner != self.owner:
            self.owner, self.epoch = owner, self.epoch + 1


@dataclass
class Evidence:
    """What the files of a board say at one moment. The board may be missing; then nothing is merged."""

    paths: BoardPaths
    entries: list[Entry]
    tables: dict[str, list[dict[str, Any]]]
    shards: dict[str, list[tuple]]
    shard_ids: dict[str, str]

    @classmethod
    def read(cls, paths: BoardPaths) -> Evidence:
        entries = ledger_entries(paths) if paths.ledger.exists() else []
        shards, shard_ids = {}, {}
        for profile, _ in paths.shards():
            shards[profile], shard_ids[profile] = _shard(paths, profile)
        tables = board_tables(paths) if paths.board.exists() else {}
        return cls(paths, entries, tables, shards, shard_ids)

    @property
    def position(self) -> int:
        """How many entries the board shows."""
        rows = self.tables.get("merge_state")
        return rows[0]["position"] if rows else 0

    @property
    def verdicts(self) -> dict[Dot, dict[str, Any]]:
        return {(row["profile"], row["seq"]): row for row in self.tables.get("merge_verdicts", [])}

    @property
    def watermarks(self) -> dict[str, tuple[int, str]]:
        return {row["profile"]: (row["seq"], row["digest"]) for row in self.tables.get("merge_watermarks", [])}

    def shown(self) -> Iterable[tuple[Entry, dict[str, Any], str, dict[str, Any]]]:
        """Each entry that the board shows: ``(entry, its verdict's row, its task's id, its body)``."""
        verdicts = self.verdicts
        for entry in self.entries[: self.position]:
            verdict = verdicts.get((entry.profile, entry.seq))
            assert verdict, f"entry {entry.position}, {entry.kind} by {entry.profile}, is shown without a verdict"
            answer = json.loads(verdict["answer"]) if verdict["answer"] else {}
            task_id = answer["task_id"] if entry.kind == "claim_next" and is_applied(verdict) else entry.task_id
            yield entry, verdict, task_id, json.loads(entry.body)


def is_applied(verdict: Mapping[str, Any]) -> bool:
    return verdict["verdict"] == "applied"


def is_deciding(entry: Entry) -> bool:
    return KINDS[entry.kind].law != ADDING


def covers(seen: Mapping[str, int], vector: Mapping[str, int]) -> bool:
    return all(seen.get(profile, 0) >= seq for profile, seq in vector.items())


def board_tables(paths: BoardPaths) -> dict[str, list[dict[str, Any]]]:
    """Every table of the board."""
    connection = sqlite.open_reader(paths.board, sqlite.BOARD)
    try:
        with sqlite.snapshot(connection):
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


# --- one function for each invariant -------------------------------------------------------------------------------


def single_owner(evidence: Evidence) -> None:
    """At any position a task has one owner; an epoch is never held by two profiles."""
    holders: dict[tuple[str, int], str] = {}
    standings: dict[str, Standing] = {}
    for entry, verdict, task_id, body in evidence.shown():
        _follow(standings, entry, verdict, task_id, body)
        if task_id in standings:
            task = standings[task_id]
            holder = holders.setdefault((task_id, task.epoch), task.owner)
            assert holder == task.owner, f"epoch {task.epoch} of {task_id} is held by {holder} and {task.owner}"
    for row in evidence.tables.get("merge_tasks", []):
        task = standings.get(row["task_id"])
        assert task, f"the board has {row['task_id']}, which no applied change made"
        found = {name: row[name] for name in ("creator", "owner", "epoch", "run_profile", "run_claimer")}
        derived = {name: getattr(task, name) for name in found}
        assert found == derived, f"{row['task_id']}: the board says {found}, the ledger {derived}"
    assert len(standings) == len(evidence.tables.get("merge_tasks", [])), "a task that was made is not on the board"


def one_winner(evidence: Evidence) -> None:
    """Of all claims on one opening of a task, exactly one is applied."""
    open_runs: dict[str, Entry] = {}
    runs = Counter()
    for entry, verdict, task_id, _ in evidence.shown():
        if not is_applied(verdict):
            continue
        if entry.kind in CLAIMS:
            other = open_runs.get(task_id)
            assert other is None, (
                f"{task_id}: the claim at {entry.position} by {entry.profile} is applied while the run that "
                f"{other.profile} claimed at {other.position} is open"
            )
            open_runs[task_id] = entry
            runs[task_id] += 1
        elif entry.kind in ENDS_RUN:
            open_runs.pop(task_id, None)
    found = {row["task_id"] for row in evidence.tables.get("task_runs", []) if row["ended_at"] is None}
    assert found == set(open_runs), f"open runs on the board {found}, by the ledger {set(open_runs)}"
    running = {row["id"]: row["current_run_id"] for row in evidence.tables.get("tasks", []) if row["current_run_id"]}
    assert set(running) == found, f"tasks with a current run {set(running)}, with an open run {found}"


def no_lost_change(
    evidence: Evidence,
    acknowledged: Mapping[Dot, str],
    remembered: dict[Dot, tuple],
    everything: bool = False,
) -> None:
    """An acknowledged change has exactly one verdict, eventually and for ever.

    ``acknowledged``: each such change with its digest; ``remembered``: the verdicts of earlier calls, which this one
    adds to; ``everything``: whether all have their verdict by now.
    """
    merged = {(entry.profile, entry.seq): entry.change_digest for entry in evidence.entries}
    kept = {(profile, row[0]): row[6] for profile, rows in evidence.shards.items() for row in rows}
    for dot, digest in acknowledged.items():
        for where, held in (("ledger", merged), ("shard", kept)):
            assert held.get(dot, digest) == digest, f"{dot}: the {where} holds another change than the acknowledged"
        assert dot in merged or dot in kept, f"{dot} was acknowledged, and neither shard nor ledger holds it"
    told = {dot: (row["verdict"], row["reason"], row["answer"], row["position"])
            for dot, row in evidence.verdicts.items()}  # fmt: skip
    for dot, verdict in told.items():
        before = remembered.setdefault(dot, verdict)
        assert before == verdict, f"{dot} was {before}, and now it is {verdict}"
    if everything:
        missing = sorted((acknowledged.keys() | remembered.keys()) - told.keys())
        assert not missing, f"no verdict on {missing[:5]} and {max(0, len(missing) - 5)} more"


def exactly_once(evidence: Evidence) -> None:
    """The watermark of a shard equals the number of its changes with a verdict."""
    counted = Counter(profile for profile, _ in evidence.verdicts)
    merged = Counter(entry.profile for entry in evidence.entries[: evidence.position])
    marks = {profile: seq for profile, (seq, _) in evidence.watermarks.items()}
    assert marks == dict(counted) == dict(merged), f"watermarks {marks}, verdicts {counted}, entries shown {merged}"
    dots = Counter((entry.profile, entry.seq) for entry in evidence.entries)
    assert all(count == 1 for count in dots.values()), f"merged twice: {[dot for dot in dots if dots[dot] > 1]}"


def contiguous(evidence: Evidence) -> None:
    """Shard and ledger are 1..n, chained, and the ledger holds the very changes of the shards."""
    heads: dict[str, tuple[int, str]] = {}
    for position, entry in enumerate(evidence.entries, 1):
        assert entry.position == position, f"the ledger's entry {position} is missing"
        seq = heads.get(entry.profile, (0, ""))[0] + 1
        assert entry.seq == seq, f"at {position} the ledger skips {entry.profile}'s change {seq}"
        heads[entry.profile] = (entry.seq, entry.change_digest)
    for profile, rows in evidence.shards.items():
        digest = genesis(profile, evidence.shard_ids[profile])
        for seq, row in enumerate(rows, 1):
            assert row[0] == seq, f"change {seq} of {profile} is missing"
            digest = chain(digest, profile, *row[:6])
            assert row[6] == digest, f"the chain of {profile} breaks at {seq}"
    by_dot = {(profile, row[0]): row for profile, rows in evidence.shards.items() for row in rows}
    for entry in evidence.entries:
        row = by_dot.get((entry.profile, entry.seq))
        if row:
            assert tuple(entry[2:9]) == row, f"entry {entry.position} is not {entry.profile}'s change {entry.seq}"
    if evidence.position:
        shown = heads_at(evidence.entries, evidence.position)
        assert evidence.watermarks == shown, f"the board's watermarks are {evidence.watermarks}, not {shown}"
        digest = evidence.tables["merge_state"][0]["digest"]
        assert digest == evidence.entries[evidence.position - 1].digest, "the board stands on another ledger"


def rebuild_equals_board(evidence: Evidence, chance: random.Random) -> None:
    """replay(ledger) is the board, row for row, whatever the batch sizes and crash points."""
    if not evidence.tables:
        return
    found = verify(evidence.paths)
    assert found.clean, [f"{finding.where}: {finding.problem}" for finding in found.findings]
    scratch = sqlite.open_scratch(sqlite.BOARD)
    try:
        _replay_in_pieces(BoardState(scratch), evidence.entries[: evidence.position], chance)
        replayed = dump(scratch)
    finally:
        scratch.close()
    for table, rows in evidence.tables.items():
        assert rows == replayed[table], _difference(table, rows, replayed[table])


def owner_never_stale(evidence: Evidence) -> None:
    """A change by the owner of an open run on that run is never refused for concurrency; and nobody is refused as
    stale who owned the task or had seen everything."""
    for entry, verdict, task, body in _walk(evidence):
        if task is None or is_applied(verdict):
            continue
        about = f"{entry.kind} at {entry.position} by {entry.profile} on {entry.task_id}"
        authors = (task.run_profile, task.run_claimer)
        if task.run_id and body.get("run_id") == task.run_id and entry.profile in authors:
            assert verdict["reason"] not in CONCURRENCY, f"{about}: {verdict['reason']} on the author's own open run"
        if verdict["reason"] == "stale":
            assert entry.profile != task.owner, f"{about}: stale, and its author owned the task"
            assert not covers(json.loads(entry.seen), task.vector), f"{about}: stale, and it had seen everything"


def nothing_overwritten(evidence: Evidence, known: Mapping[Dot, Known] | None = None) -> None:
    """No applied deciding change had not seen another applied one, unless its author owned the task.

    ``known``: what the authors really knew, where the test watched them; without it, what the changes say they saw.
    A change of an open run by one of its authors, and the coordinator's choice of a task, have seen what there is.
    """
    for entry, verdict, task, body in _walk(evidence):
        if task is None or not is_applied(verdict) or not is_deciding(entry) or entry.kind == "claim_next":
            continue
        about = f"{entry.kind} at {entry.position} by {entry.profile} on {entry.task_id}"
        if body.get("run_id") is not None:
            assert body["run_id"] == task.run_id, f"{about}: applied, and its run was over"
            authors = (task.run_profile, task.run_claimer, COORDINATOR)
            assert entry.profile in authors, f"{about}: applied on the run of {authors[:2]}"
            continue
        if entry.profile == task.owner:
            continue
        seen = json.loads(entry.seen)
        assert covers(seen, task.vector), f"{about}: applied with {seen} seen of {task.vector}, owner {task.owner}"
        knew = (known or {}).get((entry.profile, entry.seq))
        missed = [other for other in task.applied if knew is not None and not knew.covers(other)]
        assert not missed, f"{about}: applied, and its author knew nothing of {missed[0]}"
    standings = {task_id: task.vector for task_id, task in _final(evidence).items()}
    found = {row["task_id"]: json.loads(row["vector"]) for row in evidence.tables.get("merge_tasks", [])}
    assert found == standings, f"task vectors on the board {found}, by the ledger {standings}"


def promotion(evidence: Evidence) -> None:
    """A task is ready only when all its parents are terminal, and waits only for parents that are not; the link
    graph has no cycle."""
    status = {row["id"]: row["status"] for row in evidence.tables.get("tasks", [])}
    parents = defaultdict(set)
    for row in evidence.tables.get("task_links", []):
        parents[row["child_id"]].add(row["parent_id"])
    for task_id, now in status.items():
        waits_for = [parent for parent in parents[task_id] if status[parent] not in TERMINAL]
        assert now != "ready" or not waits_for, f"{task_id} is ready and waits for {waits_for}"
        assert now != "todo" or waits_for, f"{task_id} is todo and waits for nobody"
    while leaves := [task_id for task_id in list(parents) if not parents[task_id] & parents.keys()]:
        for task_id in leaves:
            del parents[task_id]
    assert not parents, f"these wait for each other: {sorted(parents)}"


def additions_commute(one: Evidence, other: Evidence) -> None:
    """Two orders of the same adding changes give the same board, but for the ids that follow the order."""
    left, right = unordered(one.tables), unordered(other.tables)
    for table in left:
        assert left[table] == right[table], f"{table}: {left[table] - right[table]}, {right[table] - left[table]}"


def isolation(damaged: Evidence, whole: Evidence, profile: str) -> None:
    """Whatever is done to the shard of ``profile`` changes nothing on tasks that it neither owns nor claims, and
    delays no other shard: ``damaged`` is the board beside ``whole``, where nothing was done to it."""
    theirs = {task_id for task_id, task in _final(whole).items()
              if profile not in {entry.profile for entry in task.applied} | {task.owner}}  # fmt: skip
    assert _marks_without(damaged, profile) == _marks_without(whole, profile), "another shard was held up"
    for name, key in (("tasks", "id"), ("merge_tasks", "task_id"), ("task_links", "child_id")):
        left, right = (
            [_without_shared_counters(row) for row in each.tables[name] if row[key] in theirs]
            for each in (damaged, whole)
        )
        assert left == right, _difference(name, left, right)


def check(evidence: Evidence, known: Mapping[Dot, Known] | None = None) -> None:
    """Every invariant that one look at the files can judge."""
    contiguous(evidence)
    exactly_once(evidence)
    single_owner(evidence)
    one_winner(evidence)
    owner_never_stale(evidence)
    nothing_overwritten(evidence, known)
    promotion(evidence)


# --- how -----------------------------------------------------------------------------------------------------------


def heads_at(entries: Sequence[Entry], position: int) -> dict[str, tuple[int, str]]:
    """How far each profile is merged at ``position`` of the ledger: ``{profile: (seq, digest)}``."""
    return {entry.profile: (entry.seq, entry.change_digest) for entry in entries[:position]}


def unordered(tables: Mapping[str, list[dict[str, Any]]]) -> dict[str, Counter]:
    """The tasks, and what belongs to them, without what follows from the ledger's order."""
    return {
        name: Counter(
            json.dumps({key: value for key, value in row.items() if key not in _GIVEN_BY_ORDER})
            for row in rows
            if row.get("kind") != "promoted"  # a task may be ready for a moment between two links, or not
        )
        for name, rows in tables.items()
        if name == "merge_tasks" or not name.startswith(("merge_", "sqlite_"))
    }


def _walk(evidence: Evidence) -> Iterable[tuple[Entry, dict[str, Any], Standing | None, dict[str, Any]]]:
    """Each entry that is shown, with where its task stood before it; None if there was no such task."""
    standings: dict[str, Standing] = {}
    for entry, verdict, task_id, body in evidence.shown():
        yield entry, verdict, standings.get(task_id), body
        _follow(standings, entry, verdict, task_id, body)


def _final(evidence: Evidence) -> dict[str, Standing]:
    standings: dict[str, Standing] = {}
    for entry, verdict, task_id, body in evidence.shown():
        _follow(standings, entry, verdict, task_id, body)
    return standings


def _follow(standings: dict[str, Standing], entry: Entry, verdict: dict, task_id: str, body: dict) -> None:
    if not is_applied(verdict) or not is_deciding(entry):
        return
    if entry.kind == "create":
        assignee = body.get("assignee")
        standings[task_id] = Standing(entry.profile, assignee, assignee or entry.profile)
    task = standings[task_id]
    if entry.kind == "assign":
        task.assignee = body.get("assignee")
    elif entry.kind in CLAIMS:
        task.run_id = json.loads(verdict["answer"])["run_id"]
        task.run_profile, task.run_claimer = body.get("runs_as") or entry.profile, entry.profile
    elif entry.kind in ENDS_RUN:
        task.run_id = task.run_profile = task.run_claimer = None
    task.settle()
    task.vector[entry.profile] = entry.seq
    task.applied.append(entry)


def _replay_in_pieces(state: BoardState, entries: Sequence[Entry], chance: random.Random) -> None:
    """Replay in batches of any size, some of them undone before their end and played again."""
    at = 0
    while at < len(entries):
        batch = entries[at : at + chance.choice((1, 2, 7, 50, 1_000))]
        if chance.random() < 0.3:
            _replay_cut_short(state, batch)
        replay(state, batch)
        at += len(batch)


def _replay_cut_short(state: BoardState, batch: Sequence[Entry]) -> None:
    cut = [*batch, None]  # no entry at all: deciding it fails as a kill does, with everything before it undone
    try:
        replay(state, cut)
    except AttributeError:
        return
    raise AssertionError("a replay over its end did not fail")


def ledger_entries(paths: BoardPaths) -> list[Entry]:
    ledger = FileLedger(paths.ledger)
    try:
        return list(ledger.after(0))
    finally:
        ledger.close()


def _shard(paths: BoardPaths, profile: str) -> tuple[list[tuple], str]:
    """The rows of a shard and its id, read under its lock."""
    lock = FileLock(paths.shard_lock(profile))
    lock.acquire(10)
    try:
        try:
            connection = sqlite.open_reader(paths.shard(profile), sqlite.SHARD)
        except FileMissing:
            return [], ""  # its first transaction was never committed
        try:
            rows = connection.execute("SELECT seq, task_id, kind, body, seen, at_ms, digest FROM changes ORDER BY seq")
            meta = connection.execute("SELECT shard_id FROM meta").fetchone()
            return rows.fetchall(), meta[0] if meta else ""
        finally:
            connection.close()
    finally:
        lock.close()


def _marks_without(evidence: Evidence, profile: str) -> dict[str, tuple[int, str]]:
    return {name: mark for name, mark in evidence.watermarks.items() if name not in (profile, COORDINATOR)}


def _without_shared_counters(row: dict[str, Any]) -> dict[str, Any]:
    """Runs, and the coordinator's own changes, are numbered over all tasks; a task's state is not in the numbers."""
    vector = json.loads(row.get("vector", "{}"))
    vector.pop(COORDINATOR, None)
    return {**row, "current_run_id": bool(row.get("current_run_id")), "vector": vector}


def _difference(table: str, left: list, right: list) -> str:
    only_left = [row for row in left if row not in right]
    only_right = [row for row in right if row not in left]
    return f"{table}: only here {only_left[:3]}, only there {only_right[:3]}"
