"""Boards: each a folder with its own shards, ledger and coordinator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from kanban_shards import boards as home
from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.session import Session, answer, complete_boards, json_option
from kanban_shards.errors import InvalidName, StorageError
from kanban_shards.inline_merge import make_files
from kanban_shards.paths import BoardPaths, root_folder


@click.command()
@json_option
@click.pass_obj
def init(session: Session, as_json: bool) -> None:
    """Make the board, if it is not there yet."""
    paths = BoardPaths.find(**session.where)
    if paths.pointer is not None and not paths.pointer.startswith("HERMES_"):  # a file that was left behind
        paths.require_board()
    paths.make_folder()
    make_files(paths)
    answer(as_json, {"board": paths.slug, "path": str(paths.board)}, f"Board {paths.slug} is at {paths.board}")


@click.group(invoke_without_command=True)
@click.pass_context
def boards(ctx: click.Context) -> None:
    """Make, choose, name and put away boards."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_boards, include_archived=False, as_json=False)


@click.command("list")
@click.option("--all", "include_archived", is_flag=True, help="Those that were put away, too.")
@json_option
@click.pass_obj
def list_boards(session: Session, include_archived: bool, as_json: bool) -> None:
    """Show the boards of this home."""
    root, current = _root(session), _current(session)
    found = [home.describe(paths, current) for paths in home.boards(root)]
    found = [board for board in found if include_archived or not board["archived"]]
    if include_archived:
        away = [home.describe(paths, None) for paths in home.archived_boards(root)]
        found += [{**board, "archived": True} for board in away]
    if as_json:
        text.print_json(found)
    else:
        text.print_table(
            ("", "BOARD", "NAME", "TASKS", "OF THESE"),
            [
                ("*" if board["is_current"] else "", board["slug"],
                 board["name"] + (" (archived)" if board["archived"] else ""), board["total"], _counted(board))
                for board in found
            ],
        )  # fmt: skip


@click.command()
@click.argument("slug")
@click.option("--name", help="What is shown for it.")
@click.option("--description")
@click.option("--icon")
@click.option("--color")
@click.option("--switch", is_flag=True, help="Make it the current board.")
@click.option("--default-workdir", metavar="DIR", help="Where tasks work that name no folder of their own.")
@json_option
@click.pass_obj
def create(session: Session, /, slug: str, switch: bool, as_json: bool, **shown: str | None) -> None:
    """Make a board."""
    root = _root(session)
    is_new = home.create_board(root, slug, **shown)
    if switch:
        home.switch_board(root, slug)
    board = home.read_metadata(home.find_board(root, slug))
    said = f"Board {slug!r} {'created' if is_new else 'is there already'}: {board['db_path']}"
    said += "\nIt is the current board now." if switch else f"\n`kanban boards switch {slug}` makes it the current one."
    answer(as_json, {"ok": True, "created": is_new, **board}, said)


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command("rm")
@click.argument("slug", shell_complete=complete_boards)
@click.option("--delete", is_flag=True, help="For good, with everything in it, instead of putting it away.")
@yes_option
@json_option
@click.pass_obj
def remove(session: Session, slug: str, delete: bool, yes: bool, as_json: bool) -> None:
    """Put a board away, into boards/_archived."""
    if delete and not yes:
        _ask(session, slug)
    _remove(session, slug, delete, as_json)


@click.command("delete")
@click.argument("slug", shell_complete=complete_boards)
@yes_option
@json_option
@click.pass_obj
def delete_board(session: Session, slug: str, yes: bool, as_json: bool) -> None:
    """Delete a board for good, with everything in it. On a terminal it asks before, unless --yes is said."""
    if not yes:
        _ask(session, slug)
    _remove(session, slug, True, as_json)


@click.command()
@click.argument("slug", shell_complete=complete_boards)
@json_option
@click.pass_obj
def switch(session: Session, slug: str, as_json: bool) -> None:
    """Make a board the one that is meant when none is named."""
    home.switch_board(_root(session), slug)
    answer(as_json, {"ok": True, "slug": slug}, f"The current board is {slug!r} now.")


@click.command()
@json_option
@click.pass_obj
def show(session: Session, as_json: bool) -> None:
    """Show the current board."""
    paths = BoardPaths.find(**session.where)
    paths.require_board()
    board = home.describe(paths, paths.slug)
    facts = {
        "name": board["name"],
        "description": board["description"],
        "workdir": board["default_workdir"],
        "file": board["db_path"],
        "tasks": _counted(board) or 0,
    }
    lines = [f"  {name + ':':<12} {fact}" for name, fact in facts.items() if fact not in (None, "")]
    answer(as_json, board, "\n".join([f"Current board: {board['slug']}", *lines]))


@click.command()
@click.argument("slug", shell_complete=complete_boards)
@click.argument("name")
@json_option
@click.pass_obj
def rename(session: Session, slug: str, name: str, as_json: bool) -> None:
    """Change the name that is shown for a board; its slug stays."""
    board = home.write_metadata(home.find_board(_root(session), slug), name=name)
    answer(as_json, {"ok": True, **board}, f"Board {slug!r} is shown as {board['name']!r}.")


@click.command("set-default-workdir")
@click.argument("slug", shell_complete=complete_boards)
@click.argument("path", required=False)
@json_option
@click.pass_obj
def set_default_workdir(session: Session, slug: str, path: str | None, as_json: bool) -> None:
    """Say where tasks work that name no folder of their own; without PATH, nowhere."""
    board = home.write_metadata(home.find_board(_root(session), slug), default_workdir=path or "")
    said = f"Tasks of {slug!r} work in {board['default_workdir'] or 'no usual folder'}."
    answer(as_json, {"ok": True, **board}, said)


for names, command in {
    ("list", "ls"): list_boards,
    ("create", "new"): create,
    ("rm", "remove"): remove,
    ("delete",): delete_board,
    ("switch", "use"): switch,
    ("show", "current"): show,
    ("rename",): rename,
    ("set-default-workdir",): set_default_workdir,
}.items():
    for name in names:
        boards.add_command(command, name)


def _ask(session: Session, slug: str) -> None:
    """Ask whether the board is meant, on a terminal; a script has said what it means, as it does to Hermes."""
    if not sys.stdin.isatty():
        return
    board = home.describe(home.find_board(_root(session), slug), None)
    counted = wording.many(board["total"], "task")
    question = f"Delete the board {slug!r} with {counted} and all its files, for good?"
    click.confirm(question, abort=True, err=True)


def _remove(session: Session, slug: str, delete: bool, as_json: bool) -> None:
    kept = home.remove_board(_root(session), slug, delete=delete)
    said = f"Board {slug!r} is deleted." if kept is None else f"Board {slug!r} is put away in {kept}"
    value = {"ok": True, "slug": slug, "action": "deleted" if delete else "archived", "new_path": str(kept or "")}
    answer(as_json, value, said)


def _root(session: Session) -> Path:
    return root_folder(session.where["home"])


def _current(session: Session) -> str:
    """The slug of the board in use; what is wrong with it keeps nobody from seeing which boards there are."""
    try:
        paths = BoardPaths.find(**session.where)
        paths.require_board()
    except (InvalidName, StorageError) as error:
        text.say(str(error), fg="red", err=True)
        return ""
    return paths.slug


def _counted(board: dict[str, Any]) -> str:
    if "problem" in board:
        return str(board["problem"])
    return ", ".join(f"{status} {count}" for status, count in board["counts"].items())
