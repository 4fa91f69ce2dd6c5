"""``service``: have the system run the daemon."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from kanban_shards.cli import text
from kanban_shards.cli.params import SPAN
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.cli.output import all_boards_option, home_of
from kanban_shards.coordinator.daemon.units import Service, home_of_user, run, service_of
from kanban_shards.coordinator.errors import NoService
from kanban_shards.errors import StorageError
from kanban_shards.paths import BoardPaths, require_home

# What else than --home names one.
_HOMES = ("HERMES_KANBAN_HOME", "HERMES_HOME")


@click.group()
def service() -> None:
    """Have systemd or launchd run the daemon: from now on, and after each start of the system.

    `install --all-boards` makes one for every board of the home, and `kanban-merge --board SLUG service install` for
    one. `show` and `uninstall` take the same words.

    \b
      kanban-merge service install --all-boards
      kanban-merge service show --all-boards
      kanban-merge service uninstall --all-boards
    """


def _options(verb: Callable[..., None]) -> Callable[..., None]:
    """The options of each verb here, and the call's context."""
    for option in (
        json_option,
        click.option(
            "--user", metavar="NAME", help="With --system: whose board it is, and whose home, if none is named."
        ),
        click.option("--system", is_flag=True, help="A service of the whole system, not of this user; as root."),
        all_boards_option,
    ):
        verb = option(verb)
    return click.pass_context(verb)


def _checked_span(ctx: click.Context, option: click.Parameter, told: str | None) -> str | None:
    """The span in the words in which it was told: the daemon reads it again, and whoever looks at the service."""
    if told is not None:
        SPAN.convert(told, option, ctx)  # here, where somebody reads the answer
    return told


@service.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be written, and run.")
@click.option(
    "--backup-every", metavar="SPAN", callback=_checked_span, help="Have it make a backup so often, such as 6h."
)
@_options
def install(
    ctx: click.Context,
    dry_run: bool,
    backup_every: str | None,
    all_boards: bool,
    system: bool,
    user: str | None,
    as_json: bool,
) -> None:
    """Write the service, and have the system run it."""
    chosen = replace(_chosen(ctx, all_boards, system, user), backup_every=backup_every)
    _check_user(chosen)
    if (home := ctx.find_root().params["home"]) is not None:
        require_home(home)  # a service of a mistyped one would make it, and serve it for ever
    if dry_run:
        _show(chosen, as_json, chosen.is_installed())
        return
    _board(ctx, system, user).require_board()
    if system and not chosen.home.is_dir():
        raise StorageError(path=chosen.home, problem=f"there is no such folder; make it as the user {user}")
    chosen.write()
    _tell("installed", chosen, chosen.starting, run(chosen.starting), as_json)
    if not as_json and not system and not chosen.is_launchd:
        text.say("it ends when its user logs out, unless `loginctl enable-linger` was said once")


@service.command()
@_options
def uninstall(ctx: click.Context, all_boards: bool, system: bool, user: str | None, as_json: bool) -> None:
    """End it, and remove what install wrote. Boards stay as they are."""
    chosen = _chosen(ctx, all_boards, system, user)
    if not chosen.is_installed():
        raise NoService(name=chosen.name, path=chosen.path)
    problem = run(chosen.stopping)
    chosen.remove()
    _tell("removed", chosen, chosen.stopping, problem, as_json)


@service.command()
@_options
def show(ctx: click.Context, all_boards: bool, system: bool, user: str | None, as_json: bool) -> None:
    """Print what install would write, and where."""
    chosen = _chosen(ctx, all_boards, system, user)
    _check_user(chosen)
    _show(chosen, as_json, chosen.is_installed())


def _chosen(ctx: click.Context, all_boards: bool, system: bool, user: str | None) -> Service:
    paths = _board(ctx, system, user)
    if all_boards:
        home = home_of(ctx)
        return service_of(paths, _home_of_its_user(ctx, system, user, _HOMES) or home, True, user, system)
    return service_of(paths, paths.home, False, user, system)


def _board(ctx: click.Context, system: bool, user: str | None) -> BoardPaths:
    """The board that the call means; its user's own, unless it names a home."""
    home = _home_of_its_user(ctx, system, user, (*_HOMES, "HERMES_KANBAN_DB"))
    root = ctx.find_root()
    if home is not None:
        return BoardPaths.find(root.params["board"], home)
    called: BoardPaths = root.obj
    return called


def _home_of_its_user(ctx: click.Context, system: bool, user: str | None, variables: tuple[str, ...]) -> Path | None:
    """The home of the service's user, whoever calls; None if that is the caller, or one is named, by --home or one of
    ``variables``. Raises UnknownUser."""
    is_named = ctx.find_root().params["home"] is not None or any(os.environ.get(name) for name in variables)
    return home_of_user(user) if system and user and not is_named else None


def _check_user(chosen: Service) -> None:
    """Raise UnknownUser if it would be run as somebody who is not there."""
    if chosen.user is not None:
        home_of_user(chosen.user)


def _show(chosen: Service, as_json: bool, is_installed: bool) -> None:
    if as_json:
        text.print_json({"name": chosen.name, "path": str(chosen.path), "installed": is_installed, "text": chosen.text})
        return
    text.say(chosen.text.rstrip())
    text.say(f"{'is' if is_installed else 'not'} installed as {chosen.path}", err=True)


def _tell(done: str, chosen: Service, commands: list[list[str]], problem: str | None, as_json: bool) -> None:
    spelled = [shlex.join(command) for command in commands]
    if as_json:
        text.print_json(
            {"name": chosen.name, "path": str(chosen.path), done: True, "problem": problem, "commands": spelled}
        )
        return
    text.say(f"{done} {chosen.path}")
    if problem:
        text.say(f"the system could not be told ({problem}); run this where it can:", fg="yellow")
        for command in spelled:
            text.say(f"  {command}")
