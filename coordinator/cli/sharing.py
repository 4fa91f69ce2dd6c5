"""A board that several hosts share: ``share``, ``unshare``, ``move``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import click

from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.backup.backup import upkeep
from kanban_shards.coordinator.cli.output import ProgressBar
from kanban_shards.coordinator.hosts import joining, leaving, moving, parting, upgrading
from kanban_shards.coordinator.hosts.following import Progress
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.far import Address
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import check_service, host_meant
from kanban_shards.storage.locks import FileLock

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command()
@click.argument("service", required=False)
@click.option("--host", metavar="NAME", help="What this host is called among the others.  [default: its hostname]")
@click.option(
    "--trust-network",
    is_flag=True,
    help="Nobody else can listen or answer on the way to the server: do without TLS that checks its name.",
)
@click.option(
    "--ephemeral", is_flag=True, help="This host's files go when it does (a pod): each write waits for the server."
)
@click.option(
    "--again", is_flag=True, help="Take the history of the shared ledger, which went another way than this host."
)
@click.option("--upgrade", is_flag=True, help="Have the ledger decided by this version's rules: all hosts run it.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@yes_option
@json_option
@click.pass_context
def share(
    ctx: click.Context,
    service: str | None,
    host: str | None,
    trust_network: bool,
    ephemeral: bool,
    again: bool,
    upgrade: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Share the board with other hosts, by a ledger in PostgreSQL. SERVICE is a section of libpq's service file.

    The first host makes the tables and sends its ledger there; the others join it, with a board that has no history of
    its own. Where the server is stands in ~/.pg_service.conf, and its password in ~/.pgpass. A daemon must be stopped
    first, and is started again afterwards.
    """
    if again or upgrade:
        if service or host or trust_network or ephemeral or (again and upgrade):
            raise click.UsageError("--again and --upgrade stand alone: the board knows what it shares.")
        (_take_again if again else _upgrade)(ctx, dry_run, yes, as_json)
        return
    if service is None:
        raise click.UsageError("Name the service, a section of ~/.pg_service.conf.")
    paths: BoardPaths = ctx.obj
    address = Address(check_service(service), paths.slug, host_meant(host), rules.VERSION, "", trust_network)
    if dry_run:
        with closing(Carrier(address)) as far:
            done = joining.plan(paths, address, far)
    else:
        paths.require_folder()
        with _alone(paths) as lock, _Bars(as_json) as progress:
            done = joining.share(paths, lock, address, Carrier, progress, ephemeral)
    if as_json:
        where = {"board": str(paths.board), "service": address.service, "host": address.host}
        text.print_json({**where, **_value_of(done), "dry_run": dry_run})
    else:
        _print_plan(paths, done, address, dry_run)


def _value_of(done: joining.Plan) -> dict[str, Any]:
    return {
        "did": done.did,
        "server": done.server,
        "sent": done.send,
        "fetched": done.fetch,
        "hosts": [{"host": each.host, "program": each.program, "position": each.position} for each in done.hosts],
    }


def _print_plan(paths: BoardPaths, done: joining.Plan, address: Address, dry_run: bool) -> None:
    would = "would be" if dry_run else "is"
    said = {
        joining.BEGUN: f"a new shared ledger {would} begun in {done.server}",
        joining.FILLED: f"the shared ledger in {done.server} {would} filled further",
        joining.JOINED: f"the shared ledger in {done.server} {would} joined",
        joining.KNOWN: f"the board shares the ledger in {done.server} already",
    }
    text.say(f"{paths}: {said[done.did]}, by this host as {address.host}")
    sent, fetched = wording.many(done.send, "entry"), wording.many(done.fetch, "entry")
    if done.send or done.fetch:
        text.say(f"{sent} to send, {fetched} to fetch" if dry_run else f"{sent} sent, {fetched} fetched")
    others = [f"{each.host} (up to {each.position})" for each in done.hosts]
    text.say(f"other hosts: {', '.join(others) or 'none yet'}")
    if not dry_run:
        text.say("`kanban-merge daemon` keeps it up to date, and `kanban-merge status` says how far each host is.")
        text.say("A service that is installed opens no network yet: repeat `kanban-merge service install`.")


def _take_again(ctx: click.Context, dry_run: bool, yes: bool, as_json: bool) -> None:
    paths: BoardPaths = ctx.obj
    with _alone(paths) as lock:
        way = parting.look(paths, lock, Carrier)
        if not as_json:
            text.say(_in_words(way))
        if not (dry_run or yes or as_json) and way.how == parting.PARTED and sys.stdin.isatty():
            click.confirm("Take the history of the shared ledger?", abort=True, err=True)
        if dry_run:
            if as_json:
                text.print_json({**way._asdict(), "dry_run": True})
            return
        with _Bars(as_json) as progress:
            done = parting.take_again(paths, lock, Carrier, progress)
    asides = [str(each) for each in done.set_aside]
    if as_json:
        counted = {"stands_at": done.position, "decided": done.decided, "set_aside": asides}
        text.print_json({**done.way._asdict(), **counted, "dry_run": False})
        return
    decided = wording.many(done.decided, "change")
    text.say(f"the board stands at entry {done.position}; {decided} of this host decided anew")
    for aside in asides:
        text.say(f"kept the former file as {aside}")


def _in_words(way: parting.Way) -> str:
    if way.how == parting.GONE:
        return "The service has no ledger of this board; it is filled from this host."
    if way.how == parting.ONE:
        return "The shared ledger and the one of this host are one."
    verdicts, changes = wording.many(way.verdicts, "verdict"), wording.many(way.changes, "change")
    return (
        f"The shared ledger holds another entry {way.position} than this host: {verdicts} may change, and {changes} of "
        "this host are decided anew."
    )


def _upgrade(ctx: click.Context, dry_run: bool, yes: bool, as_json: bool) -> None:
    paths: BoardPaths = ctx.obj
    found = upgrading.look(paths, Carrier)
    behind = [{"host": each.host, "program": each.program, "rules": each.rules} for each in found.behind]
    if not as_json:
        text.say(f"The shared ledger is decided by rules {found.before}; this version has rules {found.now}.")
        for each in found.behind:
            text.say(f"{each.host} has rules {each.rules}, and merges nothing until it is upgraded.", fg="yellow")
    if not dry_run:
        if behind and not (yes or as_json) and sys.stdin.isatty():
            click.confirm("Upgrade the ledger all the same?", abort=True, err=True)
        upgrading.upgrade(paths, Carrier)
    if as_json:
        text.print_json({"before": found.before, "now": found.now, "behind": behind, "dry_run": dry_run})


@click.command()
@click.option("--anyway", is_flag=True, help="Also if the server cannot be asked.")
@json_option
@click.pass_context
def unshare(ctx: click.Context, anyway: bool, as_json: bool) -> None:
    """Make the board one of this host alone again, with everything that is in the shared ledger.

    The other hosts go on without this one; `kanban-merge move PROFILE` there takes over a profile that lived here. A
    daemon must be stopped first.
    """
    paths: BoardPaths = ctx.obj
    with _alone(paths) as lock, _Bars(as_json) as progress:
        left = leaving.unshare(paths, lock, Carrier, anyway, progress)
    if as_json:
        trouble = None if left.without is None else str(left.without)
        text.print_json({"position": left.position, "shards": left.shards, "without": trouble})
        return
    text.say(f"{paths} is one of this host alone; it has {wording.many(left.position, 'entry')}")
    if left.shards:
        text.say(f"made the shards of profiles that lived elsewhere: {', '.join(left.shards)}")
    if left.without is not None:
        text.say(f"the server was not asked, so what only other hosts have is not here: {left.without}", fg="yellow")


@click.command()
@click.argument("profile")
@json_option
@click.pass_context
def move(ctx: click.Context, profile: str, as_json: bool) -> None:
    """Have PROFILE live on this host, which lived on another one that shares the board.

    What the other host merged of it is in its shard here. What was written there and not merged is refused from now on,
    and stays in the shard there; so end its gateways on that host first, if it is alive. A daemon must be stopped here.
    """
    paths: BoardPaths = ctx.obj
    with _alone(paths) as lock:
        moved = moving.move(paths, lock, profile, Carrier)
    if as_json:
        rows = None if moved.made is None else moved.made.rows
        text.print_json({"profile": profile, "was": moved.was, "moved": moved.made is not None, "changes": rows})
    elif moved.made is None:
        text.say(f"{profile} lives on this host already")
    else:
        changes = wording.many(moved.made.rows, "change")
        text.say(f"{profile} lives on this host now, and no longer on {moved.was}; its shard here has {changes}")


@contextmanager
def _alone(paths: BoardPaths) -> Iterator[FileLock]:
    """The coordinator's lock, while nobody else copies or replaces the board's files either."""
    with locks.holding(paths, COMMAND) as lock, upkeep(paths):
        yield lock


class _Bars:
    """A bar for each of what takes a while: entries sent, fetched, decided."""

    def __init__(self, hidden: bool) -> None:
        self._hidden = hidden
        self._bars = ExitStack()
        self._told: dict[str, ProgressCallback] = {}

    def __enter__(self) -> Progress:
        return self._tell

    def __exit__(self, *exc_info: object) -> None:
        self._bars.close()

    def _tell(self, what: str, done: int, total: int) -> None:
        if what not in self._told:
            self._bars.close()
            self._told[what] = self._bars.enter_context(ProgressBar(f"entries {what}", self._hidden))
        self._told[what](done, total)
