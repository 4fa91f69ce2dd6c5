"""What was done to a task: its changes from the ledger, each with its verdict and with what its author had not seen."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from typing import Any, NamedTuple

import msgspec

from kanban_shards.changes import vectors
from kanban_shards.changes.codec import Change, decode_body
from kanban_shards.changes.fields import DECIDING, run_id_of
from kanban_shards.coordinator.history.sentences import as_part, sentence, unreadable
from kanban_shards.coordinator.ledger import Entry, FileLedger
from kanban_shards.coordinator.merge.snapshots import read_start
from kanban_shards.errors import StorageError, UnknownTask
from kanban_shards.past import TaskChange, TaskHistory
from kanban_shards.paths import COORDINATOR, BoardPaths, check_task_id
from kanban_shards.records import as_written
from kanban_shards.storage import connections, sqlite

# These name no task, or another one: their answers say which they chose, or made.
_BY_ANSWER = frozenset({"claim_next", "decompose"})
# These rely on nothing that was done to the task before.
_BEGINNING = frozenset({"create", "import_task", "claim_next"})


class _Verdict(NamedTuple):
    """What the board says of a change."""

    at_ms: int
    verdict: str
    reason: str | None
    why: str | None
    answer: dict[str, Any]


class _Decided(NamedTuple):
    """A change with its position and its verdict."""

    position: int
    change: Change
    verdict: _Verdict


def of_task(paths: BoardPaths, ledger: FileLedger, task_id: str) -> TaskHistory:
    """The changes of the task that board and ledger still hold. Raises UnknownTask, InvalidTaskId, and the
    StorageErrors of the board."""
    check_task_id(task_id)
    base = ledger.base()[0]
    opened = sqlite.open_reader(paths.board, sqlite.BOARD)
    with closing(opened), connections.explained(paths.board), connections.one_state(opened) as board:
        decided = list(_decided(board, ledger, task_id, base))
        is_known = board.execute(
            "SELECT 1 FROM merge_tasks WHERE task_id = :task UNION ALL "
            "SELECT 1 FROM merge_tombstones WHERE task_id = :task",
            {"task": task_id},
        ).fetchone()
    if not decided and not is_known:
        raise UnknownTask(task_id=task_id, board=paths)
    vector = _vector_at(paths, base, task_id) if base else {}
    return TaskHistory(task_id, list(_told(task_id, decided, vector)), base)


def _decided(board: sqlite3.Connection, ledger: FileLedger, task_id: str, base: int) -> Iterable[_Decided]:
    """Every change of the task, in order: what the ledger dropped, as far as the board kept it, then what it holds."""
    kept = board.execute(
        "SELECT k.*, v.at_ms, v.verdict, v.reason, v.sentence, v.answer FROM merge_kept k "
        "JOIN merge_verdicts v USING (profile, seq) WHERE k.position <= ? AND k.task_id = ? ORDER BY k.position",
        (base, task_id),
    )
    for position, *row in kept:
        yield _Decided(position, Change(*row[:8]), _verdict(row[8:]))
    shown = read_start(board).position
    answers = board.execute("SELECT position FROM merge_verdicts WHERE instr(answer, ?)", (task_id,))
    for entry in ledger.of_task(task_id, [position for (position,) in answers if position > base], shown):
        verdict = _verdict(
            board.execute(
                "SELECT at_ms, verdict, reason, sentence, answer FROM merge_verdicts WHERE profile = ? AND seq = ?",
                entry.change[:2],
            ).fetchone()
        )
        if entry.change.task_id == task_id or _is_by_answer(entry, verdict, task_id):
            yield _Decided(entry.position, entry.change, verdict)


def _verdict(row: Iterable[Any]) -> _Verdict:
    at_ms, verdict, reason, why, answer = row
    return _Verdict(at_ms, verdict, reason, why, {} if answer is None else msgspec.json.decode(answer))


def _is_by_answer(entry: Entry, verdict: _Verdict, task_id: str) -> bool:
    """Whether the change chose the task, or made it, as its answer says."""
    if verdict.verdict != "applied" or entry.change.kind not in _BY_ANSWER:
        return False
    return task_id == verdict.answer.get("task_id") or task_id in verdict.answer.get("child_ids", ())


def _vector_at(paths: BoardPaths, base: int, task_id: str) -> dict[str, int]:
    """The task's vector where the ledger begins, if the snapshot says it."""
    path = paths.snapshot
    with suppress(StorageError), closing(sqlite.open_reader(path, sqlite.SNAPSHOT)) as snapshot:
        with connections.explained(path):
            is_there = read_start(snapshot).position == base
            row = snapshot.execute("SELECT vector FROM merge_tasks WHERE task_id = ?", (task_id,)).fetchone()
        return vectors.decode(row[0]) if row and is_there else {}
    return {}


def _told(task_id: str, decided: Iterable[_Decided], vector: dict[str, int]) -> Iterable[TaskChange]:
    """The changes, each with what its author had not seen: as ``decide`` sees it, which is asked of changes that decide
    and are not bound to a run."""
    kinds: dict[tuple[str, int], str] = {}
    for position, change, verdict in decided:
        if verdict.reason == "unreadable":
            yield _change(position, change, verdict, {}, unreadable(change.profile, verdict.why or ""))
            continue
        body = decode_body(change.kind, change.body)
        is_of_plan = change.kind == "decompose" and change.task_id != task_id
        decides = body.rule == DECIDING and not is_of_plan
        missed: dict[str, int] = {}
        if decides and run_id_of(body) is None and change.kind not in _BEGINNING and change.profile != COORDINATOR:
            missed = verdict.answer.get("missed") or vectors.unseen(vectors.decode(change.seen), vector)
        if verdict.verdict == "applied" and decides:
            vector = {} if change.kind == "delete" else {**vector, change.profile: change.seq}
        kinds[change.profile, change.seq] = change.kind
        in_words = {author: _named(author, seq, kinds) for author, seq in missed.items()}
        said = (
            as_part(change.profile, change.task_id)
            if is_of_plan
            else sentence(change.profile, change.kind, body, verdict.answer, verdict.why, in_words)
        )
        yield _change(position, change, verdict, missed, said)


def _change(position: int, change: Change, verdict: _Verdict, missed: dict[str, int], said: str) -> TaskChange:
    return TaskChange(
        position=position,
        at_ms=verdict.at_ms,
        written_ms=change.written_ms,
        profile=change.profile,
        seq=change.seq,
        task_id=change.task_id,
        kind=change.kind,
        body=as_written(change.body),
        verdict="applied" if verdict.verdict == "applied" else "refused",
        reason=verdict.reason,
        why=verdict.why,
        answer=verdict.answer,
        missed=missed,
        sentence=said,
    )


def _named(author: str, seq: int, kinds: Mapping[tuple[str, int], str]) -> str:
    kind = kinds.get((author, seq))
    return f"change {seq}" + (f" ({kind.replace('_', ' ')})" if kind else "")
