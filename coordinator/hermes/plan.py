"""Plan: an old board's rows made into changes of the coordinator's own, one group for each task.

Parents come before those that wait for them, so the board is one that could be worked on after every group. The plan
depends on the old board's rows, and on what the new board has already: tasks that it has or had are left out, and
where it gave ids before, those of the import move behind them, all by the same distance.
"""

from __future__ import annotations

import graphlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kanban_shards import wording
from kanban_shards.changes.fields import LIMIT_BYTES, PARENTS_LIMIT, TEXT_LIMIT, Body
from kanban_shards.changes.imported import ROWS, EventRow, Import, ImportRows, ImportTask, Row, RunRow, TaskRow
from kanban_shards.changes.kinds import LEASE_S
from kanban_shards.coordinator.hermes.coerce import (
    NUMBER,
    AnyRow,
    Notes,
    coerce,
    coerce_task_id,
    last_given,
    number,
    truncate,
)
from kanban_shards.coordinator.hermes.history import due, payload_of, was_forced, was_in_review
from kanban_shards.coordinator.hermes.legacy import FORMER_EVENTS, Legacy
from kanban_shards.coordinator.hermes.target import Target
from kanban_shards.coordinator.rules.imports import lease_end
from kanban_shards.coordinator.state.session import COUNTED, json_text
from kanban_shards.errors import InvalidName
from kanban_shards.paths import DEFAULT_BOARD, check_profile
from kanban_shards.records import STATUSES, TERMINAL

# Bytes of rows per change, and of the largest row: Hermes bounds no text, and a body of 1 MiB comes whole.
CHUNK_BYTES = TEXT_LIMIT // 4
ROW_BYTES = LIMIT_BYTES // 2
RUN_BYTES = 300_000
# Who counts as the maker of a task that no profile made.
NOBODYS_MAKER = DEFAULT_BOARD
_OF_A_CLAIM = ("claim_lock", "claim_expires", "worker_pid", "current_run_id")


@dataclass
class Count:
    """Rows of one table: in the old board, to be imported, of tasks that are here already, and lost."""

    found: int = 0
    imported: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass
class Plan:
    """What an import does. ``begin`` is None if it goes on with one that was begun before, or has nothing to do."""

    begin: Import | None
    tasks: list[tuple[str, list[Body]]]
    counts: dict[str, Count]
    notes: Notes = field(default_factory=Notes)


def plan(legacy: Legacy, source: str, target: Target, now_s: int) -> Plan:
    """The plan for bringing ``legacy``, read from ``source``, to a board. ``now_s``: seconds since 1970."""
    return _Planner(legacy, target, now_s).plan(source)


@dataclass
class _Task:
    """A task of the old board: its id there and here, and its rows by table, as they are."""

    raw_id: Any
    id: str
    values: dict[str, Any]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    parents: list[str] = field(default_factory=list)

    @property
    def age(self) -> tuple[int, str]:
        return self.values["created_at"], self.id


class _Planner:
    def __init__(self, legacy: Legacy, target: Target, now_s: int) -> None:
        self._legacy, self._target, self._now_s = legacy, target, now_s
        self._notes = Notes()
        self._counts = {table: Count(found=len(rows)) for table, rows in legacy.tables.items()}
        for table in COUNTED:
            number(legacy, table)
        self._ids: dict[str, dict[Any, int]] = {
            table: {raw["id"]: raw[NUMBER] for raw in legacy.tables[table]} for table in COUNTED
        }
        self._last = {
            table: max([*self._ids[table].values(), last_given(legacy, table)], default=0) for table in COUNTED
        }
        reserved = target.earlier_import(legacy.digest)
        self._is_begun = reserved is not None
        after = reserved or {table: target.next_ids()[table] - 1 + self._last[table] for table in COUNTED}
        self._reserved = after
        self._offset = {table: after[table] - self._last[table] for table in COUNTED}

    def plan(self, source: str) -> Plan:
        tasks = self._tasks()
        self._deal_rows(tasks)
        here = self._target.taken([task.id for task in tasks.values()])
        self._skip(task for task in tasks.values() if task.id in here)
        coming = {task.id: task for task in tasks.values() if task.id not in here}
        self._link(tasks, coming, here)
        self._give_keys(coming.values())
        statuses: dict[str, str] = {}
        groups = [(task.id, list(self._bodies(task, statuses))) for task in self._in_order(coming)]
        self._note_unknown()
        begin = None
        if groups and not self._is_begun:
            begin = Import(digest=self._legacy.digest, source=source, ids=self._reserved, tasks=len(groups))
        return Plan(begin, groups, self._counts, self._notes)

    # --- which tasks, and what belongs to them -----------------------------------------------------------------

    def _tasks(self) -> dict[Any, _Task]:
        found: dict[Any, _Task] = {}
        ids: set[str] = set()
        for raw in self._legacy.tables["tasks"]:
            raw_id, task_id = raw.get("id"), coerce_task_id(raw.get("id"))
            if raw_id in found or task_id in ids:
                self._lose("tasks", raw_id, "there are several tasks with this id; the first one is kept")
                continue
            if task_id != raw_id:
                self._notes.change("tasks", raw_id, f"its id is {task_id} now: the former is none")
            found[raw_id] = _Task(raw_id, task_id, self._fitted("tasks", raw_id, raw))
            ids.add(task_id)
        return found

    def _deal_rows(self, tasks: dict[Any, _Task]) -> None:
        for table in ROWS:
            for raw in self._legacy.tables[table]:
                task = tasks.get(raw.get("task_id"))
                if task is None:
                    self._lose(table, _row_id(table, raw), f"there is no task {raw.get('task_id')!r}")
                else:
                    task.rows[table].append(raw)

    def _skip(self, tasks: Iterable[_Task]) -> None:
        for task in tasks:
            self._counts["tasks"].skipped += 1
            for table, rows in task.rows.items():
                self._counts[table].skipped += len(rows)

    def _link(self, tasks: dict[Any, _Task], coming: dict[str, _Task], here: set[str]) -> None:
        for raw in self._legacy.tables["task_links"]:
            link = f"{raw.get('parent_id')} → {raw.get('child_id')}"
            parent, child = tasks.get(raw.get("parent_id")), tasks.get(raw.get("child_id"))
            if parent is None or child is None:
                self._lose("task_links", link, "one of the two tasks is not there")
            elif child.id in here:
                self._counts["task_links"].skipped += 1
            elif parent.id in here and self._target.status_of(parent.id) is None:
                self._lose("task_links", link, "the parent was deleted on this board")
            elif len(child.parents) == PARENTS_LIMIT:
                self._lose("task_links", link, f"a task waits for {PARENTS_LIMIT} others at most")
            else:
                child.parents.append(parent.id)
                self._counts["task_links"].imported += 1
        self._cut_cycles(coming)

    def _cut_cycles(self, coming: dict[str, _Task]) -> None:
        while True:
            try:
                _sorter(coming).prepare()
                return
            except graphlib.CycleError as error:
                # Each one waits for the one behind it; the oldest waits no longer.
                circle = error.args[1][:-1]
                child = min((coming[task_id] for task_id in circle), key=lambda task: task.age)
                parent = next(each for each in child.parents if each in circle)
                child.parents = [each for each in child.parents if each != parent]
                self._counts["task_links"].imported -= 1
                self._lose("task_links", f"{parent} → {child.id}", "these tasks would wait for each other")

    def _give_keys(self, coming: Iterable[_Task]) -> None:
        """One live task for each idempotency key: the newest, as Hermes would answer."""
        live = [task for task in coming if task.values["status"] != "archived" and task.values.get("idempotency_key")]
        holders: dict[str, _Task] = {}
        for task in sorted(live, key=lambda task: task.age, reverse=True):
            key = task.values["idempotency_key"]
            holder = self._target.live_task_with_key(key) or (holders[key].id if key in holders else None)
            if holder is None:
                holders[key] = task
            else:
                task.values["idempotency_key"] = None
                self._notes.change("tasks", task.raw_id, f"idempotency_key {key!r} is that of {holder} alone")

    def _in_order(self, coming: dict[str, _Task]) -> Iterator[_Task]:
        sorter = _sorter(coming)
        sorter.prepare()
        while sorter.is_active():
            ready = sorter.get_ready()
            yield from sorted((coming[task_id] for task_id in ready if task_id in coming), key=lambda task: task.age)
            sorter.done(*ready)

    # --- one task ----------------------------------------------------------------------------------------------

    def _bodies(self, task: _Task, statuses: dict[str, str]) -> Iterator[Body]:
        """The changes that bring the task. ``statuses``: of those before it, and then its own."""
        runs, events = self._rows("task_runs", RunRow, task), self._rows("task_events", EventRow, task)
        others = {
            table: self._rows(table, kind, task) for table, kind in ROWS.items() if kind not in (RunRow, EventRow)
        }
        run = self._open_run(task, runs)
        creator = _first_profile(task.values["created_by"])
        waits = any((statuses.get(each) or self._target.status_of(each)) not in TERMINAL for each in task.parents)
        forced = task.values["status"] == "ready" and waits and was_forced(events)
        body = ImportTask(
            task=truncate(
                TaskRow(**task.values), ROW_BYTES - (RUN_BYTES if run else 0), "tasks", task.raw_id, self._notes
            ),
            creator=creator,
            parents=tuple(task.parents),
            run=run,
            run_profile=_first_profile(run.profile if run else None, task.values["assignee"], creator)
            if task.values["status"] == "running"
            else None,
            reviewing=run is not None and was_in_review(events, run.id),
            forced=forced,
            due_s=due(events) if task.values["status"] == "scheduled" else None,
        )
        self._note_status(task, waits and not forced)
        statuses[task.id] = task.values["status"]
        yield body
        self._counts["tasks"].imported += 1
        self._counts["task_runs"].imported += run is not None
        yield from self._chunks({"task_runs": runs, "task_events": events, **others})

    def _chunks(self, rows: dict[str, Sequence[Row]]) -> Iterator[ImportRows]:
        chunk: dict[str, list[Row]] = defaultdict(list)
        size = 0
        for table, brought in rows.items():
            self._counts[table].imported += len(brought)
            for row in brought:
                row_bytes = len(msgspec.json.encode(row))
                if size and size + row_bytes > CHUNK_BYTES:
                    yield _import_rows(chunk)
                    chunk, size = defaultdict(list), 0
                chunk[table].append(row)
                size += row_bytes
        if size:
            yield _import_rows(chunk)

    def _rows(self, table: str, kind: type[AnyRow], task: _Task) -> list[AnyRow]:
        found = []
        chats: set[tuple[str, str, str]] = set()
        for raw in task.rows[table]:
            row_id = _row_id(table, raw)
            values = self._fitted(table, row_id, raw)
            if table in COUNTED:
                values["id"] = self._new_id(table, raw)
            if table == "task_events":
                self._fit_event(raw, values)
            if table == "kanban_notify_subs":
                self._fit_subscription(row_id, raw, values)
                chat = (values["platform"], values["chat_id"], values.get("thread_id", ""))
                if chat in chats:
                    self._lose(table, row_id, "this chat has a subscription already")
                    continue
                chats.add(chat)
            found.append(truncate(kind(**values), ROW_BYTES, table, row_id, self._notes))
        return found

    def _fit_event(self, raw: dict[str, Any], values: dict[str, Any]) -> None:
        if values["kind"] in FORMER_EVENTS:
            self._notes.change("task_events", raw["id"], f"kind was {values['kind']!r}, as Hermes renamed it")
            values["kind"] = FORMER_EVENTS[values["kind"]]
        values["run_id"] = self._run_reference(raw.get("run_id"), values.get("run_id"))
        told = payload_of(values.get("payload"))
        named = told.get("run_id")
        if self._offset["task_runs"] and isinstance(named, int) and named in self._ids["task_runs"]:
            values["payload"] = json_text({**told, "run_id": self._run_reference(named, None)})

    def _run_reference(self, raw: Any, fitted: int | None) -> int | None:
        """A run's new id; a run that is not there keeps its number, where no other can have it."""
        if raw in self._ids["task_runs"]:
            return self._ids["task_runs"][raw] + self._offset["task_runs"]
        return None if self._offset["task_runs"] else fitted

    def _fit_subscription(self, row_id: str, raw: dict[str, Any], values: dict[str, Any]) -> None:
        cursor = min(max(values.get("last_event_id", 0), 0), self._last["task_events"])
        if cursor != raw.get("last_event_id", 0):
            self._notes.change("kanban_notify_subs", row_id, f"its cursor stands at event {cursor}")
        values["last_event_id"] = cursor and cursor + self._offset["task_events"]
        profile = values.get("notifier_profile")
        if profile and _first_profile(profile) != profile:
            values["notifier_profile"] = None
            what = f"{profile!r} is no profile; the first gateway that asks delivers"
            self._notes.change("kanban_notify_subs", row_id, what)

    # --- runs --------------------------------------------------------------------------------------------------

    def _open_run(self, task: _Task, runs: list[RunRow]) -> RunRow | None:
        """The run that goes on, taken out of ``runs``; the others that were never closed are closed there."""
        values = task.values
        opened = [run for run in runs if run.ended_at is None]
        current = self._run_reference(values["current_run_id"], None)
        going = None
        if values["status"] == "running":
            going = next((run for run in opened if run.id == current), opened[-1] if opened else None)
            self._note_running(task, going, current)
        for run in opened:
            if run is not going:
                runs[runs.index(run)] = self._closed(run)
        runs[:] = [run for run in runs if run is not going]
        if values["status"] != "running":
            left = [name for name in _OF_A_CLAIM if values.get(name) is not None]
            if left:
                self._notes.change("tasks", task.raw_id, f"{', '.join(left)} emptied: no run is open")
            values.update(dict.fromkeys(_OF_A_CLAIM))
        values["current_run_id"] = None  # the rule says which
        return None if going is None else truncate(going, RUN_BYTES, "task_runs", going.id, self._notes)

    def _closed(self, run: RunRow) -> RunRow:
        self._notes.change("task_runs", run.id, "it was never ended, and its task is not on it: reclaimed")
        return msgspec.structs.replace(
            run, status="reclaimed", outcome="reclaimed", claim_lock=None, claim_expires=None,
            ended_at=max(run.started_at, run.last_heartbeat_at or 0),
        )  # fmt: skip

    def _note_running(self, task: _Task, run: RunRow | None, current: int | None) -> None:
        if run is None:
            self._notes.change("tasks", task.raw_id, "it is running without a run: one is opened for it")
        elif run.id != current:
            self._notes.change("tasks", task.raw_id, f"its current run is {run.id}, the one that is open")
        expires = task.values.get("claim_expires")
        if lease_end(expires, self._now_s) != expires or (run is not None and run.claim_expires != expires):
            what = (
                f"its lease, until {expires}, begins anew: {LEASE_S} s" if expires else f"it gets a lease: {LEASE_S} s"
            )
            self._notes.change("tasks", task.raw_id, what)

    # --- values ------------------------------------------------------------------------------------------------

    def _fitted(self, table: str, row_id: Any, raw: dict[str, Any]) -> dict[str, Any]:
        values = coerce(table, row_id, raw, self._notes)
        if table == "tasks":
            for name in ("created_by", "assignee", "current_run_id"):
                values.setdefault(name, None)
            values["current_run_id"] = raw.get("current_run_id")
            if values["status"] not in STATUSES:
                self._notes.change(
                    "tasks", row_id, f"status was {values['status']!r}, now triage: a person should look"
                )
                values["status"] = "triage"
        return values

    def _new_id(self, table: str, raw: dict[str, Any]) -> int:
        given: int = raw[NUMBER]
        if given != raw["id"]:
            self._notes.change(table, raw["id"], f"its id is {given + self._offset[table]} now: the former is none")
        return given + self._offset[table]

    def _note_status(self, task: _Task, waits: bool) -> None:
        status = task.values["status"]
        stands = {"ready": "todo" if waits else "ready", "todo": "todo" if waits else "ready"}.get(status, status)
        if stands != status:
            why = "a parent is open" if waits else "no parent is open"
            self._notes.change("tasks", task.raw_id, f"status was {status!r}, now {stands!r}: {why}")

    def _note_unknown(self) -> None:
        for name, values in self._legacy.unknown_columns.items():
            if values:
                table, _, column = name.partition(".")
                self._notes.lose(table, None, f"the column {column} is not known here: {wording.many(values, 'value')}")
        for table, rows in self._legacy.unknown_tables.items():
            if rows:
                self._notes.lose(table, None, f"the table is not known here: {wording.many(rows, 'row')}")
        if any(self._offset.values()) and self._counts["tasks"].imported:
            for table in COUNTED:
                if self._counts[table].imported:
                    what = f"ids are {self._offset[table]} larger: this board gave the smaller ones before"
                    self._notes.change(table, None, what)

    def _lose(self, table: str, row_id: Any, what: str) -> None:
        self._counts[table].lost += 1
        self._notes.lose(table, row_id, what)


def _sorter(coming: dict[str, _Task]) -> graphlib.TopologicalSorter[str]:
    return graphlib.TopologicalSorter(
        {task_id: [parent for parent in task.parents if parent in coming] for task_id, task in coming.items()}
    )


def _import_rows(chunk: dict[str, list[Row]]) -> ImportRows:
    rows: dict[str, Any] = {table: tuple(each) for table, each in chunk.items()}  # a field for each table of ROWS
    return ImportRows(**rows)


def _row_id(table: str, raw: dict[str, Any]) -> Any:
    if table == "kanban_notify_subs":
        return " ".join(str(raw.get(name) or "-") for name in ("task_id", "platform", "chat_id", "thread_id"))
    return raw.get("id")


def _first_profile(*names: str | None) -> str:
    for name in names:
        with suppress(InvalidName):
            if name is not None:
                return check_profile(name)
    return NOBODYS_MAKER
