"""docs/commands.md, made from the commands themselves: ``python -m tests.docs.commands > docs/commands.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from kanban_shards.cli.main import main as kanban
from kanban_shards.cli.session import EXIT_CODES
from kanban_shards.coordinator.cli.main import main as kanban_merge

PROGRAMS: dict[str, click.Group] = {"kanban": kanban, "kanban-merge": kanban_merge}

HEAD = """\
# Commands

Every verb of `kanban` and `kanban-merge`, made from the commands themselves by
`python -m tests.docs.commands > docs/commands.md`. A verb with `--help` says what each option means. Which verb of
Hermes went where: [hermes.md](hermes.md). What to do about an error: [failures.md](failures.md).

{without_json} `-h` and `--help` are everywhere. The
options of the program itself stand before the verb, as in `kanban --profile bingge list`.
"""


class Verb(NamedTuple):
    """One verb: how it is called, with its group's name before it and its other spellings, and the command itself."""

    spellings: tuple[str, ...]
    command: click.Command


def page() -> str:
    """The whole page."""
    tables = {name: [*verbs(group)] for name, group in PROGRAMS.items()}
    parts = [HEAD.format(without_json=_without_json(tables))]
    for name, group in PROGRAMS.items():
        options = "\n".join(f"- `{_called(each)}`: {each.help}" for each in _options(group))
        parts.append(f"## {name}\n\n{_sentence(group)}\n\n{options}\n")
        rows = [row(verb) for verb in tables[name]]
        parts.append("\n".join(["| verb | what it does | options |", "|---|---|---|", *rows]) + "\n")
    codes = [line.split(maxsplit=1) for line in EXIT_CODES.splitlines()[2:]]
    rows = [f"| {code} | {meaning} |" for code, meaning in codes]
    parts.append("\n".join(["## Exit codes\n", "| exit code | meaning |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def verbs(group: click.Group, before: str = "") -> Iterator[Verb]:
    """The verbs of ``group``, and of the groups in it, in the order of its help."""
    context = click.Context(group)
    named = getattr(group, "_verbs", None) or group.list_commands(context)
    spellings: dict[int, list[str]] = {}
    commands: dict[int, click.Command] = {}
    for word in named:
        command = group.get_command(context, word)
        assert command is not None, word
        commands[id(command)] = command
        spellings.setdefault(id(command), []).append(before + word)
    for key, command in commands.items():
        called = sorted(spellings[key], key=lambda spelling: spelling != before + (command.name or ""))
        if isinstance(command, click.Group):
            yield from verbs(command, f"{called[0]} ")
        else:
            yield Verb(tuple(called), command)


def row(verb: Verb) -> str:
    """The line of the table about ``verb``."""
    arguments = [_argument(each) for each in verb.command.params if isinstance(each, click.Argument)]
    called = ", ".join(f"`{' '.join([spelling, *arguments])}`" for spelling in verb.spellings)
    options = [f"`{_called(each)}`" for each in _options(verb.command) if "--json" not in each.opts]
    cells = (called, _sentence(verb.command), " ".join(options))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _argument(argument: click.Argument) -> str:
    called = _value(argument).removesuffix("...") + ("..." if argument.nargs == -1 else "")
    return called if argument.required else f"[{called}]"


def _value(parameter: click.Parameter) -> str:
    """What stands for the value of an option or argument, the same with every version of click."""
    if parameter.metavar:
        return parameter.metavar
    if isinstance(parameter.type, click.Choice):
        return "|".join(parameter.type.choices)
    if isinstance(parameter, click.Argument):
        return (parameter.name or "").upper()
    return "N" if parameter.type.name.startswith(("integer", "float")) else parameter.type.name.upper()


def _called(option: click.Option) -> str:
    return ", ".join(option.opts) + ("" if option.is_flag else f" {_value(option)}")


def _sentence(command: click.Command) -> str:
    """The first paragraph of its help."""
    return " ".join((command.help or "").strip().split("\n\n")[0].split())


def _options(command: click.Command) -> Iterator[click.Option]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden and "--help" not in option.opts:
            yield option


def _without_json(tables: dict[str, list[Verb]]) -> str:
    lacking = [
        f"`{name} {verb.spellings[0]}`"
        for name, found in tables.items()
        for verb in found
        if not any("--json" in option.opts for option in _options(verb.command))
    ]
    return f"`--json` is on every verb but {' and '.join(lacking)}."


if __name__ == "__main__":
    print(page(), end="")
