"""Reading health: how a board is right now, read without changing it and without its locks.

``status``, ``metrics`` and ``doctor`` all look through this, and judge by
``kanban_shards.coordinator.health.problems``. What a look costs depends on what waits and on what happened lately,
never on how much the board and its ledger hold.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kanban_shards.board import Board
from kanban_shards.coordinator.health.hosts import SharedHealth, read_shared
from kanban_shards.coordinator.health.strangers import Stranger, strangers
from kanban_shards.coordinator.hermes.bridges import Bridge, bridges
from kanban_shards.coordinator.merge.collector import MISSING, QUARANTINED, Collected, Skipped, look
from kanban_shards.coordinator.merge.coordinator_lock import STRANGER, Holder, holder, is_stopped
from kanban_shards.coordinator.merge.shard_reader import heartbeat_ms
from kanban_shards.coordinator.state.runs import STAMPED_AHEAD, OpenRun
from kanban_shards.errors import FileMissing, KanbanError, StorageError
from kanban_shards.heard import board_now_s
from kanban_shards.paths import BoardPaths
from kanban_shards.records import DELIVERED_KINDS
from kanban_shards.storage import connections, files, sqlite

HEALTHY = "ok"
# This user may not take the shard's lock, so only what the file says of itself is known.
UNCHECKED = "unchecked"
# The profile lives on another host.
AWAY = "elsewhere"

# What can be seen of the process that holds the coordinator's lock.
WORKING = "working"
STOPPED = "stopped"
GONE = "gone"
ELSEWHERE = "elsewhere"
# A command may end, and the next one not have said its name yet, between two looks; not for as long as this.
SECOND_LOOK_S = 0.1

# A profile's own commit takes milliseconds; a shard that is locked for longer is shown as its lock and file say.
COMMIT_MS = 100

LATELY_S = 24 * 3_600
# Refused changes, and changes of the coordinator's own, that are looked through for those of LATELY_S.
KEPT_READ = 10_000
RATE_S = 300
# Entries that a rate is made of; a busier board has its rate over a shorter time.
RATE_ENTRIES = 1_000
RUNS_READ = 1_000
BEHIND_READ = 100_000

_OVERDUE = (
    "SELECT t.id, t.current_run_id, m.run_profile, m.run_claimer, "
    "max(m.lease_s, coalesce(m.grace_s, 0)), t.claim_expires - m.lease_s "
    "FROM tasks t INDEXED BY merge_running JOIN merge_tasks m ON m.task_id = t.id "
    "WHERE t.status = 'running' AND t.claim_expires < ? ORDER BY t.claim_expires LIMIT ?"
)
_REFUSED = (
    "SELECT k.profile, k.seq, v.reason, v.sentence "
    "FROM (SELECT profile, seq, position FROM merge_kept ORDER BY position DESC LIMIT ?) k "
    "JOIN merge_verdicts v USING (profile, seq) WHERE v.verdict = 'refused' AND v.at_ms >= ? ORDER BY k.position"
)
_BEHIND = "SELECT profile, seq, change_digest FROM entries WHERE position > ? ORDER BY position LIMIT ?"
_UNDELIVERED = (
    "SELECT coalesce(nullif(s.notifier_profile, ''), '(nobody yet)'), min(e.created_at), count(DISTINCT s.rowid) "
    "FROM kanban_notify_subs s JOIN task_events e ON e.task_id = s.task_id AND e.id > s.last_event_id "
    "WHERE e.kind IN (SELECT value FROM json_each(coalesce(json_extract(s.delivery_metadata, '$.kinds'), ?))) "
    "GROUP BY 1 ORDER BY 1"
)


@dataclass(frozen=True)
class ShardHealth:
    """A shard. ``head``: its last change, None if it cannot be read; ``waiting``: changes that are not merged yet.

    ``state``: HEALTHY, MISSING, UNCHECKED, AWAY, or the collector's BUSY or QUARANTINED with ``why``. ``lag_s``: the
    age of the oldest change that waits, 0 if none does. ``rate_per_minute``: changes merged lately. ``last_problem``:
    why it is quarantined, where it lives, else its last refusal of LATELY_S.
    """

    profile: str
    head: int | None
    merged: int
    waiting: int
    lag_s: float
    rate_per_minute: float
    state: str
    why: str | None
    last_problem: str | None

    @property
    def problem(self) -> str | None:
        """What its faces say of it: what is wrong now, else what was."""
        return self.why or self.last_problem


@dataclass(frozen=True)
class PastLease:
    """A run whose lease is over, and of which no shard that can be read holds a heartbeat that is recent enough."""

    task_id: str
    run_id: int
    over_s: float


@dataclass(frozen=True)
class StampedAhead:
    """An open run that was claimed, or last gave a heartbeat, ``ahead_s`` in the future of the clock."""

    task_id: str
    run_id: int
    ahead_s: float


@dataclass(frozen=True)
class Health:
    """A board at ``at_ms``.

    ``ledger_head``: None if there is no ledger, or none that can be read; then ``ledger_trouble`` says why.
    ``newest_ms``: the time of its last entry. ``coordinator_state``: WORKING, STOPPED, GONE, STRANGER or ELSEWHERE (on
    another host), None if there is no coordinator; ``coordinator_unknown``: why it cannot be told who holds the lock.
    ``refused``: how many changes were refused in LATELY_S, by reason. ``strangers``: who hinders the coordinator.
    ``shared``: how several hosts share the board; None if they do not.
    """

    paths: BoardPaths
    at_ms: int
    position: int
    ledger_head: int | None
    ledger_trouble: str | None
    newest_ms: int | None
    coordinator: Holder | None
    coordinator_state: str | None
    coordinator_unknown: StorageError | None
    open_runs: int
    past_lease: list[PastLease]
    stamped_ahead: list[StampedAhead]
    shards: list[ShardHealth]
    refused: dict[str, int]
    strangers: list[Stranger] = field(default_factory=list)
    shared: SharedHealth | None = None

    @cached_property
    def bridges(self) -> list[Bridge]:
        """The Hermes that open the home, which takes a look at every process; so whoever wants figures does without."""
        return bridges(self.paths.home)


@dataclass(frozen=True)
class Undelivered:
    """Chats that ``profile`` has still to tell something, and since when the oldest of it waits."""

    profile: str
    chats: int
    since_s: int


@dataclass(frozen=True)
class Sizes:
    """Bytes on the disk, SQLite's own files beside each included. ``aside``: files that were set aside."""

    board: int
    ledger: int
    shards: int
    aside: int
    aside_files: int


def read_health(paths: BoardPaths) -> Health:
    """How the board is now. Raises BoardMissing and the StorageErrors of a board that cannot be read."""
    now_ms = time.time_ns() // 1_000_000
    board_s = board_now_s(paths)  # what is stamped by another clock than this host's
    with Board(paths) as board:
        with board.reading() as connection:
            refused = connection.execute(_REFUSED, (KEPT_READ, now_ms - LATELY_S * 1_000)).fetchall()
            overdue = connection.execute(_OVERDUE, (int(board_s), RUNS_READ)).fetchall()
            ahead = connection.execute(f"{STAMPED_AHEAD} LIMIT ?2", (int(board_s), RUNS_READ)).fetchall()
        before = board.watermarks()
        # First, because it takes back what a killed writer skipped half done.
        collected = look(paths, lambda: _reached(paths, board))
        held = {skipped.profile for skipped in collected.skipped if skipped.stuck}
        peeks = _peek_all(paths, before, overdue, held)
        position, watermarks, open_runs = board.position(), board.watermarks(), board.open_runs()
        shared = read_shared(paths, board)
    ledger = _read_ledger(paths, now_ms)  # after the board: read before, it would lack what was merged meanwhile
    unknown, held_by, state = None, None, None
    try:
        held_by, state = _coordinator(paths)
    except StorageError as error:
        unknown = error
    last_refusals = {row["profile"]: f"change {row['seq']} was refused: {row['sentence']}" for row in refused}
    return Health(
        paths=paths,
        at_ms=now_ms,
        position=position,
        ledger_head=ledger.head,
        ledger_trouble=ledger.trouble,
        newest_ms=ledger.newest_ms,
        coordinator=held_by,
        coordinator_state=state,
        coordinator_unknown=unknown,
        open_runs=open_runs,
        past_lease=list(_past_lease(overdue, peeks, now_ms, board_s)),
        stamped_ahead=list(_stamped_ahead(ahead, overdue, peeks, now_ms, board_s)),
        shards=_shards(paths, watermarks, collected, peeks, ledger.rates, last_refusals, now_ms, shared),
        refused=dict(Counter(row["reason"] for row in refused)),
        strangers=strangers(paths, held_by.pid if held_by is not None and held_by.shares_pids() else None),
        shared=shared,
    )


def _reached(paths: BoardPaths, board: Board) -> dict[str, tuple[int, str]]:
    """How far each shard is merged, also what the ledger holds and the board does not show, as after a power cut."""
    watermarks, position = board.watermarks(), board.position()
    with (
        suppress(StorageError),  # said where the ledger is looked at
        closing(sqlite.open_reader(paths.ledger, sqlite.LEDGER)) as ledger,
        connections.explained(paths.ledger),
    ):
        for profile, seq, digest in ledger.execute(_BEHIND, (position, BEHIND_READ)):
            watermarks[profile] = seq, digest
    return watermarks


def read_undelivered(paths: BoardPaths) -> list[Undelivered]:
    """What chats have not been told yet, by the profile that delivers. Costs the number of subscriptions."""
    with Board(paths) as board, board.reading() as connection:
        rows = connection.execute(_UNDELIVERED, (json.dumps(DELIVERED_KINDS),)).fetchall()
    return [Undelivered(profile, chats, since_s) for profile, since_s, chats in rows]


def read_sizes(paths: BoardPaths) -> Sizes:
    """How large the board's files are, by ``stat`` alone."""
    profiles = [path.name for _, path in paths.shards()]
    sizes: Counter[str] = Counter()
    for entry in os.scandir(paths.folder):
        try:
            size = entry.stat(follow_symlinks=False).st_size
        except OSError:  # it went away meanwhile
            continue
        base = entry.name
        for suffix in files.SIDECARS:
            base = base.removesuffix(suffix)
        if ".damaged-" in base:
            sizes["aside"] += size
            sizes["aside_files"] += base == entry.name
        elif base == paths.board.name:
            sizes["board"] += size
        elif base == paths.ledger.name:
            sizes["ledger"] += size
        elif base in profiles:
            sizes["shards"] += size
    return Sizes(*(sizes[name] for name in ("board", "ledger", "shards", "aside", "aside_files")))


# --- the coordinator -----------------------------------------------------------------------------------------------


def _coordinator(paths: BoardPaths) -> tuple[Holder | None, str | None]:
    found = holder(paths)
    if found is not None and _state_of(found) in (GONE, STRANGER):
        time.sleep(SECOND_LOOK_S)
        again = holder(paths)
        if again != found:  # commands that come and go
            return again, None if again is None else WORKING
    return found, None if found is None else _state_of(found)


def _state_of(found: Holder) -> str:
    if found.role == STRANGER:
        return STRANGER
    if not found.is_on_this_machine():
        return ELSEWHERE
    if found.shares_pids() and is_stopped(found.pid):
        return STOPPED
    return GONE if found.is_gone() else WORKING


# --- the ledger ----------------------------------------------------------------------------------------------------


@dataclass
class _LedgerEnd:
    head: int | None = None
    newest_ms: int | None = None
    rates: dict[str, float] = field(default_factory=dict)
    trouble: str | None = None


def _read_ledger(paths: BoardPaths, now_ms: int) -> _LedgerEnd:
    try:
        with closing(sqlite.open_reader(paths.ledger, sqlite.LEDGER)) as ledger, connections.explained(paths.ledger):
            entries = ledger.execute(
                "SELECT position, profile, at_ms FROM entries ORDER BY position DESC LIMIT ?", (RATE_ENTRIES,)
            ).fetchall()
            (base,) = ledger.execute("SELECT position FROM base").fetchone() or (0,)
    except FileMissing:
        return _LedgerEnd()
    except KanbanError as error:
        return _LedgerEnd(trouble=str(error))
    if not entries:
        return _LedgerEnd(head=base)
    lately = [(profile, at_ms) for _, profile, at_ms in entries if at_ms >= now_ms - RATE_S * 1_000]
    cut = len(lately) == RATE_ENTRIES
    span_s = max(1.0, (now_ms - lately[-1][1]) / 1_000) if cut else RATE_S
    rates = {profile: count * 60 / span_s for profile, count in Counter(profile for profile, _ in lately).items()}
    return _LedgerEnd(entries[0][0], entries[0][2], rates)


# --- the shards ----------------------------------------------------------------------------------------------------


@dataclass
class _Peek:
    """What a shard says of itself: its last change, when the first one that waits was written, heartbeats."""

    head: int | None = None
    waits_since_ms: int | None = None
    signs_ms: dict[int, int] = field(default_factory=dict)


def _peek_all(
    paths: BoardPaths, watermarks: dict[str, tuple[int, str]], overdue: Iterable[OpenRun], held: set[str]
) -> dict[str, _Peek]:
    """What each shard says of itself; nothing of those that are ``held``, which no read gets into."""
    runs: dict[str, list[int]] = {}
    for _, run_id, run_profile, run_claimer, *_ in overdue:
        for profile in {run_profile, run_claimer}:
            runs.setdefault(profile, []).append(run_id)
    return {
        profile: _Peek() if profile in held else _peek(path, watermarks.get(profile, (0, ""))[0], runs.get(profile, []))
        for profile, path in paths.shards()
    }


def _peek(path: Path, merged: int, run_ids: list[int]) -> _Peek:
    """Read without the shard's lock: a reader changes nothing, and waits for a commit at most."""
    try:
        with (
            closing(sqlite.open_reader(path, sqlite.SHARD, COMMIT_MS)) as shard,
            connections.explained(path, waited_ms=COMMIT_MS),
            connections.one_state(shard),
        ):
            head = shard.execute("SELECT seq FROM changes ORDER BY seq DESC LIMIT 1").fetchone()
            first = shard.execute("SELECT at_ms FROM changes WHERE seq > ? ORDER BY seq LIMIT 1", (merged,)).fetchone()
            waits_since_ms = first[0] if first and type(first[0]) is int else None  # what is none is quarantined
            return _Peek(
                head[0] if head else 0, waits_since_ms, {run: heartbeat_ms(shard, run) or 0 for run in run_ids}
            )
    except KanbanError:
        return _Peek()


def _past_lease(
    overdue: Iterable[OpenRun], peeks: dict[str, _Peek], now_ms: int, board_s: float
) -> Iterable[PastLease]:
    """Heartbeats are of this host's clock, ``now_ms``; what the board says is of the one that is at ``board_s``."""
    for task_id, run_id, run_profile, run_claimer, silent_s, begun_s in overdue:
        heartbeats = [peeks.get(profile, _Peek()).signs_ms.get(run_id, 0) for profile in {run_profile, run_claimer}]
        over_s = min(board_s - begun_s, (now_ms - max(heartbeats)) / 1_000) - silent_s
        if over_s > 0:
            yield PastLease(task_id, run_id, over_s)


def _stamped_ahead(
    claims: Iterable[OpenRun], overdue: Iterable[OpenRun], peeks: dict[str, _Peek], now_ms: int, board_s: float
) -> Iterable[StampedAhead]:
    """Runs of ``claims`` that were stamped ahead, and those past their lease whose heartbeat was."""
    for task_id, run_id, *_, stamped_s in claims:
        yield StampedAhead(task_id, run_id, stamped_s - board_s)
    for task_id, run_id, run_profile, run_claimer, *_ in overdue:
        heartbeats = [peeks.get(profile, _Peek()).signs_ms.get(run_id, 0) for profile in {run_profile, run_claimer}]
        if max(heartbeats) > now_ms:
            yield StampedAhead(task_id, run_id, (max(heartbeats) - now_ms) / 1_000)


def _shards(
    paths: BoardPaths,
    watermarks: dict[str, tuple[int, str]],
    collected: Collected,
    peeks: dict[str, _Peek],
    rates: dict[str, float],
    last_refusals: dict[str, str],
    now_ms: int,
    shared: SharedHealth | None,
) -> list[ShardHealth]:
    skipped = {each.profile: each for each in collected.skipped}
    found = []
    for profile in sorted(peeks.keys() | {name for name in watermarks if not name.startswith("@")}):
        merged, peek = watermarks.get(profile, (0, ""))[0], peeks.get(profile, _Peek())
        away = shared.lives_elsewhere(profile) if shared and profile not in peeks else None
        state, why = (AWAY, f"on {away}") if away else _state(paths, profile, skipped.get(profile), profile in peeks)
        head = merged + len(collected.changes.get(profile, ())) if peek.head is None else peek.head
        waiting = max(0, head - merged)
        lag_s = max(0, now_ms - (peek.waits_since_ms or now_ms)) / 1_000 if waiting else 0.0
        if state == HEALTHY:  # merged while this looked, or dropped since it was merged; the collector has read it
            head = max(head, merged)
        known_head = head if state in (HEALTHY, AWAY) or peek.head is not None else None
        problem = why if state in (QUARANTINED, AWAY) else last_refusals.get(profile)
        rate = round(rates.get(profile, 0.0), 1)
        found.append(ShardHealth(profile, known_head, merged, waiting, lag_s, rate, state, why, problem))
    return found


def _state(paths: BoardPaths, profile: str, skipped: Skipped | None, present: bool) -> tuple[str, str | None]:
    if not present:
        return MISSING, None
    if skipped is None:
        return HEALTHY, None
    lock = paths.folder / f"kanban.{profile}.lock"
    if skipped.state == QUARANTINED and lock.exists() and not os.access(lock, os.W_OK):
        return UNCHECKED, f"this user may not take its lock, {lock.name}"
    return skipped.state, skipped.why
