"""Moving in and out: ``import``, ``adopt``, ``restore-legacy``, ``export``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from kanban_shards import boards, wording
from kanban_shards.cli import text
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.cli.output import (
    ProgressBar,
    Result,
    all_boards_option,
    home_of,
    report,
    tell_each,
    tell_one,
)
from kanban_shards.coordinator.cli.salvage import show_salvage
from kanban_shards.coordinator.errors import NoBoards
from kanban_shards.coordinator.hermes import adopt as adopting
from kanban_shards.coordinator.hermes import export as exporting
from kanban_shards.coordinator.hermes.importer import Imported, import_board
from kanban_shards.coordinator.hermes.salvage import STAGES
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.errors import NEEDS_ATTENTION, BoardMissing
from kanban_shards.paths import BoardPaths

NOTES_SHOWN = 20

trust_option = click.option(
    "--trust-closed", is_flag=True, help="Nobody has it open: where the system cannot tell, take my word."
)


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be imported, changed and lost; write nothing.")
@click.option("--attachments", "folders", multiple=True, metavar="DIR",
              type=click.Path(file_okay=False, path_type=Path),
              help="Bring the files of attachments below it, too; may be repeated.")  # fmt: skip
@trust_option
@json_option
@click.pass_context
def bring(
    ctx: click.Context, path: Path, dry_run: bool, folders: tuple[Path, ...], trust_closed: bool, as_json: bool
) -> None:
    """Bring the board in PATH, which Hermes wrote, to this one. The original is only read.

    PATH is a kanban.db, or the home of a Hermes with all its boards, where the trouble of one hinders no other. Tasks
    that are here already are left as they are, so importing twice imports nothing twice. Files of attachments are
    brought that lie in Hermes's own folder for them; what a row names elsewhere takes --attachments, for it may be any
    file of yours. A daemon of this board must be stopped first. Exit code 6 says that something is lost, or a board of
    the home could not be imported; the report says what.
    """

    def brought(source: Path, paths: BoardPaths, make_board: Callable[[], object] | None = None) -> Result:
        with ProgressBar("importing", as_json) as progress:
            done = import_board(
                source,
                paths,
                dry_run=dry_run,
                trust_closed=trust_closed,
                folders=folders,
                make_board=make_board,
                progress=progress,
            )
        return Result(_import_value(done), partial(_show_import, done), not done.complete)

    if not path.is_dir():
        tell_one(ctx, brought(path, ctx.obj), as_json)
        return
    root = home_of(ctx)
    asks = {
        source.slug: partial(brought, source.board, BoardPaths.of(root, source.slug), partial(_make_like, source, root))
        for source in _boards_in(path.absolute())
    }
    tell_each(ctx, asks, as_json)


@click.command()
@all_boards_option
@trust_option
@json_option
@click.pass_context
def adopt(ctx: click.Context, all_boards: bool, trust_closed: bool, as_json: bool) -> None:
    """Make the board that lies here, and that Hermes wrote, one of this program, in place.

    Stop the gateways first. The former file stays in the folder, under the name kanban-legacy.db;
    `kanban-merge restore-legacy` goes back. A call that was killed is repeated.
    """

    def adopted(paths: BoardPaths) -> Result:
        with ProgressBar("importing", as_json) as progress:
            done = adopting.adopt(paths, trust_closed=trust_closed, progress=progress)

        def show() -> None:
            _show_import(done.imported)
            text.say(f"{paths.board} is a board of this program now; Hermes's file is kept as {done.legacy}")
            if done.limits:
                text.say(f"the limits of before hold again: {_limits(done.limits)}")

        value = {**_import_value(done.imported), "board": str(paths.board), "legacy": str(done.legacy)}
        value["limits"] = done.limits
        return Result(value, show, not done.imported.complete)

    report(ctx, adopted, all_boards, as_json)


def _limits(limits: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in limits.items())


@click.command("restore-legacy")
@click.option("--original", is_flag=True, help="The file as it was before `adopt`, without what happened since.")
@all_boards_option
@trust_option
@json_option
@click.pass_context
def restore_legacy(ctx: click.Context, original: bool, all_boards: bool, trust_closed: bool, as_json: bool) -> None:
    """Give the board back to Hermes, with everything that happened since.

    Stop the gateways and the daemon first. Board, ledger and shards are set aside in a folder, not deleted.
    """

    def restored(paths: BoardPaths) -> Result:
        done = adopting.restore_legacy(paths, original=original, trust_closed=trust_closed)
        what = "as it was" if done.position is None else f"with all of {wording.many(done.position, 'ledger entry')}"

        def show() -> None:
            text.say(f"{done.path} is Hermes's again, {what}")
            text.say(f"what this program made is set aside in {done.set_aside}")
            if done.limits:
                text.say(f"so are its limits, until it is adopted again: {_limits(done.limits)}")

        value = {
            "board": str(done.path),
            "set_aside": str(done.set_aside),
            "position": done.position,
            "limits": done.limits,
        }
        return Result(value, show, False)

    report(ctx, restored, all_boards, as_json)


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice([exporting.HERMES, exporting.JSON_LINES]), default="hermes",
              show_default=True, help="A kanban.db for Hermes 0.19.0, or one JSON object for each row.")  # fmt: skip
@json_option
@click.pass_context
def export(ctx: click.Context, path: Path, form: str, as_json: bool) -> None:
    """Write what is on the board into the new file PATH, as Hermes would have it.

    Everything that is in the shards is merged before. A file that is there is never overwritten.
    """
    paths: BoardPaths = ctx.obj
    if not paths.board.exists() and not any(paths.shards()):
        raise BoardMissing(path=paths.board)
    skipped = merge_once(paths).skipped
    done = exporting.export(paths, path.absolute(), form)
    value = {**dataclasses.asdict(done), "path": str(done.path), "left": [each.file for each in skipped]}
    if as_json:
        text.print_json(value)
    else:
        text.say(f"{done.path}: " + ", ".join(f"{table} {rows}" for table, rows in done.rows.items()))
        for each in skipped:
            text.say(f"not in it: what {each.file} holds after that; {each.state}: {each.why}", fg="red")
    if skipped:
        ctx.exit(NEEDS_ATTENTION)


def _boards_in(home: Path) -> list[BoardPaths]:
    """The boards of the Hermes home. Raises NoBoards."""
    found = [source for source in boards.boards(home) if source.board.is_file()]
    if not found:
        raise NoBoards(path=home)
    return found


def _make_like(source: BoardPaths, root: Path) -> None:
    """Make the board below ``root`` that ``source`` becomes, shown as that one was."""
    shown = boards.read_metadata(source)
    fields = ("name", "description", "icon", "color", "default_workdir")
    boards.create_board(root, source.slug, **{field: shown[field] for field in fields})


def _import_value(done: Imported) -> dict[str, Any]:
    return {
        "source": done.source,
        "board": done.slug,
        "dry_run": done.dry_run,
        "rung": done.salvage.stage,
        "salvage": done.salvage.as_dict(),
        "digest": done.digest,
        "tables": {table: dataclasses.asdict(count) for table, count in done.counts.items()},
        "changed": [dataclasses.asdict(note) for note in done.notes.changed],
        "lost": [dataclasses.asdict(note) for note in done.notes.lost],
        "not_yet_in_this_version": done.missing,
        "files": done.files,
        "files_left_out": done.left_out,
        "still_open": done.still_open,
    }


def _show_import(done: Imported) -> None:
    verb = "would be imported" if done.dry_run else "is imported"
    text.say(f"{done.source} {verb} into the board {done.slug}")
    text.say(f"how it was read: {STAGES[done.salvage.stage]}; digest of its rows: {done.digest}\n")
    if not done.salvage.complete:
        show_salvage(done.salvage)
    text.print_table(
        ("TABLE", "FOUND", "IMPORTED", "HERE ALREADY", "LOST"),
        [(table, each.found, each.imported, each.skipped, each.lost) for table, each in done.counts.items()],
    )
    text.say()
    lost = "lost" if done.salvage.complete else "lost besides what could not be read"
    for title, notes, color in (("changed", done.notes.changed, None), (lost, done.notes.lost, "red")):
        text.say(f"{title}: {len(notes) or 'nothing'}", fg=color if notes else None)
        for note in notes[:NOTES_SHOWN]:
            text.say(f"  {note.table}{'' if note.id is None else f' {note.id}'}: {wording.clip(note.what)}")
        if len(notes) > NOTES_SHOWN:
            text.say(f"  … and {len(notes) - NOTES_SHOWN} more; --json shows all")
    for path in done.files["missing"]:
        text.say(f"attachment not copied, it is not there or too large: {path}", fg="red")
    for path, why in done.left_out.items():
        text.say(f"attachment not copied: {path}: {why}", fg="red")
    for process in done.still_open:
        text.say(f"still open in {process}; stop it before you import", fg="yellow")
    if done.dry_run:
        text.say("nothing was written")
