"""Groups: how a command of ours finds its verbs, and how it ends: with a sentence and an exit code, in any case."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Any, NoReturn

import click

from kanban_shards.cli import text
from kanban_shards.errors import CannotOpen, KanbanError, OutputLost, Refused, cannot_write

# In characters: longer than the first sentence of any verb's help.
SENTENCE = 400
# Where a call remembers that it was made for a program.
AS_JSON = "shards.as_json"


class Group(click.Group):
    """A group that ends errors with their sentence and exit code, never with a traceback."""

    def main(self, *args: Any, **how: Any) -> Any:
        """Run as a program."""
        atexit.register(gc.freeze)  # else all that was loaded is searched for cycles once more when the process ends
        for stream in ("stdout", "stderr"):
            if getattr(sys, stream) is None:  # the caller closed it
                setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 - open for as long as the program
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            how["color"] = False
        try:
            return super().main(*args, **how)
        except OSError as error:
            lost = OutputLost(problem=(error.strerror or str(error)).lower())
            _end_output()
            text.say(f"{how.get('prog_name') or os.path.basename(sys.argv[0])}: {lost}", fg="red", err=True)
            sys.exit(lost.exit_code)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **how: Any
    ) -> click.Context:
        """What the arguments of the command itself say."""
        wants_json = "--json" in args  # wherever it stands: an error may come before its verb is reached
        try:
            ctx = super().make_context(info_name, args, parent, **how)
        except click.UsageError as error:
            if wants_json and parent is None:
                _print_error("UsageError", error.format_message())
            raise
        except BrokenPipeError:  # of the reader of a help, who has seen enough
            _end_output()
            raise click.exceptions.Exit(0) from None
        ctx.meta.setdefault(AS_JSON, wants_json)  # by the outermost group, which sees all the words
        return ctx

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, which are text: no file holds bytes that are none."""
        for word in args:
            if not _is_text(word):
                raise click.UsageError(f"{word!r} is not text: its bytes are not UTF-8.", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise unknown_verb(error, args[0], self.list_commands(ctx)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs in their sections, each with the whole first sentence of its help."""
        verbs = {name: verb for name in self.list_commands(ctx) if (verb := self.get_command(ctx, name))}
        shown = {name: verb.get_short_help_str(SENTENCE) for name, verb in verbs.items() if not verb.hidden}
        width = max(map(len, shown), default=0)
        for title, names in self.sections(list(shown)).items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), shown[name]) for name in names])

    def sections(self, verbs: list[str]) -> dict[str, list[str]]:
        """``verbs`` as the help shows them: by title, in order."""
        return {"Commands": verbs}

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            ctx.close()  # here, because closing a gateway makes its last pass, and that may fail as a command does
            sys.stdout.flush()
            return result
        except click.NoSuchOption as error:
            better = misplaced_option(ctx, error)
            _tell_programs(ctx, better)
            raise better from error
        except click.UsageError as error:
            _tell_programs(ctx, error)
            raise
        except KanbanError as error:
            _fail(ctx, error)
        except PermissionError as error:  # of a folder that this user may not even look into
            _fail(ctx, CannotOpen(path=error.filename, problem="permission denied"))
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of the output has seen enough; said aloud, it would see more
                _end_output()
                ctx.exit(0)
            if error.filename is None:  # the output's
                raise
            _fail(ctx, cannot_write(os.fsdecode(error.filename), error))
        except UnicodeEncodeError as error:
            _fail(ctx, OutputLost(problem=f"it takes {error.encoding} only; set PYTHONIOENCODING=utf-8"))


class LazyGroup(Group):
    """A group whose verbs are loaded when they are used: ``verbs`` maps each to the module that holds it, as
    ``module`` (the function has the verb's name) or ``module:function``. ``titles``: the first verb of each section of
    the help, with the section's title."""

    def __init__(
        self, *args: Any, verbs: dict[str, str], titles: Mapping[str, str] = MappingProxyType({}), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs
        self._titles = titles

    def sections(self, verbs: list[str]) -> dict[str, list[str]]:
        """Begin a section at each verb of ``titles``."""
        found: dict[str, list[str]] = {}
        title = "Commands"
        for verb in verbs:
            title = self._titles.get(verb, title)
            found.setdefault(title, []).append(verb)
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order they were given; other spellings of the same verb are not listed."""
        listed: dict[str, str] = {}
        for verb, place in self._verbs.items():
            listed.setdefault(_function(verb, place), verb)
        return list(listed.values())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a verb."""
        place = self._verbs.get(cmd_name)
        if place is None:
            return None
        module, name = _function(cmd_name, place).split(":")
        verb: click.Command = getattr(import_module(module), name)
        return verb


class Spreading(click.Command):
    """A command whose repeatable options also take several values at once, as Hermes's do: ``--ids A B``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        repeatable = {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.multiple
            for name in parameter.opts
        }
        return super().parse_args(ctx, _spread(args, repeatable))


def say(ctx: click.Context, error: KanbanError) -> None:
    """Say what went wrong: on standard error for people, and as JSON if the call was made for a program."""
    name = ctx.find_root().info_name
    text.say(f"{name}: {error}", fg="red", err=True)
    if ctx.meta[AS_JSON]:
        word = error.reason if isinstance(error, Refused) else type(error).__name__
        _print_error(word, str(error), {name: getattr(error, name) for name in error.told})


def _tell_programs(ctx: click.Context, error: click.UsageError) -> None:
    """That the call is wrong; once, by the outermost group, where click says it to people."""
    if ctx.meta[AS_JSON] and ctx.parent is None:
        _print_error("UsageError", error.format_message())


def _print_error(word: str, sentence: str, facts: Mapping[str, object] = MappingProxyType({})) -> None:
    text.print_json_line({"ok": False, "error": word, "message": sentence, **facts})


def _fail(ctx: click.Context, error: KanbanError) -> NoReturn:
    say(ctx, error)
    with contextlib.suppress(KanbanError):
        ctx.close()
    ctx.exit(error.exit_code)


def _end_output() -> None:
    """Keep Python from flushing stdout again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _function(verb: str, place: str) -> str:
    module, _, name = place.partition(":")
    return f"{module}:{name or verb.replace('-', '_')}"


def _spread(args: list[str], repeatable: set[str]) -> list[str]:
    """``--ids A B --x`` as ``--ids A --ids B --x``."""
    words: list[str] = []
    option: str | None = None
    for number, word in enumerate(args):
        if word == "--":
            return words + args[number:]
        if word.startswith("-") and word != "-":
            option = word if word in repeatable else None
        elif option is not None and words[-1] != option:
            words.append(option)
        words.append(word)
    return words


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
            path = error.ctx.command_path if error.ctx else ctx.command_path
            name, verb = error.option_name, path.removeprefix(ctx.command_path).strip()
            right = f"{ctx.command_path} {name} {option.make_metavar(ctx)} {verb} …"
            return click.UsageError(f"{name} stands before the verb: {right}", error.ctx)
    return error
