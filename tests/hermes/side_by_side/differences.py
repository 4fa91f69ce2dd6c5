"""What a Hermes on a board of ours says differently: each is a line of docs/hermes.md, which says why.

What is said in many places is taken out of both sides before they are compared. What is of some calls is named here,
with the story or the route that shows it.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from typing import Any

# Keys of events that say more than Hermes's own, and columns that only later versions of Hermes have.
MORE_KEYS = {"by", "profile", "failures", "error", "due", "host", "began"}
MORE_COLUMNS = {"chat_type", "delivery_mode", "delivery_metadata", "provider_override", "reasoning_effort"}
LATE = "late_refused"
PLACE = {"fields": ["workspace_path"]}
# Of what a dispatcher saw, a board of ours says in one place what Hermes says in two or three.
SEEN = {"pid", "claimer", "exit_code", "exit_kind", "limit_source"}
# Lines of docs/hermes.md, by their first words. These are of what is said in many places.
WIDELY = (
    "Events say who wrote them",
    "`goal_mode` of a `created` event",
    "There are columns of later versions",
    "What a worker says too late",
    "Where a worker works that was claimed by hand",
    "A run that was opened and closed by one verb",
    "`worker_pid` of a run stays",
    "The comments of `specify` and `decompose`",
    "The event of an edited result",
    "What a dispatcher saw of a crash",
)
# These are of single calls, of the command line and of the dashboard.
BLOCKED, ARCHIVED = "A task that was created blocked", "An archived parent"
NO_CHANGE, UNASSIGNED = "What changes nothing is no event", "A run that was claimed of a task without an assignee"
UNSPAWNED, REASON = "A task whose worker could not be started", "A reclaim without a reason"
COUNTED, REOPENED = "`gc` counts", "A card that is dragged out of `done`"
DRAGGED, PROMOTED = "A running card that is dragged to `todo`", "`dispatch` counts no promotions"
LIVING = "A task whose last worker still lives"
CALLS = {
    ("every flag of create", "list"): BLOCKED,
    ("every flag of create", "list --json"): BLOCKED,
    ("every flag of create", "show $d"): BLOCKED,
    ("parents and children", 'e = create "after what is archived" --parent $d'): ARCHIVED,
    ("parents and children", "show $e"): ARCHIVED,
    ("parents and children", "show $b"): NO_CHANGE,
    ("parents and children", "show $b --json"): NO_CHANGE,
    ("a run that was given to another", "show $a --json"): REASON,
    ("whose it is", "show $a"): UNASSIGNED,
    ("whose it is", "runs $a"): UNASSIGNED,
    ("sweeping up", "show $a --json"): UNASSIGNED,
    ("sweeping up", "gc --event-retention-days 0 --log-retention-days 0"): COUNTED,
    ("workers that say nothing, or later", "show $c --json"): UNSPAWNED,
}
ROUTES = {
    "PATCH /tasks/$a {'status': 'ready'}": REOPENED,
    "GET /tasks/$f": DRAGGED,
    "POST /dispatch?max=8": PROMOTED,
    "POST /tasks/$f/reclaim {'reason': 'again'}": LIVING,
}

_EVENT = re.compile(r"^( *\[<date>\](?: \[run \S+\])? (?:task-\d+ +)?(\w+) *(?:\(@\S+\))?) (\{.*\})$", re.M)
_WORDS = (
    (re.compile(r"Specified(?: —|:)[^\"\n]*"), "Specified"),
    (re.compile(r"(Decomposed into [^\".\n]*)\. Root will wake when all children complete\."), r"\1"),
)
_COUNT = re.compile(r"^Events \(\d+\):$", re.M)
_MARKS = re.compile(r"<([a-z:]+)>")


def comparable(said: str) -> str:
    """What is left to compare of one side's output, which ``Normal`` has seen."""
    for pattern, words in _WORDS:
        said = pattern.sub(words, said)
    try:
        value = json.loads(_MARKS.sub(r'"<\1>"', _bare(said)))
    except ValueError:
        return _COUNT.sub("Events:", _EVENT.sub(_line, said).replace("<ours>\n", ""))
    return json.dumps(_walk(value), indent=1, sort_keys=True, ensure_ascii=False)


def between(theirs: str, ours: str) -> str:
    """The lines that differ, for whoever has to look into it."""
    lines = difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "Hermes alone", "on a board of ours", n=1)
    return "\n".join(line.rstrip() for line in lines)


def _bare(said: str) -> str:
    """Marks in strings without their brackets, so that those in the place of numbers can be quoted."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: _MARKS.sub(r"\1", found[0]), said)


def _walk(value: Any) -> Any:
    if isinstance(value, list):
        return [_walk(item) for item in value if not (isinstance(item, dict) and _is_ours(item))]
    if not isinstance(value, dict):
        return value
    value = {key: item for key, item in value.items() if key not in MORE_COLUMNS}
    if "kind" in value and "payload" in value:
        value = _event(value)
    if "outcome" in value and "worker_pid" in value:
        value = _run(value)
    return {key: _walk(item) for key, item in value.items()}


def _event(event: dict[str, Any]) -> dict[str, Any]:
    payload = event["payload"] and _payload(event["payload"])
    if event["kind"] == "gave_up" or (event["kind"] == "edited" and "result_len" in payload):
        event = {**event, "run_id": None}
    return {**event, "payload": payload}


def _is_ours(item: dict[str, Any]) -> bool:
    """Whether it is an event that only a board of ours has."""
    return item.get("kind") == LATE or (item.get("kind") == "edited" and _payload(item["payload"]) == PLACE)


def _run(run: dict[str, Any]) -> dict[str, Any]:
    metadata = run["metadata"]
    if isinstance(metadata, str):  # as it lies in the table
        metadata = json.loads(metadata)
    metadata = {key: item for key, item in (metadata or {}).items() if key not in {*SEEN, *MORE_KEYS}}
    status = "done" if run["status"] == "completed" else run["status"]
    return {**run, "worker_pid": None, "status": status, "metadata": metadata or None}


def _line(found: re.Match[str]) -> str:
    """An event as ``show``, ``tail`` and ``watch`` print it."""
    payload = ast.literal_eval(_MARKS.sub(r'"<\1>"', re.sub(r"'<([a-z:]+)>'", r"<\1>", found[3])))
    if _is_ours({"kind": found[2], "payload": payload}):
        return "<ours>"
    kept = _payload(payload)
    begin = re.sub(r"\[run \d+\] (?=edited)", "", found[1]) if "result_len" in payload else found[1]
    return f"{begin} {dict(sorted(kept.items()))}" if kept else begin


def _payload(payload: dict[str, Any]) -> dict[str, Any] | None:
    kept = {key: item for key, item in payload.items() if key not in {*MORE_KEYS, *SEEN}}
    if kept.get("goal_mode") is False:
        kept["goal_mode"] = None
    for key in {"fields", "changed_fields"} & set(kept):
        kept[key] = sorted(kept[key])
    return kept or None
