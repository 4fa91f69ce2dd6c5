"""The ``kanban`` command: the verbs and flags that Hermes users know, for one profile."""

from __future__ import annotations

import click

from shards.commands import EXIT_CODES, Session, board_option, home_option
from shards.groups import LazyGroup

VERBS = {
    "init": "shards.verbs.boards",
    "create": "shards.verbs.tasks",
    "swarm": "shards.verbs.swarm",
    "specify": "shards.verbs.plans",
    "decompose": "shards.verbs.plans",
    "assign": "shards.verbs.tasks",
    "reassign": "shards.verbs.tasks",
    "edit": "shards.verbs.tasks",
    "link": "shards.verbs.tasks",
    "unlink": "shards.verbs.tasks",
    "comment": "shards.verbs.tasks",
    "claim": "shards.verbs.runs",
    "heartbeat": "shards.verbs.runs",
    "complete": "shards.verbs.runs",
    "review": "shards.verbs.runs",
    "release": "shards.verbs.runs",
    "reclaim": "shards.verbs.runs",
    "spawned": "shards.verbs.runs",
    "fail": "shards.verbs.runs",
    "block": "shards.verbs.waiting",
    "unblock": "shards.verbs.waiting",
    "schedule": "shards.verbs.waiting",
    "promote": "shards.verbs.waiting",
    "archive": "shards.verbs.shelf",
    "reopen": "shards.verbs.shelf",
    "dispatch": "shards.verbs.dispatch",
    "limits": "shards.verbs.dispatch",
    "daemon": "shards.verbs.dispatch",
    "attach": "shards.verbs.files",
    "attachments": "shards.verbs.files",
    "attach-rm": "shards.verbs.files",
    "list": "shards.verbs.reading:list_tasks",
    "ls": "shards.verbs.reading:list_tasks",
    "show": "shards.verbs.reading",
    "runs": "shards.verbs.reading",
    "stats": "shards.verbs.reading",
    "tail": "shards.verbs.reading",
    "watch": "shards.verbs.reading",
    "notify-subscribe": "shards.verbs.chats",
    "notify-unsubscribe": "shards.verbs.chats",
    "notify-list": "shards.verbs.chats",
    "notify-dead": "shards.verbs.chats",
    "notify-resend": "shards.verbs.chats",
    "context": "shards.verbs.upkeep",
    "diagnostics": "shards.verbs.upkeep",
    "diag": "shards.verbs.upkeep:diagnostics",
    "assignees": "shards.verbs.upkeep",
    "log": "shards.verbs.upkeep",
    "gc": "shards.verbs.upkeep",
    "boards": "shards.verbs.boards",
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
