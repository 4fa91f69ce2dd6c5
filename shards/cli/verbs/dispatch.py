"""Dispatching: which tasks are to be worked on now, and the limits of that. No process is started here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kanban_shards.changes.kinds import FAILURE_LIMIT
from kanban_shards.cli import text
from kanban_shards.cli.params import COUNT, COUNT_OR_NONE, POSITIVE, POSITIVE_OR_NONE
from kanban_shards.cli.session import Session, json_option, once_more
from kanban_shards.errors import DaemonMoved, InvalidName, KanbanError, Refused, StorageError, UnknownTask
from kanban_shards.paths import check_profile
from kanban_shards.queries import TaskQuery
from kanban_shards.records import Run, Status, Task
from kanban_shards.workspaces import make_workspace, workspace_of

if TYPE_CHECKING:
    from kanban_shards.board import Board
    from kanban_shards.gateway import Gateway

LIMITS = ("max_in_progress", "max_in_progress_per_profile", "failure_limit")
# What a pass may decide because time went by, by the event that tells of it; as Hermes's dispatcher counts them.
COUNTED = ("reclaimed", "promoted")
NAMED = {"crashed": "crashed", "timed_out": "timed_out", "stale": "stale", "gave_up": "auto_blocked"}


@click.command()
@click.option("--max-in-progress", type=COUNT_OR_NONE, help="Open runs on the whole board.")
@click.option("--max-in-progress-per-profile", type=COUNT_OR_NONE, help="Open runs of one profile.")
@click.option("--failure-limit", type=POSITIVE_OR_NONE,
              help="Failures in a row before a task is blocked; 2 if there is none.")  # fmt: skip
@json_option
@click.pass_obj
def limits(session: Session, /, as_json: bool, **given: int | str | None) -> None:
    """Show the limits of the board, or set some. They hold for every claim, whoever makes it."""
    wanted = {name: None if isinstance(value, str) else value for name, value in given.items() if value is not None}
    found = session.gateway().set_limits(**wanted) if wanted else session.board().settings()
    if as_json:
        text.print_json({name: found.get(name) for name in LIMITS})
    else:
        unset = {"failure_limit": f"{FAILURE_LIMIT} (nothing else is set)"}
        rows = [(name.replace("_", "-"), found.get(name, unset.get(name, "none"))) for name in LIMITS]
        text.print_table(("LIMIT", "VALUE"), rows)


@click.command()
@click.option("--max", "most", type=COUNT, metavar="N", help="Claim at most N tasks now.")
@click.option("--failure-limit", type=POSITIVE, metavar="N",
              help="Set the board's limit of failures in a row first; see kanban limits.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be claimed. Writes nothing.")
@json_option
@click.pass_obj
def dispatch(session: Session, most: int | None, failure_limit: int | None, dry_run: bool, as_json: bool) -> None:
    """Claim ready tasks for their assignees.

    It says what to start, and starts no process itself: whoever calls this starts a worker for each line, then says
    `kanban spawned TASK PID`, or, if that did not work, `kanban fail TASK spawn_failed`. Tasks in review come after
    the ready ones.
    """
    if dry_run:
        found = Dispatch(session.board())
        found.plan(most)
    else:
        gateway = session.gateway()
        if failure_limit is not None:
            gateway.set_limits(failure_limit=failure_limit)
        found = Dispatch(gateway.board)
        gateway.merge_now()
        found.claim(gateway, most)
        found.count_what_passed()
    if as_json:
        text.print_json(found.as_dict())
    else:
        found.say(dry_run)
    if found.stopped_by is not None:
        click.get_current_context().exit(found.stopped_by.exit_code)


@click.command(context_settings={"ignore_unknown_options": True}, hidden=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def daemon(words: tuple[str, ...]) -> None:
    """Moved: it is `kanban-merge daemon` now."""
    raise DaemonMoved()


class Dispatch:
    """What one call of ``dispatch`` on ``board`` found and did. First ``plan`` or ``claim``, then ask it."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._after = board.last_event_id()
        self.passed: dict[str, Any] = dict.fromkeys(COUNTED, 0) | {name: [] for name in NAMED.values()}
        self.spawned: list[dict[str, Any]] = []
        self.unassigned: list[str] = []
        self.nonspawnable: list[str] = []
        self.capped: list[dict[str, Any]] = []
        self.refused: list[dict[str, str]] = []
        self.stopped_by: KanbanError | None = None
        self._running: Counter[str | None] = Counter()
        self._full: set[str | None] = set()

    def plan(self, most: int | None) -> None:
        """What would be claimed, as far as the board's present state tells."""
        for task in self._worth_asking_for(most):
            try:
                self._start(task, None, workspace_of(self._board.paths, task))
            except StorageError as error:
                self._refuse(task, "spawn_failed", error)

    def claim(self, gateway: Gateway, most: int | None) -> None:
        """Claim what there is; the coordinator decides each. What was claimed before an error is to be started all the
        same: ``stopped_by`` holds the error."""
        for task in self._worth_asking_for(most):
            try:
                self._claim(gateway, task)
            except KanbanError as error:
                self._refuse(task, type(error).__name__, error)
                self.stopped_by = error
                return

    def _claim(self, gateway: Gateway, task: Task) -> None:
        try:
            run = once_more(gateway.claim)(task.id, runs_as=task.assignee)
        except UnknownTask as error:
            self._refuse(task, "unknown_task", error)
        except Refused as refused:
            if refused.reason == "at_capacity":
                self._full.add(task.assignee)
                self._cap(task)
            else:
                self._refuse(task, refused.reason, refused)
        else:
            self._place(gateway, task, run)

    def _place(self, gateway: Gateway, task: Task, run: Run) -> None:
        """A run without a place to work at ends as one whose worker could not be started, as in Hermes."""
        try:
            workspace = make_workspace(gateway.paths, task)
        except StorageError as error:
            self._refuse(task, "spawn_failed", error)
            with suppress(Refused):  # it is over already
                gateway.fail(run, "spawn_failed", f"workspace: {error}")
        else:
            self._start(task, run.id, workspace)

    def count_what_passed(self) -> None:
        """Count what was merged and decided meanwhile because time went by."""
        kinds = (*COUNTED, *NAMED)
        while events := self._board.events(after=self._after, kinds=kinds):
            for event in events:
                if event.kind in COUNTED:
                    self.passed[event.kind] += 1
                else:
                    self.passed[NAMED[event.kind]].append(event.task_id)
            self._after = events[-1].id

    def as_dict(self) -> dict[str, Any]:
        """Hermes's keys, each run's id, and what was refused."""
        return {
            **self.passed,
            "spawned": self.spawned,
            "skipped_unassigned": self.unassigned,
            "skipped_nonspawnable": self.nonspawnable,
            "skipped_per_profile_capped": self.capped,
            "refused": self.refused,
        }

    def say(self, dry_run: bool) -> None:
        """The same for people."""
        for name, found in self.passed.items():
            if found:
                said = found if isinstance(found, int) else ", ".join(found)
                text.say(f"{name.replace('_', ' ').capitalize()}: {said}")
        rows = [(each["task_id"], each["assignee"], each["run_id"], each["workspace"]) for each in self.spawned]
        if rows:
            text.say("Would be claimed:" if dry_run else "Claimed; start a worker for each:")
            text.print_table(("TASK", "ASSIGNEE", "RUN", "WORKSPACE"), rows)
        else:
            text.say("Nothing to start.")
        if self.unassigned:
            text.say(f"Skipped (unassigned): {', '.join(self.unassigned)}")
        if self.nonspawnable:
            text.say(f"Skipped (the assignee is not the name of a profile): {', '.join(self.nonspawnable)}")
        for each in self.capped:
            text.say(f"Deferred ({each['assignee']} has {each['current']} running): {each['task_id']}")
        for each in self.refused:
            text.say(f"Not started ({each['task_id']}): {each['message']}")

    def _worth_asking_for(self, most: int | None) -> Iterator[Task]:
        """The tasks that the limits leave room for. Asking for the others would only fill the ledger with refusals."""
        limits = self._board.settings()
        total, own = limits.get("max_in_progress"), limits.get("max_in_progress_per_profile")
        self._running.update(self._board.running_by_owner())
        for task in self._candidates():
            if len(self.spawned) == most or (total is not None and self._running.total() >= total):
                return
            if not task.assignee:
                self.unassigned.append(task.id)
            elif not _is_profile(task.assignee):
                self.nonspawnable.append(task.id)
            elif (own is not None and self._running[task.assignee] >= own) or task.assignee in self._full:
                self._cap(task)
            else:
                yield task

    def _candidates(self) -> Iterator[Task]:
        """What is ready, and then what is to be reviewed, read as far as it is asked for."""
        statuses: tuple[Status, ...] = ("ready", "review")
        for status in statuses:
            yield from self._board.each(TaskQuery(statuses=(status,)))

    def _start(self, task: Task, run_id: int | None, workspace: Path | None) -> None:
        self._running[task.assignee] += 1
        place = None if workspace is None else str(workspace)
        self.spawned.append({"task_id": task.id, "assignee": task.assignee, "workspace": place, "run_id": run_id})

    def _refuse(self, task: Task, reason: str, error: KanbanError) -> None:
        self.refused.append({"task_id": task.id, "reason": reason, "message": str(error)})

    def _cap(self, task: Task) -> None:
        current = self._running[task.assignee]
        self.capped.append({"task_id": task.id, "assignee": task.assignee, "current": current})


def _is_profile(name: str) -> bool:
    try:
        check_profile(name)
    except InvalidName:
        return False
    return True
