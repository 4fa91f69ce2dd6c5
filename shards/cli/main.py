"""The ``kanban`` command: the verbs and flags that Hermes users know, for one profile."""

from __future__ import annotations

import click

from kanban_shards.cli.groups import LazyGroup
from kanban_shards.cli.session import EXIT_CODES, Session, board_option, complete_profiles, home_option
from kanban_shards.paths import require_home

# In the order of the help.
VERBS = {
    "create": "kanban_shards.cli.verbs.tasks",
    "list": "kanban_shards.cli.verbs.read:list_tasks",
    "ls": "kanban_shards.cli.verbs.read:list_tasks",
    "show": "kanban_shards.cli.verbs.read",
    "edit": "kanban_shards.cli.verbs.tasks",
    "comment": "kanban_shards.cli.verbs.tasks",
    "assign": "kanban_shards.cli.verbs.tasks",
    "link": "kanban_shards.cli.verbs.tasks",
    "unlink": "kanban_shards.cli.verbs.tasks",
    "archive": "kanban_shards.cli.verbs.archive",
    "reopen": "kanban_shards.cli.verbs.archive",
    "undo": "kanban_shards.cli.verbs.archive",
    "claim": "kanban_shards.cli.verbs.runs",
    "heartbeat": "kanban_shards.cli.verbs.runs",
    "complete": "kanban_shards.cli.verbs.runs",
    "review": "kanban_shards.cli.verbs.runs",
    "release": "kanban_shards.cli.verbs.runs",
    "block": "kanban_shards.cli.verbs.block",
    "unblock": "kanban_shards.cli.verbs.block",
    "schedule": "kanban_shards.cli.verbs.block",
    "promote": "kanban_shards.cli.verbs.block",
    "swarm": "kanban_shards.cli.verbs.swarm",
    "specify": "kanban_shards.cli.verbs.plans",
    "decompose": "kanban_shards.cli.verbs.plans",
    "attach": "kanban_shards.cli.verbs.files",
    "attachments": "kanban_shards.cli.verbs.files",
    "attach-rm": "kanban_shards.cli.verbs.files",
    "stats": "kanban_shards.cli.verbs.read",
    "runs": "kanban_shards.cli.verbs.read",
    "tail": "kanban_shards.cli.verbs.read",
    "watch": "kanban_shards.cli.verbs.read",
    "web": "kanban_shards.cli.verbs.web",
    "board": "kanban_shards.cli.verbs.board",
    "context": "kanban_shards.cli.verbs.maintenance",
    "log": "kanban_shards.cli.verbs.maintenance",
    "diagnostics": "kanban_shards.cli.verbs.maintenance",
    "diag": "kanban_shards.cli.verbs.maintenance:diagnostics",
    "assignees": "kanban_shards.cli.verbs.maintenance",
    "dispatch": "kanban_shards.cli.verbs.dispatch",
    "spawned": "kanban_shards.cli.verbs.runs",
    "fail": "kanban_shards.cli.verbs.runs",
    "reclaim": "kanban_shards.cli.verbs.runs",
    "reassign": "kanban_shards.cli.verbs.tasks",
    "limits": "kanban_shards.cli.verbs.dispatch",
    "daemon": "kanban_shards.cli.verbs.dispatch",
    "mcp": "kanban_shards.cli.verbs.mcp",
    "notify-subscribe": "kanban_shards.cli.verbs.chats",
    "notify-unsubscribe": "kanban_shards.cli.verbs.chats",
    "notify-list": "kanban_shards.cli.verbs.chats",
    "notify-dead": "kanban_shards.cli.verbs.chats",
    "notify-resend": "kanban_shards.cli.verbs.chats",
    "init": "kanban_shards.cli.verbs.boards",
    "boards": "kanban_shards.cli.verbs.boards",
    "gc": "kanban_shards.cli.verbs.maintenance",
    "profile": "kanban_shards.cli.verbs.profile",
    "completion": "kanban_shards.cli.verbs.completion",
}
# The first verb of each section of the help.
TITLES = {
    "create": "Tasks",
    "claim": "Working on one",
    "swarm": "Plans",
    "attach": "Files",
    "stats": "Looking",
    "dispatch": "Starting workers",
    "mcp": "For agents",
    "notify-subscribe": "Telling chats",
    "init": "Boards",
}


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    titles=TITLES,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--profile",
    "-p",
    metavar="NAME",
    shell_complete=complete_profiles,
    help="Who writes. Needed by every verb that changes something.",
)
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
      kanban -p amy create "Write it" --assignee amy
      kanban list
      kanban -p amy claim --next
    """
    if home is not None and ctx.invoked_subcommand != "init":
        require_home(home)
    ctx.obj = Session(profile, board, home)
    ctx.call_on_close(ctx.obj.exits.close)
