"""The invariants of docs/design/invariants.md, "Invariants", as checks of a board's files.

``Evidence`` (tests/evidence.py) is what the files say; it is judged here, in plain Python that knows the rule but none
of the code that keeps it. Each check raises AssertionError with what it found.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kanban_shards.changes.codec import chain
from kanban_shards.changes.kinds import LEASE_S
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.merge.replay import replay
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.paths import COORDINATOR
from kanban_shards.storage import sqlite
from tests.evidence import (
    CLAIMS,
    Chat,
    Dot,
    Evidence,
    Known,
    Shown,
    Standing,
    covers,
    dump,
    final,
    made_by,
    walk,
)

# The chat of a dead letter, and the events in it.
Letter = tuple[Chat, list[int]]

TERMINAL = ("done", "archived")
CONCURRENCY = ("stale", "late", "not_your_run")

# Of these tables the rows are counted; an id is given once, whatever is deleted.
COUNTED = ("task_events", "task_runs", "task_comments", "task_attachments", "merge_dead_letters")
# What never changes of a row that has such an id.
_LASTING = ("task_id", "kind", "created_at", "started_at", "author", "stored_path", "chat_id", "profile")
# Given in the ledger's order, so two orders of the same changes differ in them and in nothing else.
_GIVEN_BY_ORDER = frozenset({"last_event_id", "id"})
# What is kept of a task that was deleted: that there was one, and what was refused on it.
_OUTLIVES_A_TASK = ("merge_tombstones", "merge_kept")


@dataclass
class Memory:
    """What was seen of the board at earlier looks, for what one look cannot judge. ``lives``: each subscription since
    it was made, by the position of the change that made it: its cursor, and the events that were ahead of it."""

    position: int = 0
    rows: dict[tuple[str, int], tuple] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    lives: dict[tuple[Chat, int], tuple[int, frozenset[int]]] = field(default_factory=dict)


# --- one function for each invariant -------------------------------------------------------------------------------


def single_owner(evidence: Evidence) -> None:
    """At any position a task has one owner; an epoch is never held by two profiles. A deleted task is gone for good."""
    holders: dict[tuple[str, int], str] = {}
    gone: dict[str, int] = {}
    for shown, standings in walk(evidence):
        if shown.task_id in gone:
            assert shown.reason in ("gone", "taken_id"), f"{shown}: {shown.reason}, and the task was deleted"
        if shown.applied:
            taken = set(made_by(shown)) & (standings.keys() | gone.keys())
            assert not taken, f"{shown}: applied, and there is or was {taken} already"
        if shown.applied and shown.kind == "delete":
            gone[shown.task_id] = shown.entry.position
        if (task := standings.get(shown.task_id)) is not None:
            _one_holder(holders, shown.task_id, task)
    standings = final(evidence)
    for task_id, task in standings.items():
        _one_holder(holders, task_id, task)
    columns = ("creator", "owner", "epoch", "run_profile", "run_claimer", "due_s")
    found = {row["task_id"]: {name: row[name] for name in columns} for row in evidence.rows("merge_tasks")}
    for row in evidence.rows("tasks"):
        if row["status"] == "todo" and row["id"] in found and row["id"] in standings:
            held = found[row["id"]].pop("due_s")
            found[row["id"]]["due_s"] = None
            assert held in (None, standings[row["id"]].held_until_s), f"{row['id']} is held until {held}"
    derived = {task_id: {name: getattr(task, name) for name in columns} for task_id, task in standings.items()}
    wrong = {task_id for task_id in found.keys() | derived.keys() if found.get(task_id) != derived.get(task_id)}
    assert not wrong, "; ".join(f"{each}: on the board {found.get(each)}, by the ledger {derived.get(each)}"
                                for each in wrong)  # fmt: skip
    assert {row["id"] for row in evidence.rows("tasks")} == set(found), "tasks and merge_tasks name other tasks"
    _check_gone(evidence, gone)


def _one_holder(holders: dict[tuple[str, int], str], task_id: str, task: Standing) -> None:
    holder = holders.setdefault((task_id, task.epoch), task.owner)
    assert holder == task.owner, f"epoch {task.epoch} of {task_id} is held by {holder} and {task.owner}"


def _check_gone(evidence: Evidence, gone: Mapping[str, int]) -> None:
    found = {row["task_id"]: row["position"] for row in evidence.rows("merge_tombstones")}
    assert found == gone, f"tombstones {found}, deleted {gone}"
    for table, rows in evidence.tables.items():
        if table not in _OUTLIVES_A_TASK:
            for row in rows:
                left = {row.get(column) for column in ("task_id", "parent_id", "child_id")} & gone.keys()
                assert not left, f"{table} still has {row}, and {left} was deleted"


def one_winner(evidence: Evidence) -> None:
    """Of all claims on one opening of a task (to do it, or to review it), exactly one is applied."""
    for shown, standings in walk(evidence):
        if shown.applied and shown.kind in CLAIMS:
            task = standings[shown.task_id]
            assert task.run_id is None, f"{shown}: applied while run {task.run_id}, by {task.run_claimer}, is open"
    derived = {task_id: task.run_id for task_id, task in final(evidence).items() if task.run_id}
    runs = {row["task_id"]: row["id"] for row in evidence.rows("task_runs") if row["ended_at"] is None}
    assert runs == derived, f"open runs on the board {runs}, by the ledger {derived}"
    current = {row["id"]: row["current_run_id"] for row in evidence.rows("tasks") if row["current_run_id"]}
    assert current == derived, f"current runs {current}, open runs by the ledger {derived}"
    running = {row["id"] for row in evidence.rows("tasks") if row["status"] == "running"}
    assert running == set(derived), f"running {running}, with an open run {set(derived)}"


def capacity(evidence: Evidence) -> None:
    """A claim is applied only below the limits as they are at its position, of the board and of a profile."""
    limits: dict[str, int] = {}
    for shown, standings in walk(evidence):
        if not shown.applied:
            continue
        if shown.kind == "settings":
            limits = {name: limit for name, limit in {**limits, **shown.body}.items() if limit is not None}
        elif shown.kind in CLAIMS:
            runs_as = shown.body.get("runs_as") or shown.profile
            open_runs = Counter(task.run_profile for task in standings.values() if task.run_id)
            whole, own = limits.get("max_in_progress"), limits.get("max_in_progress_per_profile")
            assert whole is None or open_runs.total() < whole, f"{shown}: applied, {open_runs} are open of {whole}"
            assert own is None or open_runs[runs_as] < own, f"{shown}: applied, {open_runs} are open, {own} each"
    found = {row["name"]: row["value"] for row in evidence.rows("merge_settings")}
    assert found == limits, f"limits on the board {found}, by the ledger {limits}"


def grace(evidence: Evidence) -> None:
    """A supervised run ends for want of signs only when the ledger has none for its grace: no claim, no progress, no
    word of a dispatcher that saw its worker, none of a host that heard it. While a clock was set back, its time is no
    measure."""
    signs: dict[int, tuple[int, int]] = {}
    for shown in evidence.shown():
        if not shown.applied:
            continue
        at_s, run_id = shown.entry.at_ms // 1000, shown.body.get("run_id")
        if shown.kind in CLAIMS and "grace_s" in shown.body:
            silent_s = max(shown.body["grace_s"], shown.body.get("lease_s", LEASE_S))
            signs[shown.answer["run_id"]] = silent_s, at_s
        elif shown.kind in ("progress", "supervise", "alive") and run_id in signs:
            sign_s = (shown.entry.at_ms - shown.body.get("age_ms", 0)) // 1000
            signs[run_id] = signs[run_id][0], max(sign_s, signs[run_id][1])
        elif shown.kind == "expire" and run_id in signs:
            silent_s, last_s = signs[run_id]
            assert not last_s <= at_s < last_s + silent_s, f"{shown}: ended {at_s - last_s} s after a sign"


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
    merged = {(entry.change.profile, entry.change.seq): entry.change.digest for entry in evidence.entries}
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
    merged = Counter(entry.change.profile for entry in evidence.entries[: evidence.position])
    watermarks = {profile: seq for profile, (seq, _) in evidence.watermarks.items()}
    assert watermarks == dict(counted) == dict(merged), (
        f"watermarks {watermarks}, verdicts {counted}, entries shown {merged}"
    )
    dots = Counter((entry.change.profile, entry.change.seq) for entry in evidence.entries)
    assert all(count == 1 for count in dots.values()), f"merged twice: {[dot for dot in dots if dots[dot] > 1]}"
    keys = Counter(
        row["idempotency_key"] for row in evidence.rows("tasks")
        if row["idempotency_key"] is not None and row["status"] != "archived"
    )  # fmt: skip
    assert all(count == 1 for count in keys.values()), f"live tasks with one key: {keys}"


def never_reused(evidence: Evidence, memory: Memory) -> None:
    """An id that was given to an event, run, comment, attachment or dead letter is never given to another."""
    for kind_of_id, ids in _answered_ids(evidence).items():
        assert ids == sorted(set(ids)), f"{kind_of_id} were given out of order or twice: {ids}"
    for table in COUNTED:
        for row in evidence.rows(table):
            lasting = tuple(row.get(name) for name in _LASTING)
            before = memory.rows.setdefault((table, row["id"]), lasting)
            assert before == lasting, f"{table} {row['id']} was {before}, and now it is {lasting}"
    if evidence.position >= memory.position:
        given = {row["name"]: row["seq"] for row in evidence.rows("sqlite_sequence")}
        fell = {name: seq for name, seq in memory.given.items() if given.get(name, 0) < seq}
        assert not evidence.tables or not fell, f"the next ids fell from {fell} to {given}"
        memory.given.update(given)


def contiguous(evidence: Evidence) -> None:
    """Shard and ledger are 1..n, chained, and the ledger holds the very changes of the shards. A shard may have dropped
    the first ones, which are merged then."""
    heads: dict[str, tuple[int, str]] = {}
    for position, entry in enumerate(evidence.entries, 1):
        assert entry.position == position, f"the ledger's entry {position} is missing"
        seq = heads.get(entry.change.profile, (0, ""))[0] + 1
        assert entry.change.seq == seq, f"at {position} the ledger skips {entry.change.profile}'s change {seq}"
        heads[entry.change.profile] = (entry.change.seq, entry.change.digest)
    begun = {entry.change.profile: entry.change.digest for entry in evidence.entries if entry.change.seq == 1}
    for profile, rows in evidence.shards.items():
        base, digest = evidence.bases[profile]
        assert base <= heads.get(profile, (0, ""))[0], f"{profile} dropped {base}, and the ledger has fewer of them"
        for seq, row in enumerate(rows, base + 1):
            assert row[0] == seq, f"change {seq} of {profile} is missing"
            digest = chain(digest, profile, *row[:6])
            if seq == 1 and begun.get(profile) == row[6]:
                digest = row[6]  # a shard that was made again has an id of its own, and the beginning of the former one
            assert row[6] == digest, f"the chain of {profile} breaks at {seq}"
    by_dot = {(profile, row[0]): row for profile, rows in evidence.shards.items() for row in rows}
    for entry in evidence.entries:
        row = by_dot.get((entry.change.profile, entry.change.seq))
        if row:
            assert entry.change.row() == row, (
                f"entry {entry.position} is not {entry.change.profile}'s change {entry.change.seq}"
            )
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
    for shown, standings in walk(evidence):
        task = standings.get(shown.task_id)
        if task is None or shown.applied:
            continue
        profile = shown.profile
        if task.run_id and shown.body.get("run_id") == task.run_id and profile in (task.run_profile, task.run_claimer):
            assert shown.reason not in CONCURRENCY, f"{shown}: {shown.reason} on the author's own open run"
        if shown.reason == "stale":
            assert profile != task.owner, f"{shown}: stale, and its author owned the task"
            assert not covers(json.loads(shown.entry.change.seen), task.vector), (
                f"{shown}: stale, and it had seen everything"
            )


def nothing_overwritten(evidence: Evidence, known: Mapping[Dot, Known] | None = None) -> None:
    """No applied deciding change had not seen another applied one, unless its author owned the task.

    ``known``: what the authors really knew, where the test watched them; without it, what the changes say they saw.
    A change of an open run by one of its authors, and the coordinator's choice of a task, have seen what there is.
    The coordinator's own ``due`` says which time it relies on. A change that names no task overwrites none.
    """
    for shown, standings in walk(evidence):
        entry, task = shown.entry, standings.get(shown.task_id)
        if task is None or not shown.applied or not shown.is_deciding or entry.change.kind == "claim_next":
            continue
        if entry.change.kind == "due":
            times = (task.due_s, task.held_until_s)
            assert shown.body["due_s"] in times, f"{shown}: applied, and the task waits for {times}"
        elif shown.body.get("run_id") is not None:
            assert shown.body["run_id"] == task.run_id, f"{shown}: applied, and its run was over"
            authors = (task.run_profile, task.run_claimer, COORDINATOR)
            assert entry.change.profile in authors, f"{shown}: applied on the run of {authors[:2]}"
        elif entry.change.profile != task.owner:
            _had_seen(shown, task, (known or {}).get((entry.change.profile, entry.change.seq)))
    standings = {task_id: task.vector for task_id, task in final(evidence).items()}
    found = {row["task_id"]: json.loads(row["vector"]) for row in evidence.rows("merge_tasks")}
    assert found == standings, f"task vectors on the board {found}, by the ledger {standings}"


def _had_seen(shown: Shown, task: Standing, knew: Known | None) -> None:
    seen = json.loads(shown.entry.change.seen)
    assert covers(seen, task.vector), f"{shown}: applied with {seen} seen of {task.vector}, owner {task.owner}"
    missed = [other for other in task.applied if knew is not None and not knew.covers(other)]
    assert not missed, f"{shown}: applied, and its author knew nothing of {missed[0]}"


def promotion(evidence: Evidence) -> None:
    """A task is ready only when all its parents are terminal, or when it was forced; it waits only for parents that
    are not, or if its plan said that it shall wait for somebody, or for a time. The link graph has no cycle."""
    status = {row["id"]: row["status"] for row in evidence.rows("tasks")}
    forced = {row["task_id"] for row in evidence.rows("merge_tasks") if row["forced"]}
    parents = defaultdict(set)
    for row in evidence.rows("task_links"):
        parents[row["child_id"]].add(row["parent_id"])
    applied = [shown for shown in evidence.shown() if shown.applied]
    asked = {shown.task_id for shown in applied
             if shown.body.get({"promote": "force", "import_task": "forced"}.get(shown.kind, ""))}  # fmt: skip
    assert forced <= asked, f"{forced - asked} are forced, and nobody asked for it"
    held = {task_id for shown in applied if not shown.body.get("auto_promote", True) for task_id in made_by(shown)}
    held |= {row["task_id"] for row in evidence.rows("merge_tasks") if row["due_s"] is not None}
    for task_id, now in status.items():
        waits_for = [parent for parent in parents[task_id] if status[parent] not in TERMINAL]
        assert now != "ready" or not waits_for or task_id in forced, f"{task_id} is ready and waits for {waits_for}"
        assert now != "todo" or waits_for or task_id in held, f"{task_id} is todo and waits for nobody"
        assert now != "todo" or task_id not in forced, f"{task_id} is todo, and it was forced"
    while leaves := [task_id for task_id in list(parents) if not parents[task_id] & parents.keys()]:
        for task_id in leaves:
            del parents[task_id]
    assert not parents, f"these wait for each other: {sorted(parents)}"


def delivery(evidence: Evidence, memory: Memory) -> None:
    """Each event of a subscription is acknowledged, kept in a dead letter, or still ahead of the cursor; the cursor
    never moves back, and only a ``delivered`` of the profile that delivers moves it."""
    chats, letters = _delivered(evidence)
    found = {chat: row["notifier_profile"] for chat, row in evidence.cursors.items()}
    derived = {chat: life.profile for chat, life in chats.items()}
    assert found == derived, f"subscriptions on the board {found}, by the ledger {derived}"
    kept = {
        row["id"]: ((row["task_id"], row["platform"], row["chat_id"], row["thread_id"]), json.loads(row["event_ids"]))
        for row in evidence.rows("merge_dead_letters")
    }
    assert kept == letters, f"dead letters on the board {kept}, by the ledger {letters}"
    for chat, life in chats.items():
        cursor = evidence.cursors[chat]["last_event_id"]
        assert life.cursor in (None, cursor), f"the cursor of {chat} is at {cursor}, by the ledger at {life.cursor}"
        _follow_cursor(evidence, memory, chat, life, cursor)
    memory.position = max(memory.position, evidence.position)


@dataclass
class _Life:
    """A subscription since it was made at ``position``. ``cursor``: None while only the board knows it."""

    position: int
    profile: str
    cursor: int | None
    moved_at: int = 0


def _delivered(evidence: Evidence) -> tuple[dict[Chat, _Life], dict[int, Letter]]:
    """The subscriptions and the dead letters that there must be, by the ledger."""
    chats: dict[Chat, _Life] = {}
    letters: dict[int, Letter] = {}
    for shown in evidence.shown():
        kind, body, profile = shown.kind, shown.body, shown.profile
        if not shown.applied:
            continue
        if kind == "subscribe":
            whose = None if body.get("unadopted") else body.get("notifier_profile") or profile
            life = _Life(shown.entry.position, whose, 0 if body.get("from_start") else None)
            chats.setdefault(shown.chat, life)
        elif kind == "import_rows":
            for row in body.get("kanban_notify_subs", ()):
                chat = (shown.task_id, row["platform"], row["chat_id"], row.get("thread_id", ""))
                life = _Life(shown.entry.position, row.get("notifier_profile"), row.get("last_event_id", 0))
                chats.setdefault(chat, life)
        elif kind == "adopt":
            chats[shown.chat].profile = chats[shown.chat].profile or profile
        elif kind == "unsubscribe":
            chats.pop(shown.chat, None)
        elif kind == "delete":
            chats = {chat: life for chat, life in chats.items() if chat[0] != shown.task_id}
            letters = {number: letter for number, letter in letters.items() if letter[0][0] != shown.task_id}
        elif kind == "delivered" and shown.chat in chats:
            assert profile == chats[shown.chat].profile, f"{shown}: applied, {chats[shown.chat].profile} delivers"
            _follow_delivered(shown, chats[shown.chat], letters)
    return chats, letters


def _follow_delivered(shown: Shown, life: _Life, letters: dict[int, Letter]) -> None:
    body, answer = shown.body, shown.answer
    if body.get("letter_id") is not None:
        if answer["buried"]:
            assert "error" not in body, f"{shown}: buried, and it was not told"
            told = letters.pop(body["letter_id"])[0]
            assert told == shown.chat, f"{shown}: buried what {told} is still to be told"
        return
    before, life.cursor = life.cursor or 0, answer["last_event_id"]
    life.moved_at = shown.entry.position
    assert life.cursor >= before, f"{shown}: the cursor moved back from {before} to {life.cursor}"
    if "error" in body:
        letters[answer["letter_id"]] = (shown.chat, body.get("events") or [min(body["upto"], life.cursor)])


def _follow_cursor(evidence: Evidence, memory: Memory, chat: Chat, life: _Life, cursor: int) -> None:
    """Against the last look: nothing that was ahead of the cursor is lost, and it stands or moved forward."""
    here = frozenset(row["id"] for row in evidence.rows("task_events") if row["task_id"] == chat[0])
    before, ahead = memory.lives.get((chat, life.position), (cursor, frozenset()))
    if evidence.position < memory.position:  # the board was deleted, and is caught up again only so far
        return
    assert cursor >= before, f"the cursor of {chat} moved back from {before} to {cursor}"
    assert cursor == before or life.moved_at, f"the cursor of {chat} moved from {before} to {cursor} by itself"
    lost = {event for event in ahead - here if event > cursor}
    assert not lost, f"{chat} is still to be told of {lost}, and they are gone"
    memory.lives[chat, life.position] = (cursor, frozenset(event for event in here if event > cursor))


def additions_commute(one: Evidence, other: Evidence) -> None:
    """Two orders of the same adding changes give the same board, but for the ids that follow the order."""
    left, right = unordered(one.tables), unordered(other.tables)
    for table in left:
        assert left[table] == right[table], f"{table}: {left[table] - right[table]}, {right[table] - left[table]}"


def isolation(damaged: Evidence, whole: Evidence, profile: str) -> None:
    """Whatever is done to the shard of ``profile`` changes nothing on tasks that it neither owns nor claims, and
    delays no other shard: ``damaged`` is the board beside ``whole``, where nothing was done to it."""
    theirs = {
        task_id
        for task_id, task in final(whole).items()
        if profile not in {entry.change.profile for entry in task.applied} | {task.owner, task.creator}
    }
    assert _marks_without(damaged, profile) == _marks_without(whole, profile), "another shard was held up"
    for name, key in (("tasks", "id"), ("merge_tasks", "task_id"), ("task_links", "child_id")):
        left, right = (
            [_without_shared_counters(row) for row in each.tables[name] if row[key] in theirs]
            for each in (damaged, whole)
        )
        assert left == right, _difference(name, left, right)


def check(evidence: Evidence, known: Mapping[Dot, Known] | None = None, memory: Memory | None = None) -> None:
    """Every invariant that a look at the files can judge, beside what ``memory`` has of the looks before."""
    contiguous(evidence)
    exactly_once(evidence)
    single_owner(evidence)
    one_winner(evidence)
    capacity(evidence)
    grace(evidence)
    owner_never_stale(evidence)
    nothing_overwritten(evidence, known)
    promotion(evidence)
    memory = Memory() if memory is None else memory
    never_reused(evidence, memory)
    delivery(evidence, memory)


# --- how -----------------------------------------------------------------------------------------------------------


def _answered_ids(evidence: Evidence) -> dict[str, list[int]]:
    """The ids that changes were given, in the ledger's order."""
    given = defaultdict(list)
    for shown in evidence.shown():
        if shown.applied and shown.kind in (*CLAIMS, "comment", "attach", "delivered"):
            for name in ("run_id", "comment_id", "attachment_id", "letter_id"):
                if name in shown.answer:
                    given[name].append(shown.answer[name])
    return given


def heads_at(entries: Sequence[Entry], position: int) -> dict[str, tuple[int, str]]:
    """How far each profile is merged at ``position`` of the ledger: ``{profile: (seq, digest)}``."""
    return {entry.change.profile: (entry.change.seq, entry.change.digest) for entry in entries[:position]}


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
