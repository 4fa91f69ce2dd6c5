"""The ``kanban-merge`` command: the coordinator, by hand or as a daemon, and the checks."""

from __future__ import annotations

import click

from kanban_shards.cli.groups import LazyGroup
from kanban_shards.cli.session import EXIT_CODES, board_option, home_option, json_option
from kanban_shards.coordinator.cli.output import all_boards_option, report
from kanban_shards.paths import BoardPaths, require_home

# In the order of the help.
VERBS = {
    "daemon": "kanban_shards.coordinator.cli.merge",
    "service": "kanban_shards.coordinator.cli.service",
    "status": "kanban_shards.coordinator.cli.health",
    "doctor": "kanban_shards.coordinator.cli.health",
    "metrics": "kanban_shards.coordinator.cli.health",
    "refusals": "kanban_shards.coordinator.cli.merge",
    "history": "kanban_shards.coordinator.cli.history",
    "verify": "kanban_shards.coordinator.cli.recovery",
    "rebuild": "kanban_shards.coordinator.cli.recovery",
    "repair": "kanban_shards.coordinator.cli.recovery",
    "backup": "kanban_shards.coordinator.cli.backup",
    "backups": "kanban_shards.coordinator.cli.backup",
    "restore": "kanban_shards.coordinator.cli.backup",
    "compact": "kanban_shards.coordinator.cli.backup",
    "share": "kanban_shards.coordinator.cli.sharing",
    "unshare": "kanban_shards.coordinator.cli.sharing",
    "move": "kanban_shards.coordinator.cli.sharing",
    "hermes": "kanban_shards.coordinator.cli.bridge",
    "import": "kanban_shards.coordinator.cli.hermes:bring",
    "adopt": "kanban_shards.coordinator.cli.hermes",
    "restore-legacy": "kanban_shards.coordinator.cli.hermes",
    "export": "kanban_shards.coordinator.cli.hermes",
    "salvage": "kanban_shards.coordinator.cli.salvage",
    "demo": "kanban_shards.coordinator.cli.demo",
}
# The first verb of each section of the help.
TITLES = {
    "daemon": "Merging",
    "status": "Looking",
    "verify": "Checking and mending",
    "backup": "Keeping",
    "share": "Several hosts",
    "hermes": "In from Hermes, and out again",
    "demo": "Seeing it work",
}


# Verbs that may begin in a home or a board that is not there yet; for the others, it is mistyped.
BEGINNING = ("service", "demo", "salvage", "import", "restore", "hermes")


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    titles=TITLES,
    epilog=EXIT_CODES,
    invoke_without_command=True,  # for --once
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--once", is_flag=True, help="Merge everything that is there, say what became of it, and exit.")
@all_boards_option
@board_option
@home_option
@json_option
@click.version_option(package_name="kanban-shards")
@click.pass_context
def main(ctx: click.Context, once: bool, all_boards: bool, board: str | None, home: str | None, as_json: bool) -> None:
    """Merge the profiles' shards into the shared board.

    \b
    Begin with:
      kanban-merge demo      see it work, on its own board
      kanban-merge --once    one pass over the board
      kanban-merge doctor    what is wrong, and what to do
      kanban-merge daemon    stay, and merge what is written
    """
    ctx.obj = BoardPaths.find(board, home)
    if ctx.invoked_subcommand not in BEGINNING and (once or ctx.invoked_subcommand):
        _check_is_there(ctx.obj, None if all_boards else board, home)
        if not all_boards and not _may_mean_all(ctx):
            ctx.obj.require_board()  # else whatever points to it, or nobody, named it
    if once and ctx.invoked_subcommand is None:
        from kanban_shards.coordinator.cli.merge import merge

        report(ctx, merge, all_boards, as_json)
    elif ctx.invoked_subcommand is None:
        raise click.UsageError("Missing command.")
    elif as_json:
        raise _misplaced(ctx, "as_json", "--json")
    elif once:
        raise click.UsageError(f"--once stands alone, without {ctx.invoked_subcommand}.")
    elif all_boards:
        raise _misplaced(ctx, "all_boards", "--all-boards")


def _check_is_there(paths: BoardPaths, board: str | None, home: str | None) -> None:
    """What was named is there. Raises HomeMissing, UnknownBoard."""
    if home is not None:
        require_home(home)
    if board is not None:
        paths.require_board()


def _may_mean_all(ctx: click.Context) -> bool:
    """Whether the verb may be told to mean every board, and no matter which one is in use; it looks for itself."""
    verb = _verb(ctx)
    return verb is not None and any(parameter.name == "all_boards" for parameter in verb.params)


def _misplaced(ctx: click.Context, name: str, option: str) -> click.UsageError:
    """An option of this command that was said before a verb, which may have one of that name."""
    verb = _verb(ctx)
    if verb is not None and any(parameter.name == name for parameter in verb.params):
        return click.UsageError(f"Say {option} behind {ctx.invoked_subcommand}.")
    return click.UsageError(f"{option} goes with --once, and {ctx.invoked_subcommand} has no such option.")


def _verb(ctx: click.Context) -> click.Command | None:
    """The command that the call names; None if there is no such one."""
    group = ctx.command
    return group.get_command(ctx, ctx.invoked_subcommand or "") if isinstance(group, click.Group) else None
