"""``hermes``: have an unmodified Hermes work on our boards, look whether it does, and go back."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kanban_shards.cli import text
from kanban_shards.cli.groups import Group
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.cli.hermes import trust_option
from kanban_shards.coordinator.daemon.units import service_of
from kanban_shards.coordinator.hermes import installation, startfiles
from kanban_shards.coordinator.hermes.bridges import ALONE, Bridge, bridges
from kanban_shards.coordinator.hermes.installation import HERMES, NONE_YET, OURS, Done, HomeBoard
from kanban_shards.coordinator.hermes.interpreters import HermesEnvironment, hermes_meant, hermes_of
from kanban_shards.coordinator.hermes.record import gone
from kanban_shards.errors import NEEDS_ATTENTION
from kanban_shards.paths import BoardPaths, require_home, root_folder

python_option = click.option(
    "--python",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The interpreter of Hermes, or its virtual environment; else that of the `hermes` on the PATH.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only check, and say what would be done.")


@click.group(cls=Group)
def hermes() -> None:
    """Have the Hermes that is installed here work on boards of this program, unmodified.

    It does from its next start on, and its boards become boards of this program. `uninstall` makes them Hermes's again,
    with everything that happened since.

    \b
      kanban-merge hermes install
      kanban-merge hermes status
      kanban-merge hermes uninstall

    With KANBAN_SHARDS_HERMES=0 in its environment a process of Hermes stays as it is: it can read these boards, and
    what it writes is refused.
    """


@hermes.command()
@python_option
@dry_run_option
@trust_option
@json_option
@click.pass_context
def install(ctx: click.Context, python: Path | None, dry_run: bool, trust_closed: bool, as_json: bool) -> None:
    """Have Hermes work here: its start loads what writes shards, and every board of the home is adopted.

    Hermes must be stopped: all gateways, and the dashboard. Nothing of it is changed; two small files beside it say
    what to load. A call that was killed is repeated. Exit code 6: a board could not be adopted, or lost something that
    was damaged; the others work.
    """
    home = _home(ctx)
    done = installation.install(
        hermes_meant(python, home),
        home,
        dry_run=dry_run,
        trust_closed=trust_closed,
        tell=_telling(as_json),
    )
    if as_json:
        text.print_json({**_value(done, dry_run), "service": _daemon(ctx, home)})
    else:
        _show_installed(done, dry_run, ctx, home)
    if not done.complete:
        ctx.exit(NEEDS_ATTENTION)


@hermes.command()
@python_option
@dry_run_option
@trust_option
@json_option
@click.pass_context
def uninstall(ctx: click.Context, python: Path | None, dry_run: bool, trust_closed: bool, as_json: bool) -> None:
    """Give every board of the home back to Hermes, with everything that happened since, and remove the start files.

    Hermes must be stopped, and the daemon too (`kanban-merge service uninstall --all-boards`). The start files go from
    every Hermes that was installed for this home. What this program made is set aside, not deleted. A call that was
    killed is repeated.
    """
    home = _home(ctx)
    meant = [hermes_of(python)] if python is not None else _of_this_home(home)
    done = installation.uninstall(meant, home, dry_run=dry_run, trust_closed=trust_closed, tell=_telling(as_json))
    if as_json:
        text.print_json(_value(done, dry_run))
    else:
        _show_uninstalled(done, dry_run)
    if not done.complete:
        ctx.exit(NEEDS_ATTENTION)


@hermes.command()
@python_option
@json_option
@click.pass_context
def status(ctx: click.Context, python: Path | None, as_json: bool) -> None:
    """Show each Hermes that opens this home, whether it works on its boards, and what to do if not."""
    home = _home(ctx)
    has_ours = any(board.was == OURS for board in installation.look_at_boards(home))
    found = bridges(home, [hermes_of(python)] if python is not None else [], thorough=True, has_ours=has_ours)
    lost = gone(home)
    if as_json:
        text.print_json({"home": str(home), "hermes": [each.as_dict() for each in found], "gone": [*map(str, lost)]})
    else:
        _show_status(home, found, lost)
    if any(each.problem for each in found):
        ctx.exit(NEEDS_ATTENTION)


def _home(ctx: click.Context) -> Path:
    """The home that is meant, with all its boards. Raises UsageError, HomeMissing."""
    given = ctx.find_root().params
    if given["board"] is not None:
        raise click.UsageError("--board names one board, and Hermes works on every board of its home.")
    if given["home"] is not None:
        require_home(given["home"])
    return root_folder(given["home"])


def _of_this_home(home: Path) -> list[HermesEnvironment]:
    """Those of which it is not known that they were installed for the home, and that load the bridge all the same."""
    return [bridge.environment for bridge in bridges(home) if startfiles.any_in(bridge.environment.site)]


def _telling(as_json: bool) -> Callable[[str], None]:
    return (lambda said: None) if as_json else text.say


def _value(done: Done, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "hermes": [
            {"python": str(each.python), "site": str(each.site), "version": each.version} for each in done.environments
        ],
        "changed": [str(each.site) for each in done.wrote],
        "boards": [_value_of_board(board) for board in done.boards],
    }


def _value_of_board(board: HomeBoard) -> dict[str, Any]:
    adopted, back = board.adopted, board.given_back
    return {
        "slug": board.paths.slug,
        "board": str(board.paths.board),
        "was": board.was,
        "legacy": str(adopted.legacy) if adopted else None,
        "lost": len(adopted.imported.notes.lost) if adopted else None,
        "set_aside": str(back.set_aside) if back else None,
        "error": type(board.trouble).__name__ if board.trouble else None,
        "message": str(board.trouble) if board.trouble else None,
    }


def _show_installed(done: Done, dry_run: bool, ctx: click.Context, home: Path) -> None:
    (environment,) = done.environments
    for board in done.boards:
        _say_board(board, dry_run, {HERMES: "would be adopted", NONE_YET: "is made when Hermes opens it"})
        if board.adopted and not board.adopted.imported.complete:
            text.say(
                "    not all of it could be read; `kanban-merge import FILE --dry-run` lists what is lost", fg="red"
            )
    names = " and ".join(startfiles.CONTENT)
    if dry_run:
        in_place = startfiles.look(environment.site) == startfiles.IN_PLACE
        text.say(f"{names} {'are' if in_place else 'would be written'} in {environment.site}; nothing was changed")
        return
    text.say(f"{names} {'written to' if done.wrote else 'are in'} {environment.site}")
    if not done.complete:
        text.say("Not every board could be adopted as it was; see above, then repeat this command.", fg="red")
        return
    text.say("Hermes works on these boards from its next start on; `kanban-merge hermes uninstall` takes it back.")
    if (service := _daemon(ctx, home)) is not None:
        text.say(f"With a daemon it waits less for each write: `{service}` has the system run one.")


def _show_uninstalled(done: Done, dry_run: bool) -> None:
    for board in done.boards:
        _say_board(board, dry_run, {OURS: "would be given back"})
    for each in done.environments:
        there = "would be removed from" if dry_run else "removed from" if each in done.wrote else "are not in"
        if dry_run or done.complete:
            text.say(f"the start files {there} {each.site}")
    if dry_run:
        text.say("nothing was changed")
    elif not done.complete:
        text.say("Hermes stays as it is until every board could be given back; see above, then repeat this command.",
                 fg="red")  # fmt: skip


def _say_board(board: HomeBoard, dry_run: bool, would: dict[str, str]) -> None:
    stays = {OURS: "is a board of this program", HERMES: "is Hermes's", NONE_YET: "is not there yet"}
    said = would.get(board.was, stays[board.was]) if dry_run or board.was == NONE_YET else stays[board.was]
    if board.adopted:
        said = f"is adopted; Hermes's file is kept as {board.adopted.legacy.name}"
    elif board.given_back:
        said = f"is Hermes's again; what this program made is set aside in {board.given_back.set_aside}"
    if board.trouble:
        text.say(f"  {board.paths.slug}: {board.trouble}", fg="red")
    else:
        text.say(f"  {board.paths.slug}: {board.paths.board} {said}")


def _show_status(home: Path, found: list[Bridge], lost: list[Path]) -> None:
    text.say(f"home: {home}")
    if not found:
        text.say("No Hermes is known to open it; `kanban-merge hermes install` names one.")
    for each in found:
        text.say(f"{each}: {each.state}", fg="red" if each.problem else "green")
        if each.problem:
            text.say(f"  {each.problem}")
        elif each.state == ALONE:
            text.say("  `kanban-merge hermes install` makes them boards of this program.")
    for python in lost:
        text.say(f"{python}: a Hermes that was installed for this home is not there any more")


def _daemon(ctx: click.Context, home: Path) -> str | None:
    """The command that has the system run the daemon of this home; None if it does."""
    if service_of(BoardPaths.of(home, "default"), home, True, None, False).is_installed():
        return None
    given = ctx.find_root().params["home"]
    words = ["kanban-merge", *(["--home", str(given)] if given else []), "service", "install", "--all-boards"]
    return shlex.join(words)
