"""Hints for whoever mistyped a call: the verb that may be meant, and where an option stands."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import click


def unknown_verb(error: click.UsageError, word: str, verbs: Iterable[str]) -> click.UsageError:
    """The error of a verb that there is not, with those that look like it."""
    near = get_close_matches(word, list(verbs))
    if not near:
        return error
    return click.UsageError(f"{error.message} Did you mean {' or '.join(map(repr, near))}?", error.ctx)


def misplaced_option(ctx: click.Context, error: click.NoSuchOption) -> click.UsageError:
    """The error of an option that its verb does not have, where it is one of the whole program's, which ``ctx`` is
    of: those stand before the verb."""
    for option in ctx.command.params:
        if isinstance(option, click.Option) and error.option_name in option.opts and not option.is_flag:
            name, verb = error.option_name, error.ctx.command_path.removeprefix(ctx.command_path).strip()
            right = f"{ctx.command_path} {name} {option.make_metavar(ctx)} {verb} …"
            return click.UsageError(f"{name} stands before the verb: {right}", error.ctx)
    return error
