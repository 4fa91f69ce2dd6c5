"""Problems: what is wrong with a board now. The one place that judges, for ``doctor``, ``status`` and ``metrics``.

Each function judges one thing about a Health and gives at least one finding, so that what is in order is said, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kanban_shards import wording
from kanban_shards.coordinator.errors import LedgerBehind
from kanban_shards.coordinator.filelocks import who_has_flock
from kanban_shards.coordinator.health.read import ELSEWHERE, GONE, STOPPED, UNCHECKED, Health, ShardHealth
from kanban_shards.coordinator.hermes.bridges import ALONE, Bridge
from kanban_shards.coordinator.merge.collector import BUSY, LOST_SHARD, MISSING, QUARANTINED
from kanban_shards.coordinator.merge.coordinator_lock import DAEMON, STRANGER
from kanban_shards.errors import NotAFile
from kanban_shards.health import FAULT, NOTE, OK, WARNING, Finding
from kanban_shards.heard import SILENT_S, HostHeard

# A daemon merges within a second; what waits longer than this is held up by something.
LAG_S = 60.0
# A pass that is no daemon's takes milliseconds, and a first replay minutes at most.
PASS_S = 600.0
# A host says how far it is every few seconds.
QUIET_S = 60.0
# Clocks of one machine do not go back further than this by themselves.
CLOCK_S = 2.0


def coordinator(health: Health) -> Iterator[Finding]:
    """Who makes passes, and whether that process can."""
    held_by = health.coordinator
    if isinstance(health.coordinator_unknown, NotAFile):
        yield _said(FAULT, f"Nobody can be the coordinator: {health.coordinator_unknown}")
        return
    if health.coordinator_unknown:
        yield _said(NOTE, f"It cannot be told whether a coordinator runs: {health.coordinator_unknown}")
        return
    if held_by is None:
        yield _said(OK, "No coordinator stays; whoever needs a verdict makes the pass itself.")
        return
    state = health.coordinator_state
    if state == STRANGER:
        yield _said(
            FAULT,
            f"The coordinator's lock is held by {held_by}, so nothing is merged. End that process, and find out who "
            f"may read {health.paths.coordinator_lock}: whoever may, may take it.",
        )
    elif state == ELSEWHERE:
        yield _said(
            WARNING,
            f"The coordinator says that it runs on another host: {held_by}. A board belongs to one host; unless this "
            "one was renamed since, stop that process and keep the board on a local disk.",
        )
    elif state == GONE:
        yield _said(
            WARNING,
            f"The lock is held, but not by the process that said so last ({held_by}): a child that it left behind may "
            f"hold it; `fuser {health.paths.coordinator_lock}` names who does.",
        )
    elif state == STOPPED:
        yield _said(
            FAULT,
            f"The coordinator is stopped and merges nothing: {held_by}. `kill -CONT {held_by.pid}` lets it go on, "
            f"`kill -KILL {held_by.pid}` lets another take its place.",
        )
    elif held_by.role != DAEMON and health.at_ms - (held_by.since_ms or health.at_ms) > PASS_S * 1_000:
        yield _said(WARNING, f"A pass takes unusually long: {held_by}. If that process hangs, end it; nothing is lost.")
    else:
        yield _said(OK, f"The coordinator works: {held_by}.")


def ledger(health: Health) -> Iterator[Finding]:
    """Whether the ledger is there, and leads to where the board stands."""
    head, shown = health.ledger_head, health.position
    if health.ledger_trouble:
        yield Finding("ledger", FAULT, health.ledger_trouble)
    elif head is None and shown == 0:
        yield Finding("ledger", OK, "Nothing was merged yet, and there is no ledger.")
    elif head is None or head < shown:
        yield Finding("ledger", FAULT, str(LedgerBehind(path=health.paths.ledger, shown=shown, held=head or 0)))
    elif head > shown:
        behind = (
            f"The board shows {shown} of the {wording.many(head, 'entry')} of the ledger; the next pass shows the rest."
        )
        yield Finding("ledger", NOTE, behind)
    else:
        yield Finding("ledger", OK, f"The board shows all of the ledger: {wording.many(head, 'entry')}.")


def strangers(health: Health) -> Iterator[Finding]:
    """Who hinders the coordinator at board and ledger, as whoever may read them can."""
    for each in health.strangers:
        yield Finding("strangers", FAULT if each.keeps_out else WARNING, f"{each}.")
    if not health.strangers:
        said = "No other process keeps the coordinator from writing, or a WAL from beginning anew."
        yield Finding("strangers", OK, said)


def shards(health: Health) -> Iterator[Finding]:
    """What keeps a shard from being merged."""
    troubled = [finding for shard in health.shards for finding in _of_shard(health, shard)]
    yield from troubled
    sound = len(health.shards) - len(troubled)
    if sound or not troubled:
        waiting = sum(shard.waiting for shard in health.shards)
        yield Finding(
            "shards", OK, f"{wording.many(sound, 'shard')} in order; {wording.many(waiting, 'change')} waiting."
        )


def runs(health: Health) -> Iterator[Finding]:
    """Runs past their lease: a daemon ends them within a second."""
    found = health.past_lease
    if not found:
        yield Finding("runs", OK, f"{wording.many(health.open_runs, 'run')} open, none past its lease.")
        return
    longest = max(found, key=lambda run: run.over_s)
    said = (
        f"{wording.many(len(found), 'run')} past the lease without a heartbeat, run {longest.run_id} of "
        f"{longest.task_id} for {wording.age(longest.over_s)}"
    )
    if health.coordinator is None or longest.over_s < LAG_S:
        yield Finding("runs", NOTE, f"{said}; the next pass ends them (`kanban-merge --once`).")
    else:
        why = "the shard of their profile cannot be read, or the coordinator is held up"
        yield Finding("runs", WARNING, f"{said}: {why}. `kanban reclaim {longest.task_id}` ends one by hand.")


def refusals(health: Health) -> Iterator[Finding]:
    """What was refused lately."""
    if not health.refused:
        yield Finding("refusals", OK, "Nothing was refused in the last 24 hours.")
        return
    by_reason = ", ".join(f"{reason} {count}" for reason, count in sorted(health.refused.items()))
    said = f"In the last 24 hours {wording.many(sum(health.refused.values()), 'change')} refused ({by_reason})"
    yield Finding("refusals", NOTE, f"{said}; each is kept whole, `kanban-merge refusals` shows them.")


def clock(health: Health) -> Iterator[Finding]:
    """Leases and times count by the coordinator's clock."""
    ahead_s = ((health.newest_ms or 0) - health.at_ms) / 1_000
    if ahead_s > CLOCK_S:
        yield Finding(
            "clock",
            WARNING,
            f"The newest entry of the ledger is {wording.age(ahead_s)} in the future of this clock; set the clock "
            "right (`timedatectl` shows it). Until then leases end late.",
        )
    else:
        yield Finding("clock", OK, "The newest entry of the ledger is not in the future of this clock.")
    runs_ahead = [run for run in health.stamped_ahead if run.ahead_s > CLOCK_S]
    if runs_ahead:
        furthest = max(runs_ahead, key=lambda run: run.ahead_s)
        yield Finding(
            "clock",
            WARNING,
            f"{wording.many(len(runs_ahead), 'open run')} claimed, or last alive, in the future of this clock, "
            f"run {furthest.run_id} of {furthest.task_id} by {wording.age(furthest.ahead_s)}. A daemon ends such a run "
            f"when it sees no other heartbeat for a lease; `kanban reclaim {furthest.task_id}` ends one by hand.",
        )


def hermes(health: Health) -> Iterator[Finding]:
    """Whether each Hermes that opens the home works on the board."""
    yield from of_bridges(health.bridges)


def of_bridges(found: Iterable[Bridge]) -> Iterator[Finding]:
    """The same, of a home whose board cannot be read, too."""
    is_one = False
    for each in found:
        is_one = True
        if each.problem:
            yield Finding("hermes", FAULT, each.problem)
        elif each.state == ALONE:
            yield Finding("hermes", OK, f"{each} works on boards of its own.")
        else:
            yield Finding("hermes", OK, f"{each} works on this board.")
    if not is_one:
        yield Finding("hermes", OK, "No Hermes is known to open this home.")


def hosts(health: Health) -> Iterator[Finding]:
    """Whether the ledger that several hosts share can be asked, and how those are; nothing of a board of one host."""
    shared, now_s = health.shared, health.at_ms / 1_000
    if shared is None:
        return
    if shared.sharing is None:
        yield Finding("hosts", FAULT, str(shared.trouble))
        return
    service, heard = shared.sharing.service, shared.heard
    said = f"The shared ledger in {service}: {shared.heard_in_words(health.at_ms)}"
    stays = "what is written stays here, and is merged when it answers again"
    if shared.outage is not None and not shared.outage.ends_by_itself:
        yield Finding("hosts", FAULT, f"Nothing is merged: {shared.outage.why(service)}.")
    elif shared.outage is not None:
        level = WARNING if now_s - shared.outage.since_ms / 1_000 > LAG_S else NOTE
        yield Finding("hosts", level, f"{said}; {shared.outage.why(service)}; {stays}.")
    elif heard is None or heard.silent_s(now_s) > SILENT_S:
        if health.coordinator is None:
            yield Finding("hosts", NOTE, f"{said}; nobody stays here to ask it, `kanban-merge daemon` does.")
        else:
            yield Finding("hosts", WARNING, f"{said}, beside a coordinator that notes no answer; its log says why.")
    else:
        yield Finding("hosts", OK, f"{said}; {wording.many(len(heard.hosts), 'host')} there.")
    for each in heard.hosts if heard else ():
        yield from _of_host(shared.sharing.host, each)


def _of_host(here: str, each: HostHeard) -> Iterator[Finding]:
    """What is to be said of another host, or of this one as the others see it."""
    from kanban_shards.coordinator.shared.standings import decided_otherwise  # which no board of one host has a use for

    if each.differs:
        yield Finding("hosts", FAULT, f"The {decided_otherwise(each.host, each.position)}.")
    if each.host != here and each.ago_ms > QUIET_S * 1_000:
        yield Finding(
            "hosts",
            NOTE,
            f"The host {each.host} was heard {wording.age(each.ago_ms / 1_000)} before this one, at entry "
            f"{each.position}; if it does not come back, `kanban-merge move PROFILE` takes over a profile that lives "
            "there.",
        )


CHECKS: tuple[Callable[[Health], Iterator[Finding]], ...] = (
    coordinator,
    ledger,
    strangers,
    shards,
    runs,
    refusals,
    clock,
    hermes,
    hosts,
)


def findings(health: Health) -> list[Finding]:
    """Everything that is to be said about the board."""
    return [finding for check in CHECKS for finding in check(health)]


def problems(health: Health) -> list[Finding]:
    """What is wrong with the board now and needs a person."""
    return [finding for finding in findings(health) if finding.needs_a_person]


def _of_shard(health: Health, shard: ShardHealth) -> Iterator[Finding]:
    name, why = f"The shard of {shard.profile}", shard.why or ""
    if shard.state == QUARANTINED:
        yield Finding("shards", FAULT, f"{name} is quarantined: {why.rstrip('.')}.")
    elif shard.state == MISSING:
        yield Finding(
            "shards",
            FAULT,
            f"{name} is missing, and "
            f"{LOST_SHARD.format(changes=wording.many(shard.merged, 'change'), profile=shard.profile)}.",
        )
    elif shard.state == UNCHECKED:
        yield Finding("shards", NOTE, f"{name} was not checked, because {shard.why}.")
    elif shard.state == BUSY and shard.head is None:
        yield Finding("shards", WARNING, f"{name} cannot be read: {why.rstrip('.')}.")
    elif shard.lag_s > LAG_S:
        yield _lagging(health, shard, f"{name} has {wording.many(shard.waiting, 'change')} waiting since "
                       f"{wording.age(shard.lag_s)}")  # fmt: skip


def _lagging(health: Health, shard: ShardHealth, said: str) -> Finding:
    if shard.state == BUSY:
        lock = health.paths.shard_lock(shard.profile)
        why, by = (shard.why or "").rstrip("."), who_has_flock(lock)
        held = f"It is held by {by}" if by else f"If that lasts, `fuser {lock}` names who holds its lock"
        return Finding("shards", WARNING, f"{said}: {why}. {held}.")
    if health.coordinator is None:
        return Finding("shards", NOTE, f"{said}; nobody asked for a verdict, `kanban-merge --once` merges it.")
    return Finding("shards", WARNING, f"{said} beside a coordinator that does not merge it; its log says why.")


def _said(level: str, sentence: str) -> Finding:
    return Finding("coordinator", level, sentence)
