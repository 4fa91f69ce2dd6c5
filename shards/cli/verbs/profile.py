"""Who a person usually is at the terminal."""

from __future__ import annotations

import click

from kanban_shards.cli import usual
from kanban_shards.cli.session import answer, complete_profiles, json_option
from kanban_shards.errors import StorageError
from kanban_shards.paths import profile_meant


@click.group()
def profile() -> None:
    """Choose who I usually am at a terminal, so that --profile need not be said there.

    It counts only for a person at a terminal, is kept in the user's own configuration, and each call that goes by it
    says so. Scripts and agents go on saying --profile.
    """


@profile.command()
@click.argument("name", shell_complete=complete_profiles)
@json_option
def use(name: str, as_json: bool) -> None:
    """Be NAME at the terminal from now on, where --profile is not said."""
    chosen = profile_meant(name)
    path = usual.choose(chosen)
    if path is None:
        raise StorageError(path="the user's configuration", problem="the system knows no home of this user")
    answer(as_json, {"ok": True, "profile": chosen, "path": str(path)}, f"You are {chosen} at a terminal now ({path}).")


@profile.command()
@json_option
def show(as_json: bool) -> None:
    """Say who I usually am."""
    found, path = usual.usual_profile(), usual.place()
    said = f"You are {found} at a terminal ({path})." if found else "None is chosen; `kanban profile use NAME` does it."
    answer(as_json, {"profile": found, "path": str(path or "")}, said)


@profile.command()
@json_option
def clear(as_json: bool) -> None:
    """Choose none: then --profile is needed again."""
    was = usual.forget()
    answer(as_json, {"ok": True, "cleared": was}, "None is chosen now." if was else "None was chosen.")
