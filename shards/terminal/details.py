"""A task with all that belongs to it, told in lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.cards import Named, named
from kanban_shards.errors import UnknownTask
from kanban_shards.records import Attachment, Comment, Event, Run, Task
from kanban_shards.sentences import sentence
from kanban_shards.terminal.drawing import COLORS, plain

# Of comments, runs and events, the newest so many; of related tasks, those that a digit opens.
SHOWN = 30
RELATED = 9
# Of a text, in characters: more than anybody reads in a terminal.
LONGEST_TEXT = 20_000


@dataclass(frozen=True)
class Details:
    """What is shown of a task. ``related``: the first tasks that it waits for, then those that wait for it; each is
    opened by its place, counted from 1. ``older``: how many of each list are not shown."""

    task: Task
    parents: tuple[Named, ...]
    children: tuple[Named, ...]
    comments: tuple[Comment, ...]
    runs: tuple[Run, ...]
    events: tuple[Event, ...]
    files: tuple[Attachment, ...]
    older: dict[str, int]

    @property
    def related(self) -> tuple[Named, ...]:
        """Those that a digit opens."""
        return (*self.parents, *self.children)[:RELATED]


def read(board: Board, task_id: str) -> Details:
    """The details of the task. Raises UnknownTask, and what every read of a board does."""
    with board.reading():
        task = board.task(task_id)
        parents, children = board.parents(task_id), board.children(task_id)
        comments, runs, files = board.comments(task_id), board.runs(task_id), board.attachments(task_id)
        events = list(board.events_of(task_id))
    if task is None:
        raise UnknownTask(task_id=task_id, board=board.paths)
    lists: dict[str, Sequence[object]] = {
        "parents": parents,
        "children": children,
        "comments": comments,
        "runs": runs,
        "events": events,
    }
    return Details(
        task=task,
        parents=tuple(named(board, parents[:SHOWN])),
        children=tuple(named(board, children[:SHOWN])),
        comments=tuple(comments[-SHOWN:]),
        runs=tuple(runs[-SHOWN:]),
        events=tuple(events[-SHOWN:]),
        files=tuple(files),
        older={name: max(0, len(every) - SHOWN) for name, every in lists.items()},
    )


def drawn(details: Details, now_s: float) -> Text:
    """The details in lines, at the time ``now_s`` (seconds since 1970)."""
    return Text("\n").join(_lines(details, now_s))


def _lines(details: Details, now_s: float) -> Iterator[Text]:
    task = details.task
    yield plain(task.title, "bold")
    yield Text.assemble((task.id, "dim"), "  ", (task.status, COLORS[task.status]))
    yield Text()
    for name, fact in _facts(task, now_s):
        yield Text.assemble((f"{name:<12}", "dim"), plain(fact))
    if task.body:
        yield Text()
        yield from _prose(task.body)
    yield from _section("Result", _prose(task.result) if task.result else ())
    yield from _section("Waits for", _named(details.parents, 1, details.older["parents"]))
    yield from _section("Waited for by", _named(details.children, 1 + len(details.parents), details.older["children"]))
    yield from _section("Files", (_file(each) for each in details.files))
    yield from _section("Runs", (_run(run, now_s) for run in details.runs), details.older["runs"])
    yield from _section("Comments", _comments(details.comments, now_s), details.older["comments"])
    yield from _section("Events", (_event(each, now_s) for each in details.events), details.older["events"])


def _facts(task: Task, now_s: float) -> Iterator[tuple[str, str]]:
    yield "assignee", task.assignee or "nobody"
    yield "owner", task.owner
    if task.priority:
        yield "priority", str(task.priority)
    if task.tenant:
        yield "tenant", task.tenant
    yield "created", f"{wording.ago(task.created_at, now_s)} by {task.created_by or task.owner}"
    if task.completed_at is not None:
        yield "completed", wording.ago(task.completed_at, now_s)
    if task.block_kind:
        yield "blocked for", task.block_kind
    if task.consecutive_failures:
        yield "failures", wording.many(task.consecutive_failures, "failure") + " in a row"
    if task.workspace_path:
        yield "workspace", f"{task.workspace_kind} {task.workspace_path}"


def _section(title: str, lines: Iterable[Text], older: int = 0) -> Iterator[Text]:
    told = list(lines)
    if told:
        yield Text()
        yield Text.assemble(
            (title, "bold underline"), (f"  ({older} older ones are not shown)" if older else "", "dim")
        )
        yield from told


def _prose(said: str) -> Iterator[Text]:
    cut = len(said) - LONGEST_TEXT
    for line in said[:LONGEST_TEXT].splitlines():
        yield plain(line.expandtabs(4))
    if cut > 0:
        yield Text(f"… {wording.many(cut, 'character')} more", style="italic")


def _named(tasks: Iterable[Named], first: int, older: int) -> Iterator[Text]:
    for place, task in enumerate(tasks, first):
        digit = f"{place} " if place <= RELATED else "  "
        yield Text.assemble(
            (digit, "bold cyan"), (task.id, "dim"), " ", (f"{task.status:<9}", COLORS[task.status]), " ",
            plain(wording.clip(task.title)),
        )  # fmt: skip
    if older:
        yield Text(f"  … {older} more", style="italic")


def _file(file: Attachment) -> Text:
    return plain(f"{file.filename} ({wording.many(file.size, 'byte')}, {file.whereabouts})")


def _run(run: Run, now_s: float) -> Text:
    took = wording.age(max(0, (run.ended_at or now_s) - run.started_at))
    how = run.outcome or run.status
    said = wording.clip(run.error or run.summary)
    return plain(f"{run.id}  {how} by {run.profile or 'nobody'}, {wording.ago(run.started_at, now_s)}, {took}"
                 + (f": {said}" if said else ""))  # fmt: skip


def _comments(comments: Iterable[Comment], now_s: float) -> Iterator[Text]:
    for comment in comments:
        yield Text.assemble(plain(comment.author, "bold"), (f", {wording.ago(comment.created_at, now_s)}", "dim"))
        for line in _prose(comment.body):
            yield Text.assemble("  ", line)


def _event(event: Event, now_s: float) -> Text:
    when = f"{wording.ago(event.created_at, now_s):<12} "
    return Text.assemble((when, "dim"), plain(sentence(event)))
