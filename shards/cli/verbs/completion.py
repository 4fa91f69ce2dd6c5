"""Completion of words at the prompt: the script that a shell reads."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from kanban_shards.cli import text
from kanban_shards.cli.session import json_option

_COMPLETIONS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
PROGRAMS = ("kanban", "kanban-merge")


@click.command()
@click.argument("shell", type=click.Choice(list(_COMPLETIONS)), metavar="SHELL")
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print what SHELL (bash, zsh or fish) has to read to complete verbs, options, ids, profiles and boards.

    \b
      ~/.bashrc:  eval "$(kanban completion bash)"
      ~/.zshrc:   eval "$(kanban completion zsh)"
      ~/.config/fish/config.fish:
                  kanban completion fish | source
    """
    complete = _COMPLETIONS[shell]
    command = ctx.find_root().command
    script = "\n".join(complete(command, {}, name, _variable(name)).source() for name in PROGRAMS)
    text.print_json({"shell": shell, "script": script}) if as_json else text.say(script)


def _variable(program: str) -> str:
    """The variable by which click tells a completion from a call."""
    return f"_{program.replace('-', '_').upper()}_COMPLETE"
