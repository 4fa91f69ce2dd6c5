"""docs/hermes.md is true and complete: what it names exists, and it names all that Hermes has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from kanban_shards import Board, Gateway
from kanban_shards.cli.main import main as kanban
from kanban_shards.coordinator.cli.main import main as kanban_merge
from kanban_shards.paths import BoardPaths

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hermes.md").read_text(encoding="utf-8")
COMMANDS: dict[str, click.Group] = {"kanban": kanban, "kanban-merge": kanban_merge}
CLASSES = {"Gateway": Gateway, "Board": Board, "BoardPaths": BoardPaths}
NOT_HERE = "not here, because "

# hermes-agent 0.19.0: the verbs of `hermes kanban` with their other spellings, and each one's flags.
VERBS = {
    "init": "",
    "boards list, boards ls": "--all --json",
    "boards create, boards new": "--name --description --icon --color --switch --default-workdir",
    "boards rm, boards remove, boards delete": "--delete",
    "boards switch, boards use": "",
    "boards show, boards current": "",
    "boards rename": "",
    "boards set-default-workdir": "",
    "create": "--body --assignee --parent --workspace --branch --project --tenant --priority --triage "
    "--idempotency-key --max-runtime --created-by --skill --max-retries --goal --goal-max-turns --initial-status "
    "--json",
    "swarm": "--worker --verifier --synthesizer --tenant --priority --created-by --idempotency-key --json",
    "list, ls": "--mine --assignee --status --tenant --session --archived --sort --workflow-template-id --step-key "
    "--json",
    "show": "--state-type --state-name --json",
    "assign": "",
    "reclaim": "--reason",
    "reassign": "--reclaim --reason",
    "diagnostics, diag": "--severity --task --json",
    "link": "",
    "unlink": "",
    "claim": "--ttl",
    "comment": "--author --max-len",
    "attach": "--content-type --name --author",
    "attachments": "--json",
    "attach-rm": "",
    "complete": "--result --summary --metadata",
    "edit": "--result --summary --metadata",
    "block": "--ids --kind",
    "schedule": "--ids",
    "unblock": "--reason",
    "promote": "--ids --force --dry-run --json",
    "archive": "--rm",
    "tail": "--interval",
    "watch": "--assignee --tenant --kinds --interval",
    "dispatch": "--dry-run --max --failure-limit --json",
    "daemon": "--interval --max --failure-limit --pidfile --verbose --force",
    "stats": "--json",
    "notify-subscribe": "--platform --chat-id --thread-id --user-id --notifier-profile",
    "notify-list": "--json",
    "notify-unsubscribe": "--platform --chat-id --thread-id",
    "log": "--tail",
    "runs": "--state-type --state-name --json",
    "heartbeat": "--note",
    "assignees": "--json",
    "context": "",
    "specify": "--all --tenant --author --json",
    "decompose": "--all --tenant --author --json",
    "gc": "--event-retention-days --log-retention-days",
}

# The public functions and exceptions of its ``kanban_db``.
KANBAN_DB = """
    kanban_home boards_root current_board_path get_current_board set_current_board clear_current_board board_dir
    board_exists kanban_db_path workspaces_root attachments_root task_attachments_dir worker_logs_dir
    board_metadata_path read_board_metadata write_board_metadata create_board list_boards remove_board
    connect connect_closing init_db write_txn KanbanDbCorruptError
    create_task get_task list_tasks assign_task reassign_task edit_completed_task_result set_workspace_path
    set_branch_name link_tasks unlink_tasks parent_ids child_ids parent_results add_comment list_comments
    store_attachment_bytes add_attachment list_attachments get_attachment delete_attachment
    claim_task claim_review_task heartbeat_claim heartbeat_worker release_stale_claims reclaim_task
    complete_task block_task promote_task unblock_task schedule_task specify_triage_task decompose_triage_task
    archive_task delete_archived_task delete_task recompute_ready HallucinatedCardsError ArtifactPreservationError
    list_events list_runs get_run latest_run latest_summary latest_summaries
    add_notify_sub list_notify_subs remove_notify_sub unseen_events_for_sub claim_unseen_events_for_sub
    advance_notify_cursor rewind_notify_cursor
    board_stats task_age known_assignees list_profiles_on_disk gc_events gc_worker_logs worker_log_path
    read_worker_log dispatch_once has_spawnable_ready has_spawnable_review reap_worker_zombies check_respawn_guard
    run_daemon build_worker_context resolve_workspace
    scoped_current_board worker_log_rotation_config detect_crashed_workers detect_stale_running enforce_max_runtime
    DispatchResult Task Run Comment Event Attachment AttachmentTooLarge
"""


def table(section: str) -> list[list[str]]:
    """The rows of the table in a section of the page, without its head."""
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


VERB_ROWS = table("Verbs and flags")
FUNCTION_ROWS = table("Functions")
SETTLED_ROWS = table("What Hermes does in two ways, and here is done in one")


def test_every_verb_and_flag_has_its_row() -> None:
    rows = {", ".join(quoted(verbs)): " ".join(quoted(flags)) for verbs, flags, *_ in VERB_ROWS}
    assert rows == VERBS


@pytest.mark.parametrize("row", VERB_ROWS, ids=lambda row: row[0])
def test_a_verb_is_here_with_its_flags(row: list[str]) -> None:
    """Under each of its names; and a flag that is not here is said to be absent, with the reason, and no other is."""
    verbs, flags, here, differs = row
    absent = set(absent_flags(differs))
    missing = set()
    for verb in quoted(verbs):
        command = find(kanban, verb.split())
        missing |= {flag for flag in " ".join(quoted(flags)).split() if flag not in options(command)}
    assert missing == absent
    assert quoted(here)


def test_every_command_of_the_page_exists() -> None:
    named = [words for words in quoted(re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)) if is_command(words)]
    assert len(named) > len(VERBS)
    for words in named:
        check_command(words)


def test_every_function_has_its_row() -> None:
    named = [name for names, _ in FUNCTION_ROWS for name in quoted(names)]
    assert sorted(named) == sorted(KANBAN_DB.split())


@pytest.mark.parametrize("row", FUNCTION_ROWS, ids=lambda row: row[0])
def test_a_function_went_somewhere(row: list[str]) -> None:
    _, here = row
    assert quoted(here) or here.startswith(NOT_HERE)
    for name in quoted(here):
        check_command(name) if is_command(name) else resolve(name)


@pytest.mark.parametrize("row", SETTLED_ROWS, ids=lambda row: row[0])
def test_what_was_settled_is_held_by_a_test(row: list[str]) -> None:
    (place,) = quoted(row[2])
    path, _, name = place.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def absent_flags(differs: str) -> Iterator[str]:
    """The flags of which the cell says that they are not here, and why."""
    for before, reason in re.findall(rf"((?:`--[a-z-]+` )+){NOT_HERE}(\w+)", differs):
        assert reason
        yield from quoted(before)


def is_command(words: str) -> bool:
    return words.split()[0] in COMMANDS and len(words.split()) > 1


def check_command(words: str) -> None:
    program, *rest = words.split()
    command = find(COMMANDS[program], [word for word in rest if not word.startswith("--")])
    assert {word for word in rest if word.startswith("--")} <= options(command), words


def find(group: click.Command, words: list[str]) -> click.Command:
    for word in words:
        assert isinstance(group, click.Group), words
        command = group.get_command(click.Context(group), word)
        assert command is not None, words
        group = command
    return group


def options(command: click.Command) -> set[str]:
    return {spelling for option in command.params for spelling in option.opts} | {"--help"}


def resolve(name: str) -> object:
    """The class attribute or module attribute that ``name`` says. Raises AttributeError or ImportError."""
    first, *rest = name.split(".")
    if first in CLASSES:
        (attribute,) = rest
        return getattr(CLASSES[first], attribute)
    for length in range(len(rest), 0, -1):
        try:
            found = import_module(".".join([first, *rest[:length]]))
        except ModuleNotFoundError:
            continue
        for attribute in rest[length:]:
            found = getattr(found, attribute)
        return found
    raise ImportError(name)
