"""Versions: which releases of Hermes can be bridged, told by the signatures of what is patched and used in them.

A file's digest would refuse each release with a mended line; a signature is what the bridge rests on. So any release of
a minor version below is taken if all signatures are those of the table, and one that differs is refused. A minor
version that nobody looked at is refused whatever its signatures are, because a meaning can change without one.

A signature is written as its parameters, with ``=`` behind each that has a default; read from functions that are loaded
or from the source, without importing it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING

from kanban_shards.errors import HermesDiffers, HermesNotKnown

if TYPE_CHECKING:
    import ast

# What is called differently in a release is below.
SIGNATURES: Mapping[str, str] = {
    # boards and connections
    "connect": "db_path=, *, board=",
    "connect_closing": "db_path=, *, board=",
    "init_db": "db_path=, *, board=",
    "write_txn": "conn",
    "remove_board": "slug, *, archive=",
    # tasks
    "_new_task_id": "",
    "create_task": (
        "conn, *, title, body=, assignee=, created_by=, workspace_kind=, workspace_path=, branch_name=, tenant=, "
        "priority=, parents=, triage=, idempotency_key=, max_runtime_seconds=, skills=, max_retries=, goal_mode=, "
        "goal_max_turns=, initial_status=, session_id=, board=, project_id="
    ),
    "assign_task": "conn, task_id, profile",
    "reassign_task": "conn, task_id, profile, *, reclaim_first=, reason=",
    "link_tasks": "conn, parent_id, child_id",
    "unlink_tasks": "conn, parent_id, child_id",
    "edit_completed_task_result": "conn, task_id, *, result, summary=, metadata=",
    "set_workspace_path": "conn, task_id, path",
    "set_branch_name": "conn, task_id, branch_name",
    "specify_triage_task": "conn, task_id, *, title=, body=, assignee=, author=",
    "decompose_triage_task": "conn, task_id, *, root_assignee, children, author=, auto_promote=",
    "archive_task": "conn, task_id",
    "delete_archived_task": "conn, task_id",
    "delete_task": "conn, task_id",
    "recompute_ready": "conn, failure_limit=",
    "promote_task": "conn, task_id, *, actor, reason=, force=, dry_run=",
    "schedule_task": "conn, task_id, *, reason=, expected_run_id=",
    "block_task": "conn, task_id, *, reason=, kind=, expected_run_id=",
    "unblock_task": "conn, task_id",
    # comments, files, events
    "add_comment": "conn, task_id, author, body",
    "add_attachment": "conn, task_id, *, filename, stored_path, content_type=, size=, uploaded_by=",
    "delete_attachment": "conn, attachment_id",
    "gc_events": "conn, *, older_than_seconds=",
    "_append_event": "conn, task_id, kind, payload=, *, run_id=",
    "_maybe_emit_scratch_tip": "conn, task_id, workspace_kind",
    # runs
    "claim_task": "conn, task_id, *, ttl_seconds=, claimer=",
    "claim_review_task": "conn, task_id, *, ttl_seconds=, claimer=",
    "heartbeat_claim": "conn, task_id, *, ttl_seconds=, claimer=",
    "heartbeat_worker": "conn, task_id, *, note=, expected_run_id=",
    "complete_task": "conn, task_id, *, result=, summary=, metadata=, created_cards=, expected_run_id=",
    "reclaim_task": "conn, task_id, *, reason=, signal_fn=",
    "release_stale_claims": "conn, *, signal_fn=",
    "detect_stale_running": "conn, *, stale_timeout_seconds=, signal_fn=",
    "detect_crashed_workers": "conn",
    "enforce_max_runtime": "conn, *, signal_fn=",
    "_set_worker_pid": "conn, task_id, pid",
    "_end_run": "conn, task_id, *, outcome, summary=, error=, metadata=, status=",
    "_clear_failure_counter": "conn, task_id",
    "dispatch_once": (
        "conn, *, spawn_fn=, ttl_seconds=, dry_run=, max_spawn=, max_in_progress=, failure_limit=, "
        "stale_timeout_seconds=, board=, default_assignee=, max_in_progress_per_profile="
    ),
    "_record_task_failure": (
        "conn, task_id, error, *, outcome, failure_limit=, force_trip=, release_claim=, end_run=, event_payload_extra="
    ),
    # chats
    "add_notify_sub": "conn, *, task_id, platform, chat_id, thread_id=, user_id=, notifier_profile=",
    "remove_notify_sub": "conn, *, task_id, platform, chat_id, thread_id=",
    "list_notify_subs": "conn, task_id=",
    "claim_unseen_events_for_sub": "conn, *, task_id, platform, chat_id, thread_id=, kinds=",
    "advance_notify_cursor": "conn, *, task_id, platform, chat_id, thread_id=, new_cursor",
    "rewind_notify_cursor": "conn, *, task_id, platform, chat_id, thread_id=, claimed_cursor, old_cursor",
    # Hermes's own, which the bridge calls
    "kanban_home": "",
    "kanban_db_path": "board=",
    "_normalize_board_slug": "slug",
    "get_current_board": "",
    "get_task": "conn, task_id",
    "list_events": "conn, task_id",
    "get_attachment": "conn, attachment_id",
    "_canonical_assignee": "assignee",
    "_claimer_id": "",
    "_resolve_claim_ttl_seconds": "ttl_seconds=",
    "_resolve_crash_grace_seconds": "",
    "_classify_worker_exit": "pid",
    "_protocol_violation_streak": "conn, task_id",
    "_pid_alive": "pid",
    "_terminate_reclaimed_worker": "pid, claim_lock, *, signal_fn=",
    "_fire_kanban_lifecycle_hook": "event, task_id, **fields",
    "_verify_created_cards": "conn, completing_task_id, claimed_ids",
    "_scan_prose_for_phantom_ids": "conn, text",
    "_merge_completion_prose_artifacts": "conn, task_id, metadata, *, summary, result",
    "_persist_scratch_completion_artifacts": "conn, task_id, metadata",
    "_cleanup_workspace": "conn, task_id",
}

# Up to 0.18: no files of a scratch workspace are kept, and violations not counted apart. None: no such function.
_UP_TO_0_18: Mapping[str, str | None] = {
    "_record_task_failure": SIGNATURES["_record_task_failure"].replace("force_trip=, ", ""),
    "_merge_completion_prose_artifacts": None,
    "_persist_scratch_completion_artifacts": None,
    "_protocol_violation_streak": None,
}
# Up to 0.17: no projects, no kinds of blocks, no branches that are set later, no hooks.
_UP_TO_0_17: Mapping[str, str | None] = {
    **_UP_TO_0_18,
    "create_task": SIGNATURES["create_task"].removesuffix(", project_id="),
    "block_task": SIGNATURES["block_task"].replace("kind=, ", ""),
    "set_branch_name": None,
    "_fire_kanban_lifecycle_hook": None,
}
# What is different in each minor version that can be bridged.
DIFFERENCES: Mapping[str, Mapping[str, str | None]] = {
    "0.16": _UP_TO_0_17,
    "0.17": _UP_TO_0_17,
    "0.18": _UP_TO_0_18,
    "0.19": {},
}
RANGE = f"{min(DIFFERENCES)} to {max(DIFFERENCES)}"

_MINOR = re.compile(r"(\d+\.\d+)(?:\.|$)")
_VERSION_LINE = re.compile(r"^__version__ *= *[\"']([^\"']{1,40})[\"']", re.MULTILINE)
# Flags of a code object (inspect.CO_VARARGS, CO_VARKEYWORDS, whose module takes 10 ms to load).
_TAKES_MORE, _TAKES_MORE_BY_NAME = 0x04, 0x08


def check(module: ModuleType) -> str:
    """The version of the Hermes whose ``hermes_cli.kanban_db`` this is, if it can be bridged.

    Raises HermesNotKnown for a version that nobody looked at, HermesDiffers for one whose functions are not those that
    the table has.
    """
    version = str(getattr(sys.modules.get("hermes_cli"), "__version__", "of no version"))
    check_signatures(version, dict(_of_functions(module)), str(sys.prefix))
    return version


def check_source(version: str, source: str, place: str) -> None:
    """The same for a Hermes that is not loaded, from the ``source`` of that module; ``place`` is named in sentences.

    Raises HermesNotKnown, HermesDiffers.
    """
    try:
        read = dict(_of_source(source))
    except (SyntaxError, ValueError, RecursionError):
        read = {}
    check_signatures(version, read, place)


def check_signatures(version: str, found: Mapping[str, str], place: str) -> None:
    """Hold the signatures that were ``found`` against those of the version. Raises HermesNotKnown, HermesDiffers."""
    wanted = {**SIGNATURES, **differences_of(version, place)}
    if differing := sorted(name for name, signature in wanted.items() if found.get(name) != signature):
        raise HermesDiffers(version=version, names=", ".join(differing), place=place)


def differences_of(version: str, place: str) -> Mapping[str, str | None]:
    """What is different in this version. Raises HermesNotKnown for one that nobody looked at."""
    minor = _MINOR.match(version)
    if minor is None or minor[1] not in DIFFERENCES:
        raise HermesNotKnown(version=version, known=RANGE, place=place)
    return DIFFERENCES[minor[1]]


def version_in(source: str) -> str:
    """The version that the source of ``hermes_cli/__init__.py`` says; "of no version" if it says none."""
    said = _VERSION_LINE.search(source)
    return said[1] if said else "of no version"


def _of_functions(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, value in vars(module).items():
        function = getattr(value, "__wrapped__", value)  # of a context manager
        if isinstance(function, FunctionType):
            yield name, _of_function(function)


def _of_function(function: FunctionType) -> str:
    code: CodeType = function.__code__
    positional, by_name = code.co_argcount, code.co_kwonlyargcount
    names = list(code.co_varnames)
    defaults = len(function.__defaults__ or ())
    first = [name + "=" * (number >= positional - defaults) for number, name in enumerate(names[:positional])]
    second = [name + "=" * (name in (function.__kwdefaults__ or {})) for name in names[positional:][:by_name]]
    rest = names[positional + by_name :]
    more = rest.pop(0) if code.co_flags & _TAKES_MORE else ""
    return _spelled(first, more, second, rest[0] if code.co_flags & _TAKES_MORE_BY_NAME else "")


def _of_source(source: str) -> Iterator[tuple[str, str]]:
    import ast  # what a Hermes that is loaded need not load

    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, _of_arguments(node.args)


def _of_arguments(said: ast.arguments) -> str:
    positional = [each.arg for each in (*said.posonlyargs, *said.args)]
    required = len(positional) - len(said.defaults)
    first = [name + "=" * (number >= required) for number, name in enumerate(positional)]
    second = [
        each.arg + "=" * (default is not None) for each, default in zip(said.kwonlyargs, said.kw_defaults, strict=True)
    ]
    return _spelled(first, said.vararg.arg if said.vararg else "", second, said.kwarg.arg if said.kwarg else "")


def _spelled(first: list[str], more: str, second: list[str], more_by_name: str) -> str:
    star = [f"*{more}"] if more or second else []
    return ", ".join([*first, *star, *second, *([f"**{more_by_name}"] if more_by_name else [])])
