"""The board in a browser."""

from __future__ import annotations

from importlib import import_module

import click

from kanban_shards.cli import text
from kanban_shards.cli.session import NoProfile, Session
from kanban_shards.errors import ExtraMissing
from kanban_shards.paths import BoardPaths, check_profile, root_folder

PORT = 8640


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen. Elsewhere "
              "than on this machine's own address, whoever looks needs the token that is printed.")  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Open it in this machine's browser.")
@click.option("--write", "writes", is_flag=True, help="Let the page change the board, as --profile.")
@click.pass_obj
def web(session: Session, port: int, host: str, opens: bool, writes: bool) -> None:
    """Show the board in a browser, until interrupted.

    It changes by itself as things are merged. Reading is all it does, and needs no profile; with --write, whoever
    looks may comment, create, assign, block, unblock, promote and archive, as --profile.
    """
    if writes and session.profile is None:
        raise NoProfile(verb="web --write")
    profile = check_profile(session.profile) if writes and session.profile else None
    paths = BoardPaths.find(**session.where)
    paths.require_board()
    try:
        import_module("jinja2")  # what the reader needs, which would end at once without it
        from kanban_shards.web.serving import Served, serve
    except ModuleNotFoundError as error:
        raise ExtraMissing(package=(error.name or "").partition(".")[0], extra="web") from error
    # A board that the environment names by its file may lie in no home, so that there are no others to show.
    root = None if paths.pointer == "HERMES_KANBAN_DB" else root_folder(session.where["home"])
    serve(Served(paths, root, profile), host, port, opens, text.say)
