"""What the verbs share: options, the session of one call, and how it answers."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar

import click

from kanban_shards import inline_merge, wording
from kanban_shards.board import Board
from kanban_shards.cli import text, usual
from kanban_shards.cli.params import PAST, POSITIVE, HomeFolder, ParamType, whom
from kanban_shards.errors import (
    AmbiguousTask,
    BoardMissing,
    InvalidTaskId,
    Refused,
    UnknownRun,
    UnknownTask,
    UsageError,
)
from kanban_shards.moments import Past
from kanban_shards.past import PastBoard
from kanban_shards.paths import is_task_id, profile_meant
from kanban_shards.records import Run, Task, Verdict

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from kanban_shards.gateway import Gateway

# The beginning of an id, and a whole one of this program's; Hermes's are shorter, and are asked for.
BEGINNING = re.compile(r"t_[0-9a-f]+")
ID_LENGTH = 22
# So many of several tasks are named.
NAMED = 5
P = ParamSpec("P")
T = TypeVar("T")

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused, or not possible (the sentence says why)
  2  wrong usage
  3  a file cannot be used: missing, damaged, disk full …
  4  written, but not decided yet
  5  another coordinator runs
  6  done, but something needs a person"""


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
past_option = click.option(
    "--at", "past", type=PAST, metavar="WHEN",
    help="As it was then: '2h ago', 2026-12-24T18:00, or a position of the ledger.",
)  # fmt: skip
run_option = click.option(
    "--run", "run_id", type=POSITIVE, metavar="ID", help="Only if this run is still the task's open one."
)
home_option = click.option(
    "--home",
    metavar="DIR",
    type=HomeFolder(file_okay=False, readable=False),  # one that may not be read is no wrong usage
    help="The Hermes home, in place of ~/.hermes.",
)


class _TaskId(ParamType):
    """A task's id, or as much of its beginning as no other task has."""

    name = "task"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id that ``value`` names. What has the shape of one and is not on the board is left to the verb: it may
        be about to be. Raises AmbiguousTask, UnknownTask."""
        told = str(value)
        is_whole = len(told) >= ID_LENGTH or not BEGINNING.fullmatch(told)
        if is_whole or ctx is None or ctx.resilient_parsing:  # the last of these: for a completion
            return told
        try:
            board = ctx.obj.board() if isinstance(ctx.obj, Session) else Board(ctx.obj)
            found = board.ids_beginning_with(told, NAMED + 1)
        except BoardMissing:
            if is_task_id(told):
                return told
            raise
        if told in found or len(found) == 1:
            return told if told in found else found[0]
        if not found:
            if is_task_id(told):
                return told
            raise UnknownTask(task_id=told, board=board.paths)
        more = " and more" if len(found) > NAMED else ""
        raise AmbiguousTask(beginning=told, task_ids=", ".join(found[:NAMED]) + more)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The tasks whose id begins so."""
        return _completed("tasks", ctx, param, incomplete)


def _completed(what: str, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What completion.py offers, which is loaded when a shell asks."""
    from kanban_shards.cli import completion

    offered: list[CompletionItem] = getattr(completion, what)(ctx, param, incomplete)
    return offered


TASK = _TaskId()
complete_profiles = functools.partial(_completed, "profiles")
complete_boards = functools.partial(_completed, "slugs")

board_option = click.option(
    "--board",
    metavar="SLUG",
    shell_complete=complete_boards,
    help="Which board; else the one that Hermes would take.",
)


class NoProfile(UsageError):
    template = "Say which profile writes: kanban --profile NAME {verb} … (or choose one: `kanban profile use NAME`)"
    verb: str


class Where(TypedDict):
    """Which board of which Hermes home; None for the user's own."""

    board: str | None
    home: str | None


class Session:
    """One call of the command: which board, and as whom."""

    def __init__(self, profile: str | None, board: str | None, home: str | None) -> None:
        self.profile = profile
        self.where: Where = {"board": board, "home": home}
        self.exits = contextlib.ExitStack()
        self._board: Board | None = None
        self._gateway: Gateway | None = None

    def board(self, past: Past | None = None) -> Board:
        """The board, for reading: as it is, or as it stood at ``past``."""
        if self._board is None:
            self._board = self.exits.enter_context(Board.open(**self.where))
        board = self._board
        if past is None:
            return board
        history = self.exits.enter_context(inline_merge.open_history(board.paths))
        return self.exits.enter_context(history.board_at(**past))

    def whoever_asks(self) -> str:
        """The profile of this call: the one that was said, else, at a terminal, the usual one, of which it tells.
        Raises NoProfile."""
        if self.profile is None and usual.is_asked_by_a_person():
            self.profile = usual.usual_profile()
            if self.profile is not None:
                text.say(f"As {self.profile}, whom you chose with `kanban profile use`.", err=True)
        if self.profile is None:
            raise NoProfile(verb=click.get_current_context().info_name)
        return self.profile

    def gateway(self) -> Gateway:
        """The gateway, for writing."""
        if self._gateway is None:
            from kanban_shards.gateway import Gateway  # what a command that only reads need not load

            self._gateway = self.exits.enter_context(Gateway(self.whoever_asks(), **self.where))
            self.exits.callback(self._gateway.settle)  # a person is told what closing would only log
        return self._gateway


def say_when(board: Board) -> None:
    """Say of a board of the past when that was; of the present, nothing."""
    if isinstance(board, PastBoard):
        when = f", {wording.when(board.at_ms // 1000)}" if board.at_ms else ""
        text.say(f"As it stood at position {board.position()}{when}:")


def once_more(verb: Callable[P, T]) -> Callable[P, T]:
    """Read again and retry once, where the task changed between the reading and the verdict."""

    @functools.wraps(verb)
    def retrying(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return verb(*args, **kwargs)
        except Refused as refused:
            if refused.reason != "stale":
                raise
            return verb(*args, **kwargs)

    return retrying


def answer(as_json: bool, value: dict[str, Any], said: str) -> None:
    """Print ``value`` for programs, or ``said`` for people."""
    text.print_json(value) if as_json else text.say(said)


def each(
    as_json: bool,
    task_ids: Iterable[str],
    said: str | Callable[[str, dict[str, Any]], str],
    verb: Callable[[str], Verdict | None],
) -> None:
    """``verb`` on each task; the others go on when one is refused, and the call ends as the last refusal says.

    ``said``: what is printed where it went well: a word that the id follows, or a function of id and answer.
    """
    task_ids = tuple(dict.fromkeys(task_ids))
    answers, last = [], None
    for task_id in task_ids:
        try:
            verdict = once_more(verb)(task_id)
        except (Refused, UnknownTask, InvalidTaskId) as error:
            if len(task_ids) == 1:
                raise
            last = error
            answers.append({"ok": False, "task_id": task_id, "message": str(error)})
            if not as_json:
                text.say(str(error), fg="red", err=True)
            continue
        facts = verdict.answer if verdict else {}
        answers.append({"ok": True, "task_id": task_id, **facts})
        if not as_json:
            text.say(f"{said} {task_id}" if isinstance(said, str) else said(task_id, facts))
    if as_json:
        text.print_json(answers if len(task_ids) > 1 else answers[0])
    if last is not None:
        click.get_current_context().exit(last.exit_code)


def task_of(gateway: Gateway, task_id: str) -> Task:
    """The task, which the board has. Raises UnknownTask if it was deleted meanwhile."""
    return gateway.board.known_task(task_id)


def work_of(gateway: Gateway, task_id: str, run_id: int | None) -> Run | str:
    """What an outcome is about: the run ``run_id`` of the task, or the task itself."""
    return task_id if run_id is None else run_of(gateway, task_id, run_id)


def run_of(gateway: Gateway, task_id: str, run_id: int | None) -> Run:
    """The run ``run_id`` of the task; None means its open one. Raises UnknownTask, UnknownRun, NoOpenRun."""
    if run_id is None:
        return gateway.open_run(task_id)
    run = gateway.board.run(run_id)
    if run is None:
        raise UnknownRun(run_id=run_id, board=gateway.paths)
    if run.task_id != task_id:
        raise click.UsageError(f"Run {run_id} is not a run of {task_id}.")
    return run


def others_run(gateway: Gateway, facts: dict[str, Any]) -> str:
    """For the end of a sentence: whose run a verdict ended, if it was another profile's."""
    run = gateway.board.run(facts["run_id"]) if facts.get("run_id") else None
    if run is None or run.profile in (None, gateway.profile):  # nobody's: it was never claimed
        return ""
    return f"  (run {run.id} of {run.profile} ended with it)"


def assignee_meant(name: str | None) -> str | None:
    """The same, spelled as profiles are. Raises InvalidName for what can name no profile."""
    found = whom(name)
    return None if found is None else profile_meant(found)


def table(headers: tuple[str, ...], rows: Sequence[Sequence[object]], nothing: str) -> None:
    """Print ``rows`` as a table, or ``nothing`` if there are none."""
    text.print_table(headers, rows) if rows else text.say(nothing)
