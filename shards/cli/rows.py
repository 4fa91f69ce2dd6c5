"""Rows of a file as new tasks: ``create --from FILE``, JSON lines or CSV, all of them in one commit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kanban_shards.arguments import TaskFields
from kanban_shards.cli.params import SPAN, listed
from kanban_shards.cli.session import assignee_meant
from kanban_shards.errors import BoardMissing, InvalidName, WrongRow
from kanban_shards.paths import is_task_id

if TYPE_CHECKING:
    from kanban_shards.board import Board
    from kanban_shards.gateway import Gateway

TEXTS = ("title", "body", "tenant", "created_by", "idempotency_key", "session", "project", "branch")
NUMBERS = ("priority", "max_retries")
NAMES = ("ref", *TEXTS, "assignee", "parents", *NUMBERS, "skills", "triage", "max_runtime")
# How the fields of a change are called, where a row says it otherwise.
_FIELDS = {"session": "session_id", "project": "project_id", "branch": "branch_name"}
_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class Row:
    """A task to be made. ``line``: of the file. ``ref``: how later rows name it. ``parents``: ids and refs of tasks
    that it waits for."""

    line: int
    title: str
    ref: str | None
    parents: tuple[str, ...]
    fields: TaskFields

    @property
    def key(self) -> str | None:
        """Its idempotency key."""
        return self.fields.get("idempotency_key")


def read_rows(text: str) -> list[Row]:
    """The tasks of the file's ``text``: JSON lines if its first line begins with ``{``, else CSV with a header.

    Raises WrongRow for the first row that is none.
    """
    found = _json_lines(text) if text.lstrip().startswith("{") else _csv(text)
    rows: list[Row] = []
    refs: set[str] = set()
    for line, told in found:
        row = _row(line, told)
        for parent in row.parents:
            if parent not in refs and not is_task_id(parent):
                raise WrongRow(line=line, problem=f"{parent!r} is no task's id, and no ref of a line before")
        if row.ref is not None:
            if row.ref in refs:
                raise WrongRow(line=line, problem=f"the ref {row.ref!r} is on an earlier line, too")
            refs.add(row.ref)
        rows.append(row)
    if not rows:
        raise WrongRow(line=1, problem="there is no task in the file")
    return rows


@dataclass(frozen=True)
class Created:
    """What became of a row: the task's id, and whether it was made now, or its key had one."""

    row: Row
    task_id: str
    is_new: bool


def create_rows(gateway: Gateway, rows: list[Row], ids: dict[str, str]) -> list[Created]:
    """Make all of ``rows`` in one commit, but for those whose key a task has already. ``ids`` is filled as they are
    drawn: title of each by id, for who has to say what is written and has no verdict. Raises what a Batch raises."""
    held = {row.line: task_id for row in rows if row.key and (task_id := _with_key(gateway.board, row.key))}
    by_ref: dict[str, str] = {}
    drawn: dict[int, str] = {}
    with gateway.batch() as batch:
        for row in rows:
            task_id = held.get(row.line)
            if task_id is None:
                parents = [by_ref.get(parent, parent) for parent in row.parents]
                task_id = drawn[row.line] = batch.create(row.title, parents=parents, **row.fields)
                ids[task_id] = row.title
            if row.ref is not None:
                by_ref[row.ref] = task_id
    made = {line: batch.made.get(task_id, task_id) for line, task_id in drawn.items()}
    return [
        Created(row, made.get(row.line) or held[row.line], made.get(row.line) == drawn.get(row.line, ""))
        for row in rows
    ]


def check_parents(board: Board, rows: list[Row]) -> None:
    """Raise UnknownTask for the first parent that the board does not have."""
    for parent in dict.fromkeys(parent for row in rows for parent in row.parents if is_task_id(parent)):
        board.known_task(parent)


def _with_key(board: Board, key: str) -> str | None:
    try:
        return board.task_with_key(key)
    except BoardMissing:  # the first task makes it
        return None


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise WrongRow(line=number, problem=f"it is no JSON ({error})") from error
        if not isinstance(told, dict):
            raise WrongRow(line=number, problem="it is no JSON object")
        yield number, told


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for told in reader:
            if None in told or None in told.values():
                raise WrongRow(line=reader.line_num, problem="it has another number of fields than the header")
            yield reader.line_num, {name.strip(): value for name, value in told.items() if value != ""}
    except csv.Error as error:
        raise WrongRow(line=reader.line_num, problem=f"it is no CSV ({error})") from error


def _row(line: int, told: dict[str, Any]) -> Row:
    given = {name: value for name, value in told.items() if value is not None}
    if unknown := sorted(given.keys() - set(NAMES)):
        raise WrongRow(line=line, problem=f"{', '.join(unknown)} is no field; there are {', '.join(NAMES)}")
    if not isinstance(given.get("title"), str) or not given["title"].strip():
        raise WrongRow(line=line, problem="it has no title")
    try:
        fields: dict[str, Any] = {
            _FIELDS.get(name, name): _value(name, value) for name, value in given.items() if name in TEXTS[1:]
        }
        fields |= {name: _number(name, given[name]) for name in NUMBERS if name in given}
        if "assignee" in given:
            fields["assignee"] = assignee_meant(_value("assignee", given["assignee"]))
        if "skills" in given:
            fields["skills"] = _list("skills", given["skills"]) or None
        if "max_runtime" in given:
            fields["max_runtime_seconds"] = SPAN.convert(given["max_runtime"], None, None)
        if _flag("triage", given.get("triage", False)):
            fields["starts"] = "triage"
        ref = None if "ref" not in given else str(given["ref"])
        made: Any = fields
        return Row(line, given["title"], ref, _list("parents", given.get("parents", [])), made)
    except (ValueError, click.BadParameter, InvalidName) as error:
        said = error.message if isinstance(error, click.BadParameter) else str(error)
        raise WrongRow(line=line, problem=said.rstrip(".")) from error


def _value(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _number(name: str, value: object) -> int:
    try:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"{name} is no whole number")


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _YES:
        return _YES[value.strip().lower()]
    raise ValueError(f"{name} is neither true nor false")


def _list(name: str, value: object) -> tuple[str, ...]:
    """A list, or in CSV its words with commas or blanks between them."""
    if isinstance(value, str):
        return listed(value.replace(" ", ","))
    if isinstance(value, list) and all(isinstance(each, (str, int)) for each in value):
        return tuple(map(str, value))
    raise ValueError(f"{name} is no list")
