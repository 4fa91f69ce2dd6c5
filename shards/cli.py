"""The ``kanban`` command: the verbs and flags that Hermes users know, for one profile."""

from __future__ import annotations

import click

from kanban_shards.commands import EXIT_CODES, Session, board_option, home_option
from kanban_shards.groups import LazyGroup

VERBS = {
    "init": "kanban_shards.verbs.boards",
    "create": "kanban_shards.verbs.tasks",
    "swarm": "kanban_shards.verbs.swarm",
    "specify": "kanban_shards.verbs.plans",
    "decompose": "kanban_shards.verbs.plans",
    "assign": "kanban_shards.verbs.tasks",
    "reassign": "kanban_shards.verbs.tasks",
    "edit": "kanban_shards.verbs.tasks",
    "link": "kanban_shards.verbs.tasks",
    "unlink": "kanban_shards.verbs.tasks",
    "comment": "kanban_shards.verbs.tasks",
    "claim": "kanban_shards.verbs.runs",
    "heartbeat": "kanban_shards.verbs.runs",
    "complete": "kanban_shards.verbs.runs",
    "review": "kanban_shards.verbs.runs",
    "release": "kanban_shards.verbs.runs",
    "reclaim": "kanban_shards.verbs.runs",
    "spawned": "kanban_shards.verbs.runs",
    "fail": "kanban_shards.verbs.runs",
    "block": "kanban_shards.verbs.waiting",
    "unblock": "kanban_shards.verbs.waiting",
    "schedule": "kanban_shards.verbs.waiting",
    "promote": "kanban_shards.verbs.waiting",
    "archive": "kanban_shards.verbs.shelf",
    "reopen": "kanban_shards.verbs.shelf",
    "dispatch": "kanban_shards.verbs.dispatch",
    "limits": "kanban_shards.verbs.dispatch",
    "daemon": "kanban_shards.verbs.dispatch",
    "attach": "kanban_shards.verbs.files",
    "attachments": "kanban_shards.verbs.files",
    "attach-rm": "kanban_shards.verbs.files",
    "list": "kanban_shards.verbs.reading:list_tasks",
    "ls": "kanban_shards.verbs.reading:list_tasks",
    "show": "kanban_shards.verbs.reading",
    "runs": "kanban_shards.verbs.reading",
    "stats": "kanban_shards.verbs.reading",
    "tail": "kanban_shards.verbs.reading",
    "watch": "kanban_shards.verbs.reading",
    "notify-subscribe": "kanban_shards.verbs.chats",
    "notify-unsubscribe": "kanban_shards.verbs.chats",
    "notify-list": "kanban_shards.verbs.chats",
    "notify-dead": "kanban_shards.verbs.chats",
    "notify-resend": "kanban_shards.verbs.chats",
    "context": "kanban_shards.verbs.upkeep",
    "diagnostics": "kanban_shards.verbs.upkeep",
    "diag": "kanban_shards.verbs.upkeep:diagnostics",
    "assignees": "kanban_shards.verbs.upkeep",
    "log": "kanban_shards.verbs.upkeep",
    "gc": "kanban_shards.verbs.upkeep",
    "boards": "kanban_shards.verbs.boards",
}


@click.group(cls=LazyGroup, verbs=VERBS, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--profile", "-p", metavar="NAME", help="Who writes. Needed by every verb that changes something.")
@board_option
@home_option
@click.version_option(package_name="kanban-shards")
@click.pass_context
def main(ctx: click.Context, profile: str | None, board: str | None, home: str | None) -> None:
    """One task board for many agent profiles.

    Each profile writes only its own file; a coordinator merges. A verb returns when its change has a verdict, with
    or without a daemon.

    \b
    Begin with:
      kanban --profile bingge create "Write the PRD" --assignee bingge
      kanban list
      kanban --profile bingge claim --next
    """
    ctx.obj = Session(profile, board, home)
    ctx.call_on_close(ctx.obj.exits.close)
